import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { kubectl } from "../../sandbox/cluster";
import { censusOf, cgroupFolders, hierarchyOf, killCgroup, processesIn } from "../../sandbox/cluster/cgroups";
import { cgroup, nodes } from "../../sandbox/cluster/layout";
import { checkout } from "../../sandbox/paths";
import { run } from "../../sandbox/shell";

/** The life of the cluster itself. It is stopped and started here; its data, and what is deployed on it, stays. */
const sandbox = (...args: string[]): Promise<string> =>
  run(join(checkout, "node_modules", ".bin", "tsx"), [join(checkout, "sandbox", "cli.ts"), ...args]);

const everyNode = nodes.map(({ name }) => `node/${name}\n`).join("");

/** The processes of the cluster that are not containers. */
const daemons = (): string[] =>
  ["control-plane", ...nodes.map(({ name }) => name)].flatMap((group) =>
    readdirSync(censusOf(hierarchyOf(), `${cgroup}/${group}`), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name !== "kubepods")
      .map(({ name }) => `${name} ${readFileSync(`/var/lib/cells-services/run/${name}.pid`, "utf8").trim()}`),
  );

/** What this machine would be left with. */
function leftovers(): string[] {
  const links = readdirSync("/sys/class/net").filter((name) => name.startsWith("cells"));
  const namespaces = existsSync("/run/netns")
    ? readdirSync("/run/netns").filter((name) => /^(cells|cni)-/.test(name))
    : [];
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .filter((line) => line.includes("/var/lib/cells-services/"));
  return [...links, ...namespaces, ...mounts, ...cgroupFolders(cgroup), ...processesIn(cgroup).map(String)];
}

it("changes nothing of a cluster that runs", async () => {
  await sandbox("cluster");
  const before = daemons();
  expect(before).toHaveLength(4 + 2 + 3 * nodes.length);
  await sandbox("cluster");
  expect(daemons()).toEqual(before);
});

it("goes on from what a killed run leaves", async () => {
  const namespaces = await kubectl("get", "namespaces", "-o", "name");
  await killCgroup(cgroup);
  // The processes are gone, everything else is as it was.
  expect(leftovers().length).toBeGreaterThan(nodes.length);
  await sandbox("cluster");
  expect(await kubectl("get", "nodes", "-o", "name")).toBe(everyNode);
  expect(await kubectl("get", "namespaces", "-o", "name")).toBe(namespaces);
});

it("stops, starts, cuts and heals a node", async () => {
  const ready = (): Promise<string> =>
    kubectl("get", "--raw", "/api/v1/nodes/node-2/proxy/healthz", "--request-timeout=3s").catch(() => "unreachable");
  for (const [harm, cure] of [
    ["stop", "start"],
    ["cut", "heal"],
  ] as const) {
    expect(await ready()).toBe("ok");
    await sandbox("node", harm, "2");
    expect(await ready()).toBe("unreachable");
    await sandbox("node", cure, "2");
    expect(await ready()).toBe("ok");
  }
});

it("leaves nothing behind when it is stopped, and has its data when it is started again", async () => {
  const namespaces = await kubectl("get", "namespaces", "-o", "name");
  await sandbox("down");
  expect(leftovers()).toEqual([]);
  await sandbox("cluster");
  expect(await kubectl("get", "namespaces", "-o", "name")).toBe(namespaces);
});
