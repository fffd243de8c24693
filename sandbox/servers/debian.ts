import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../shell";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** An apt of its own in one folder: another release than this machine's, and nothing of it is ever installed here. */
export interface Release {
  name: string;
  folder: string;
  /** What makes apt-get and apt-cache work in the folder. */
  options: string[];
}

export async function openRelease(name: string, folder: string, log: string): Promise<Release> {
  const path = (...names: string[]): string => join(folder, ...names);
  mkdirSync(path("lists", "partial"), { recursive: true });
  mkdirSync(path("cache", "archives", "partial"), { recursive: true });
  writeFileSync(path("status"), "");
  writeFileSync(path("sources.list"), `deb [arch=amd64 signed-by=${keyring}] ${await mirror()} ${name} main\n`);
  // Read after the configuration of this machine, so that its proxies and certificates stay in force.
  const settings = {
    "Dir::State": folder,
    "Dir::State::Lists": path("lists"),
    "Dir::State::Status": path("status"),
    "Dir::Cache": path("cache"),
    "Dir::Etc::SourceList": path("sources.list"),
    "Dir::Etc::SourceParts": "/dev/null",
    "Dir::Etc::Preferences": "/dev/null",
    "Dir::Etc::PreferencesParts": "/dev/null",
    "APT::Architecture": "amd64",
    "APT::Architectures": "amd64",
    // The user that apt drops to cannot reach a cache in somebody's home.
    "APT::Sandbox::User": "root",
    "Acquire::Languages": "none",
    "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    "Acquire::Retries": "5",
  };
  // Hooks of this machine are about this machine.
  const hooks = ["APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success"];
  writeFileSync(
    path("apt.conf"),
    [
      ...["APT::Architectures", ...hooks].map((key) => `#clear ${key};`),
      ...Object.entries(settings).map(([key, value]) => `${key} "${value}";`),
      "",
    ].join("\n"),
  );
  const options = ["-c", path("apt.conf")];
  await run("apt-get", ["update", "--error-on=any", ...options], { log });
  return { name, folder, options };
}

/** Where this machine gets its own Debian from. */
export async function mirror(): Promise<string> {
  const own = /^VERSION_CODENAME=(.+)$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "stable";
  const format = "$(RELEASE) $(COMPONENT) $(REPO_URI)";
  const sources = (await run("apt-get", ["indextargets", "--format", format, "Created-By: Packages"])).trim();
  const found = sources.split("\n").map((line) => line.split(" "));
  const [, , address] = found.find(([release, component]) => release === own && component === "main") ?? [];
  if (address !== undefined) return address;
  throw new Error(
    `apt's sources on this machine name no Debian mirror: looked for "${own} main" in ${JSON.stringify(sources)}; add it to /etc/apt/sources.list`,
  );
}

/** The upstream version in a Debian version: without epoch, revision, and notes on what was repacked. */
export const upstream = (version: string): string =>
  version
    .replace(/^\d+:/, "")
    .replace(/-[^-]*$/, "")
    .replace(/\+(dfsg|ds|really).*$/, "");

/** Says what to change when the release has moved on from the version that is pinned; nothing when it has not. */
export function moved(release: string, name: string, offered: string, pinned: string): string | undefined {
  if (upstream(offered) === pinned) return undefined;
  return (
    `Debian ${release} has ${name} ${offered}, the sandbox is pinned to ${pinned}; ` +
    `to move to ${upstream(offered)}, change it in sandbox/servers/catalogue.ts and in components/shared/images.ts`
  );
}

export async function assertVersion(release: Release, name: string, pinned: string): Promise<void> {
  const words = await run("apt-cache", ["show", "--no-all-versions", name, ...release.options]);
  const problem = moved(release.name, name, /^Version: (.+)$/m.exec(words)?.[1] ?? "(no version)", pinned);
  if (problem !== undefined) throw new Error(problem);
}

/** Unpacks packages, and all they depend on, into a folder with the layout of a Debian system. */
export async function unpack(release: Release, packages: string[], root: string, log: string): Promise<void> {
  const flags = ["--yes", "--download-only", "--no-install-recommends", ...release.options];
  await run("apt-get", ["install", ...flags, ...packages], { log });
  for (const folder of ["bin", "sbin", "lib", "lib64"]) mkdirSync(join(root, "usr", folder), { recursive: true });
  // Not `dpkg-deb --extract`: it puts a folder in place of the links /lib and /lib64.
  const script = `set -eo pipefail
    for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$1/$folder"; done
    for package in "$2"/*.deb; do
      dpkg-deb --fsys-tarfile "$package" | tar --extract --keep-directory-symlink --directory "$1"
    done`;
  await run("bash", ["-c", script, "unpack", root, join(release.folder, "cache", "archives")], { log });
}
