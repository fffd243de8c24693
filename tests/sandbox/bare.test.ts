import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { cacheHome, checkout } from "../../sandbox/paths";
import { mirror } from "../../sandbox/servers/debian";
import { run, succeeds } from "../../sandbox/shell";

/**
 * The preparation on a machine that has nothing: the smallest root that Debian can be, of each release that the sandbox
 * is meant for. Go and Node.js, which README asks for, are not needed to install programs.
 */
const suites = ["bookworm", "trixie"];
const log = join(cacheHome, "logs", "bare.log");

interface Program {
  name: string;
  probe: string;
}

/** What prepare.sh reads. */
const table: Program[] = readFileSync(join(checkout, "sandbox", "programs.txt"), "utf8")
  .split("\n")
  .filter((line) => line !== "" && !line.startsWith("#"))
  .map((line) => /^(?<package>\S+) +(?<name>\S+) +(?<probe>.+)$/.exec(line)?.groups as unknown as Program);

/** Called by shell scripts, in the sources and in this project's files, and by programs that are built. */
const calledByOthers = {
  "run.sh, prepare.sh": ["bash", "flock", "awk", "sed", "grep", "df", "stat", "apt-get"],
  "a daemon's start": ["sh", "nsenter"],
  "taking packages apart": ["dpkg-deb", "tar"],
  containerd: ["runc", "/usr/lib/cni/bridge", "/usr/lib/cni/host-local", "/usr/lib/cni/loopback"],
  kubelet: ["mount", "umount"],
  "kube-proxy, networkpolicy": ["nft"],
  "pip, go": ["/etc/ssl/certs/ca-certificates.crt"],
  "an apt of its own": ["/usr/share/keyrings/debian-archive-keyring.gpg"],
};

/** Asked for by README, or built. */
const notInPackages = ["go", "npm", "pulumi"];

/** What the sources of the sandbox run by name. */
function calledBySources(): string[] {
  const sources = readdirSync(join(checkout, "sandbox"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => readFileSync(join(checkout, "sandbox", name), "utf8"));
  const calls = sources.flatMap((text) => [
    ...text.matchAll(/\b(?:run|spawn|attach|succeeds|execFile|execFileSync|spawnSync)\(\s*"([^"]+)"/g),
    ...text.matchAll(/\b(?:within|inside)\(node, "([^"]+)"/g),
  ]);
  return calls.map(([, name]) => (name ?? "").replace(/^\/bin\//, "")).filter((name) => !notInPackages.includes(name));
}

const called = [...new Set([...calledBySources(), ...Object.values(calledByOthers).flat()])].sort();

/** A root with nothing but what Debian cannot be without; made once for all runs, and never changed. */
async function makeRoot(suite: string): Promise<string> {
  const source = `deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${await mirror()} ${suite} main`;
  // How this machine gets its packages: proxies, and what it does not check.
  const settings = (await run("apt-config", ["dump"]))
    .split("\n")
    .filter((line) => /^Acquire::(?!IndexTargets|CompressionTypes|Changelogs|Languages)\S+ ".+";$/.test(line));
  const options = ["--mode=root", "--variant=minbase"];
  const digest = createHash("sha256").update(JSON.stringify([options, source, settings]));
  const folder = join(cacheHome, "roots", `${suite}-${digest.digest("hex").slice(0, 12)}`);
  if (existsSync(folder)) return folder;
  mkdirSync(join(cacheHome, "roots"), { recursive: true });
  const work = mkdtempSync(join(cacheHome, "roots", `.${suite}-`));
  try {
    writeFileSync(join(work, "apt.conf"), `${settings.join("\n")}\n`);
    const root = join(work, "root");
    await run("mmdebstrap", [...options, `--aptopt=${join(work, "apt.conf")}`, suite, root, source], { log });
    renameSync(root, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return folder;
}

beforeAll(async () => {
  if (await succeeds("mmdebstrap", ["--version"])) return;
  await run("apt-get", ["update"], { log });
  await run("apt-get", ["install", "--yes", "--no-install-recommends", "mmdebstrap"], { log });
});

/** Mounts are made in a namespace of their own, so that they end with the script. */
const enter = `set -e
  cd "$1"
  mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/changes,workdir=$1/work" root
  mount -t proc proc root/proc
  mount --rbind /dev root/dev
  mkdir -p root/checkout
  mount --bind "$3" root/checkout
  cp -L /etc/resolv.conf root/etc/resolv.conf
  exec chroot root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root bash -c "$4"`;

it.concurrent.each(suites)("bare Debian %s has every program after the preparation, and each works", async (suite) => {
  const root = await makeRoot(suite);
  const machine = mkdtempSync(join(tmpdir(), "bare-"));
  const inside = (script: string): Promise<string> =>
    run("unshare", ["--mount", "--pid", "--fork", "bash", "-c", enter, "enter", machine, root, checkout, script]);
  /** Those of the words for which the script fails. */
  const failing = async (words: string[], script: string): Promise<string[]> => {
    const quoted = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
    const output = await inside(`for it in ${quoted}; do ${script} </dev/null >/dev/null 2>&1 || echo "$it"; done`);
    return output.split("\n").filter(Boolean);
  };
  const isThere = 'test -e "$(command -v "$it" || echo "$it")"';
  try {
    for (const folder of ["root", "changes", "work"]) mkdirSync(join(machine, folder));
    expect(await failing(called, isThere)).toContain("/usr/lib/cni/bridge");
    await inside("/checkout/sandbox/prepare.sh programs");
    expect(await failing(called, isThere)).toEqual([]);
    const probes = table.map(({ probe }) => probe);
    expect(await failing(probes, 'bash -c "$it"')).toEqual([]);
    // The next preparation finds nothing to do.
    expect(await inside("/checkout/sandbox/prepare.sh programs 2>&1")).toBe("");
  } finally {
    rmSync(machine, { recursive: true, force: true });
  }
});

it("knows every program that is called", () => {
  const known = table.map(({ name }) => name);
  expect(called.filter((name) => !known.includes(name))).toEqual([]);
});
