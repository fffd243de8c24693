import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  censusOf,
  foldersOf,
  givers,
  type Hierarchy,
  hierarchyOf,
  makeCgroup,
  toGive,
} from "../../../sandbox/cluster/cgroups";

const cgroup2fs = 0x63677270;
const tmpfs = 0x01021994;
let folder: string;

/** A file as the kernel would show it. */
function file(path: string, content = ""): void {
  mkdirSync(join(folder, path, ".."), { recursive: true });
  writeFileSync(join(folder, path), content);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cgroups-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("the hierarchy", () => {
  it("is v1 where each controller has a tree, also with an empty v2 tree beside them", () => {
    for (const name of ["cpu", "memory", "unified"]) file(`${name}/cgroup.procs`);
    mkdirSync(join(folder, "not-mounted"));
    expect(hierarchyOf(folder, tmpfs)).toEqual({ version: 1, root: folder, controllers: ["cpu", "memory"] });
  });

  it("is v2 where the file system says so, with the controllers that kubelet asks for", () => {
    file("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n");
    const controllers = ["cpu", "cpuset", "hugetlb", "memory", "pids"];
    expect(hierarchyOf(folder, cgroup2fs)).toEqual({ version: 2, root: folder, controllers });
  });
});

describe.each<[Hierarchy, folders: string[], census: string, above: string[]]>([
  [
    { version: 1, root: "/c", controllers: ["cpu", "memory"] },
    ["/c/cpu/ours/node/kubelet", "/c/memory/ours/node/kubelet"],
    "/c/memory/ours/node/kubelet",
    [],
  ],
  [
    { version: 2, root: "/c", controllers: ["cpu", "memory"] },
    ["/c/ours/node/kubelet"],
    "/c/ours/node/kubelet",
    ["/c", "/c/ours", "/c/ours/node"],
  ],
])("a cgroup of $version", (hierarchy, folders, census, above) => {
  it("has its folders, a census, and those above it that give controllers", () => {
    expect(foldersOf(hierarchy, "ours/node/kubelet")).toEqual(folders);
    expect(censusOf(hierarchy, "ours/node/kubelet")).toBe(census);
    expect(givers(hierarchy, "ours/node/kubelet")).toEqual(above);
  });
});

describe("giving controllers", () => {
  const hierarchy: Hierarchy = { version: 2, root: "/c", controllers: ["cpu", "memory"] };

  it("asks for what is missing only", () => {
    expect(toGive(hierarchy, "")).toBe("+cpu +memory");
    expect(toGive(hierarchy, "memory pids")).toBe("+cpu");
    expect(toGive(hierarchy, "cpu memory")).toBeUndefined();
  });

  it("happens down to the cgroup, and not in it: it will have processes", () => {
    for (const path of ["", "ours/", "ours/node/"]) file(`${path}cgroup.subtree_control`);
    makeCgroup("ours/node", { ...hierarchy, root: folder });
    expect(readFileSync(join(folder, "cgroup.subtree_control"), "utf8")).toBe("+cpu +memory");
    expect(readFileSync(join(folder, "ours", "cgroup.subtree_control"), "utf8")).toBe("+cpu +memory");
    expect(readFileSync(join(folder, "ours", "node", "cgroup.subtree_control"), "utf8")).toBe("");
  });
});

it("copies the cpus and memory nodes of v1 down the path", () => {
  for (const [name, content] of [
    ["cpus", "0-1\n"],
    ["mems", "0\n"],
  ] as const) {
    file(`cpuset/cpuset.${name}`, content);
    for (const path of ["ours", "ours/node"]) file(`cpuset/${path}/cpuset.${name}`, "\n");
  }
  makeCgroup("ours/node", { version: 1, root: folder, controllers: ["cpu", "cpuset"] });
  expect(existsSync(join(folder, "cpu", "ours", "node"))).toBe(true);
  expect(readFileSync(join(folder, "cpuset", "ours", "node", "cpuset.cpus"), "utf8")).toBe("0-1\n");
});

describe("the preparation", () => {
  const problems = (type: string): string[] => {
    const script = join(__dirname, "..", "..", "..", "sandbox", "cgroups.sh");
    const { status, stdout } = spawnSync(script, [folder, type], { encoding: "utf8" });
    expect(status).toBe(0);
    return stdout.split("\n").filter(Boolean);
  };
  const v2 = (controllers = "cpuset cpu io memory pids"): void => {
    file("cgroup.controllers", `${controllers}\n`);
    file("cgroup.subtree_control", "\n");
    file("cgroup.procs", "1\n2\n");
  };

  it("is content with v1 and with v2", () => {
    v2();
    expect(problems("cgroup2fs")).toEqual([]);
    for (const name of ["cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer"]) {
      file(`${name}/cgroup.procs`);
    }
    expect(problems("tmpfs")).toEqual([]);
  });

  it("names the controllers that are missing", () => {
    v2("cpu memory");
    expect(problems("cgroup2fs").map((problem) => problem.split(" is ")[0])).toEqual([
      "cgroup v2 controller cpuset",
      "cgroup v2 controller pids",
    ]);
    expect(problems("tmpfs")).toHaveLength(7);
  });

  it("says what to move in a container, whose cgroup has processes", () => {
    v2();
    file("cgroup.type", "domain\n");
    expect(problems("cgroup2fs")).toEqual([expect.stringContaining(`move them first: mkdir -p ${folder}/init`)]);
    file("cgroup.procs");
    expect(problems("cgroup2fs")).toEqual([]);
  });
});
