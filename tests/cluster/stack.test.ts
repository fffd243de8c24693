import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { chooseCluster, createRedaction, loadCluster, openEnvironment, readOutputs, selectTargets } from "../../checks";
import { natsProfile } from "../../drills/nats";
import { kubectl } from "../../sandbox/cluster";
import { type Engine, pulumi, sandboxEngine } from "../../sandbox/engine";
import { checkout, home, kubeconfig } from "../../sandbox/paths";
import { until } from "../../sandbox/shell";
import { serviceNames } from "../../stacks/config";
import { leaks, type SecretObject, secretValues } from "../support/leaks";

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

/** A real client that writes to NATS, and reads back what each single member holds. */
async function openNats() {
  const outputs = await readOutputs({ stack, directory: checkout });
  const [target] = selectTargets(outputs.checks, ["nats"]);
  if (target === undefined) throw new Error("the stack has no NATS");
  const config = loadCluster(chooseCluster({ kubeconfig }, outputs, {}));
  const environment = openEnvironment(config, target, createRedaction(), new AbortController().signal);
  const workload = await natsProfile.open(target, environment, "restart");
  const close = async (): Promise<void> => {
    await workload.close();
    await environment.close();
  };
  return { members: target.members, workload, close };
}

/** What the stack consists of, by the state of the engine. */
async function resourcesOfState(): Promise<string[]> {
  const state = await pulumi(engine, "stack", "export", "--stack", stack);
  const { resources = [] } = (JSON.parse(state) as { deployment: { resources?: { urn: string; id?: string }[] } })
    .deployment;
  return resources.map(({ urn, id }) => `${urn} ${id ?? ""}`).sort();
}

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
    // The process group of the engine, without a chance to finish its state or to give back its lock. Its plugins have
    // groups of their own: that nobody waits for them any more is for them to notice.
    process.kill(-(child.pid ?? 0), "SIGKILL");
    await ended;
    const result = await execute("tsx", ["sandbox/cli.ts", "up"], { STACK: stack, KUBE_CONTEXT: "" });
    expect(result.code, result.output).toBe(0);
    expect(result.output).toContain("all passed");
  });

  it("passes the checks of every service", async () => {
    const result = await tsx("checks/cli.ts", "--json");
    expect(result.code, result.output).toBe(0);
    for (const service of serviceNames) expect(result.output).toContain(`"${service}"`);
  });

  it("has nothing to change afterwards", async () => {
    const preview = await deploy("preview", "--expect-no-changes", "--diff");
    expect(preview.code, preview.output).toBe(0);
    const refresh = await deploy("refresh", "--preview-only", "--expect-no-changes", "--diff");
    expect(refresh.code, refresh.output).toBe(0);
  });

  it("keeps secrets out of the state, ConfigMaps, arguments and logs", async () => {
    const { items } = JSON.parse(await kubectl("get", "secrets", "-n", namespace, "-o", "json")) as {
      items: SecretObject[];
    };
    const values = secretValues(items);
    // An administrator, an application, a certificate authority and two certificates each, at least.
    expect(values.length).toBeGreaterThanOrEqual(10);
    // A short value would be found by chance: one that is no secret belongs to the public ones.
    expect(values.filter(({ text }) => text.length < 16).map(({ where }) => where)).toEqual([]);
    // The control: each value is found where it is.
    for (const value of values) {
      const planted = {
        text: `before ${value.text} after`,
        base64: `before ${value.data} after`,
        json: JSON.stringify({ a: value.text }),
      };
      expect(leaks([value], planted)).toEqual(Object.keys(planted).map((place) => `${value.where} is in ${place}`));
    }
    const pods = (await kubectl("get", "pods", "-n", namespace, "-o", "name")).trim().split("\n");
    const places = {
      state: await pulumi(engine, "stack", "export", "--stack", stack),
      configMaps: await kubectl("get", "configmaps", "-n", namespace, "-o", "json"),
      workloads: await kubectl("get", "pods,statefulsets,deployments,jobs,cronjobs", "-n", namespace, "-o", "json"),
      logs: (
        await Promise.all(pods.map((pod) => kubectl("logs", "-n", namespace, pod, "--all-containers", "--prefix")))
      ).join("\n"),
    };
    for (const [place, content] of Object.entries(places)) expect(content, place).not.toBe("");
    expect(leaks(values, places)).toEqual([]);
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

  it.each([
    ["loses no acknowledged write when the leader of each service is killed", ["leader-kill"]],
    ["hands the leadership of each service over when its leader is stopped", ["hand-over"]],
    ["goes on when another member of each service is killed", ["member-crash"]],
    [
      "does not notice the death of an agent",
      ["agent-kill", "--service", "redis", "--service", "mongodb", "--service", "mysql"],
    ],
    ["gets a full member back when a volume of each service is lost", ["volume-loss"]],
    ["comes back by itself when all members of all services die at once", ["full-stop", "--together"]],
  ])("%s", async (_, drill) => {
    const result = await tsx("drills/cli.ts", ...drill);
    process.stdout.write(result.output);
    expect(result.code, result.output).toBe(0);
    const checked = await tsx("checks/cli.ts");
    expect(checked.code, checked.output).toBe(0);
  });

  it("says so when a service is down, and comes back with its data when all members were gone", async () => {
    const ids = Array.from({ length: 20 }, (_, index) => `message ${index}`);
    const nats = await openNats();
    try {
      await nats.workload.prepare();
      for (const id of ids) {
        await until(`the acknowledgement of ${id}`, 30, async () => nats.workload.write(id, 0).then(() => true));
      }
      await kubectl("scale", "statefulset", "nats", "-n", namespace, "--replicas=0");
      const servers = "app.kubernetes.io/name=nats,app.kubernetes.io/component=server";
      await until("the members to end", 120, async () =>
        (await kubectl("get", "pods", "-n", namespace, "-l", servers, "-o", "name")) === "" ? true : undefined,
      );
      const down = await tsx("checks/cli.ts", "--service", "nats");
      expect(down.code, down.output).toBe(1);
      await kubectl("scale", "statefulset", "nats", "-n", namespace, "--replicas=3");
      await kubectl("rollout", "status", "statefulset/nats", "-n", namespace, "--timeout=180s");
      for (const member of nats.members) {
        const stored = await until(`the messages of ${member}`, 60, () => nats.workload.stored(member));
        expect([...stored], member).toEqual(expect.arrayContaining(ids));
      }
    } finally {
      await nats.close();
    }
    const again = await tsx("checks/cli.ts", "--service", "nats");
    expect(again.code, again.output).toBe(0);
  });

  it.each([
    [
      "an even number of members",
      "cells-services:etcd",
      { members: 4 },
      'etcd "etcd": members must be odd so that a majority exists, got 4; use 3 or 5',
    ],
    [
      "a size without a unit",
      "cells-services:nats",
      { storage: { size: "10" } },
      'nats "nats": storage.size must be a whole number with a unit, got "10"; use a size like "8Gi"',
    ],
    [
      "an unknown key",
      "cells-services:etcd",
      { membres: 3 },
      "cells-services:etcd.membres is not a key of the configuration; did you mean members",
    ],
    [
      "an application that is called like the administrator",
      "cells-services:etcd",
      { applications: ["root"] },
      'etcd "etcd": applications must not contain "root", which is the administrator; use another name',
    ],
    [
      "too little memory",
      "cells-services:mysql",
      { resources: { limits: { memory: "256Mi" }, requests: { memory: "256Mi" } } },
      'mysql "mysql": resources.limits.memory must be at least',
    ],
    [
      "a value that nobody knows",
      "cells-services:redis",
      { eviction: "random" },
      'cells-services:redis.eviction must be "none" or "allkeys-lru", got "random"',
    ],
  ])("refuses %s before anything is created", async (_, key, value, sentence) => {
    const file = join(home, "refused.yaml");
    const configuration = parse(readFileSync(engine.configuration[1] ?? "", "utf8")) as { config: object };
    writeFileSync(file, stringify({ ...configuration, config: { ...configuration.config, [key]: value } }));
    try {
      const before = await resourcesOfState();
      const flags = ["up", "--yes", "--stack", stack, "--config-file", file, "--non-interactive"];
      const result = await execute("pulumi", flags);
      expect(result.code).not.toBe(0);
      expect(result.output).toContain(`stack "${stack}": 1 configuration value is wrong`);
      expect(result.output).toContain(sentence);
      expect(await resourcesOfState()).toEqual(before);
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
    expect(await resourcesOfState()).toEqual([]);
  });
});
