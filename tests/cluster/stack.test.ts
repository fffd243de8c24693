import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { kubectl } from "../../sandbox/cluster";
import { type Engine, pulumi, sandboxEngine } from "../../sandbox/engine";
import { checkout, volumes } from "../../sandbox/paths";
import { until } from "../../sandbox/shell";

/**
 * The dev stack from the first `up` to `destroy`, on a stack and a namespace of its own: what a user deployed with
 * `make up` is not touched. The tests build on each other and run in this order.
 */
const stack = "test";
const namespace = `cells-${stack}`;
let engine: Engine;

interface Result {
  code: number;
  output: string;
}

async function execute(command: string, args: string[], environment: Record<string, string> = {}): Promise<Result> {
  const child = spawn(command, args, {
    cwd: checkout,
    env: { ...process.env, ...engine.environment, PULUMI_STACK: stack, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close") as Promise<[number | null]>,
  ]);
  return { code: code ?? 1, output: stdout + stderr };
}

const deploy = (command: string, ...args: string[]): Promise<Result> =>
  execute("pulumi", [command, "--stack", stack, ...engine.configuration, "--non-interactive", ...args]);
const tsx = (script: string, ...args: string[]): Promise<Result> => execute("tsx", [script, ...args]);

beforeAll(async () => {
  engine = await sandboxEngine(stack);
  Object.assign(process.env, engine.environment);
  // What a run that was killed may have left.
  await pulumi(engine, "cancel", "--yes", "--stack", stack).catch(() => undefined);
  await deploy("destroy", "--yes", "--skip-preview", "--refresh");
  await kubectl("delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s");
});

afterAll(async () => {
  await deploy("destroy", "--yes", "--skip-preview");
});

describe("the dev stack", () => {
  it("converges when the first up is killed in the middle", async () => {
    const child = spawn("pulumi", ["up", "--yes", "--skip-preview", "--stack", stack, ...engine.configuration], {
      cwd: checkout,
      env: { ...process.env, ...engine.environment },
      stdio: "ignore",
      detached: true,
    });
    const ended = once(child, "close");
    await until("the first StatefulSet", 120, async () =>
      (await kubectl("get", "statefulsets", "-n", namespace, "-o", "name")) === "" ? undefined : true,
    );
    // The engine and everything it started, at once.
    process.kill(-(child.pid ?? 0), "SIGKILL");
    await ended;
    await pulumi(engine, "cancel", "--yes", "--stack", stack);
    const result = await deploy("up", "--yes", "--skip-preview");
    expect(result.code, result.output).toBe(0);
  });

  it("passes the checks of every service", async () => {
    const result = await tsx("checks/cli.ts", "--json");
    expect(result.code, result.output).toBe(0);
    for (const service of ["etcd", "nats"]) expect(result.output).toContain(`"${service}"`);
  });

  it("has nothing to change afterwards", async () => {
    const preview = await deploy("preview", "--expect-no-changes", "--diff");
    expect(preview.code, preview.output).toBe(0);
    const refresh = await deploy("refresh", "--preview-only", "--expect-no-changes", "--diff");
    expect(refresh.code, refresh.output).toBe(0);
  });

  it("keeps secrets out of the state, ConfigMaps, arguments and logs", async () => {
    const secrets = (
      JSON.parse(await kubectl("get", "secrets", "-n", namespace, "-o", "json")) as {
        items: { metadata: { name: string }; data?: Record<string, string> }[];
      }
    ).items;
    const values = secrets.flatMap(({ data }) =>
      Object.entries(data ?? {})
        .filter(([key]) => /password|\.key$|secret|jwt/.test(key))
        .map(([, value]) => Buffer.from(value, "base64").toString().trim()),
    );
    expect(values.length).toBeGreaterThanOrEqual(6);
    const pods = (await kubectl("get", "pods", "-n", namespace, "-o", "name")).trim().split("\n");
    const places = {
      state: await pulumi(engine, "stack", "export", "--stack", stack),
      configMaps: await kubectl("get", "configmaps", "-n", namespace, "-o", "json"),
      workloads: await kubectl("get", "pods,statefulsets,deployments,jobs,cronjobs", "-n", namespace, "-o", "json"),
      logs: (
        await Promise.all(pods.map((pod) => kubectl("logs", "-n", namespace, pod, "--all-containers", "--prefix")))
      ).join("\n"),
    };
    for (const [place, content] of Object.entries(places)) {
      for (const value of values) {
        expect(content.includes(value), `a secret value appears in ${place}`).toBe(false);
        expect(content.includes(Buffer.from(value).toString("base64")), `a secret value appears in ${place}`).toBe(
          false,
        );
      }
    }
  });

  it("keeps pods of other namespaces out", async () => {
    const other = `${namespace}-stranger`;
    const probe = async (inside: string): Promise<string> => {
      const script = `const s=require("net").connect(2379,"etcd.${namespace}.svc").setTimeout(3000);
        const end=(w)=>{console.log(w);process.exit()};
        s.on("connect",()=>end("connected")).on("timeout",()=>end("timed out")).on("error",(e)=>end(e.code))`;
      await kubectl(
        "run",
        "probe",
        "-n",
        inside,
        "--image=docker.io/library/node:22.23.3-bookworm-slim",
        "--restart=Never",
        `--overrides=${JSON.stringify({
          spec: {
            securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } },
            containers: [
              {
                name: "probe",
                image: "docker.io/library/node:22.23.3-bookworm-slim",
                command: ["/usr/local/bin/node", "-e", script],
                securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
              },
            ],
          },
        })}`,
      );
      try {
        return await until("the probe to end", 60, async () => {
          const phase = await kubectl("get", "pod", "probe", "-n", inside, "-o", "jsonpath={.status.phase}");
          return phase === "Succeeded" ? (await kubectl("logs", "probe", "-n", inside)).trim() : undefined;
        });
      } finally {
        await kubectl("delete", "pod", "probe", "-n", inside, "--now");
      }
    };
    await kubectl("create", "namespace", other);
    try {
      // The first is the control: the same probe connects from where clients are allowed.
      expect(await probe(namespace)).toBe("connected");
      expect(await probe(other)).toBe("timed out");
    } finally {
      await kubectl("delete", "namespace", other);
    }
  });

  it("loses no acknowledged write when the leader of each service is killed", async () => {
    const result = await tsx("drills/cli.ts", "leader-kill");
    process.stdout.write(result.output);
    expect(result.code, result.output).toBe(0);
  });

  it("gets a full voter back when a volume of etcd is lost", async () => {
    const result = await tsx("drills/cli.ts", "volume-loss", "--service", "etcd");
    process.stdout.write(result.output);
    expect(result.code, result.output).toBe(0);
    const checked = await tsx("checks/cli.ts", "--service", "etcd");
    expect(checked.code, checked.output).toBe(0);
  });

  it("says so when a service is down, and comes back with its data when all members were gone", async () => {
    await kubectl("scale", "statefulset", "nats", "-n", namespace, "--replicas=0");
    await until("the members to end", 120, async () =>
      (await kubectl(
        "get",
        "pods",
        "-n",
        namespace,
        "-l",
        "app.kubernetes.io/name=nats,app.kubernetes.io/component=server",
        "-o",
        "name",
      )) === ""
        ? true
        : undefined,
    );
    const down = await tsx("checks/cli.ts", "--service", "nats");
    expect(down.code, down.output).toBe(1);
    await kubectl("scale", "statefulset", "nats", "-n", namespace, "--replicas=3");
    await kubectl("rollout", "status", "statefulset/nats", "-n", namespace, "--timeout=180s");
    const again = await tsx("checks/cli.ts", "--service", "nats");
    expect(again.code, again.output).toBe(0);
  });

  it.each([
    [
      "an even number of members",
      "cells-services:etcd",
      { members: 4 },
      "members must be odd so that a majority exists, got 4",
    ],
    ["a size without a unit", "cells-services:nats", { storage: { size: "10" } }, '"10"'],
    ["an unknown key", "cells-services:etcd", { membres: 3 }, "members"],
  ])("refuses %s before anything is created", async (_, key, value, words) => {
    const file = join(volumes, "..", "refused.yaml");
    const configuration = parse(readFileSync(engine.configuration[1] ?? "", "utf8")) as { config: object };
    writeFileSync(file, stringify({ ...configuration, config: { ...configuration.config, [key]: value } }));
    try {
      const before = await kubectl("get", "all", "-n", namespace, "-o", "name");
      const result = await execute("pulumi", [
        "up",
        "--yes",
        "--stack",
        stack,
        "--config-file",
        file,
        "--non-interactive",
      ]);
      expect(result.code).not.toBe(0);
      expect(result.output).toContain(words);
      expect(await kubectl("get", "all", "-n", namespace, "-o", "name")).toBe(before);
    } finally {
      rmSync(file);
    }
  });

  it("is gone without a trace after destroy", async () => {
    const result = await deploy("destroy", "--yes", "--skip-preview");
    expect(result.code, result.output).toBe(0);
    expect(await kubectl("get", "namespace", namespace, "--ignore-not-found")).toBe("");
    await until("the volumes to be gone", 60, async () => {
      const left = await kubectl(
        "get",
        "pv",
        "-o",
        `jsonpath={.items[?(@.spec.claimRef.namespace=="${namespace}")].metadata.name}`,
      );
      if (left === "") return true;
      throw new Error(`left: ${left}`);
    });
    const state = await pulumi(engine, "stack", "export", "--stack", stack);
    expect((JSON.parse(state) as { deployment: { resources?: object[] } }).deployment.resources ?? []).toHaveLength(0);
  });
});
