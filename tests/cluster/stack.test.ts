import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { leafSecretNames } from "../../components/shared/core/certificates";
import { memberNames } from "../../components/shared/core/names";
import type { DrillName } from "../../drills/drill";
import { killServer } from "../../drills/faults";
import { kubectl } from "../../sandbox/cluster";
import { pulumi } from "../../sandbox/engine";
import { home, nodeCommand } from "../../sandbox/paths";
import { until } from "../../sandbox/shell";
import { serviceNames } from "../../stacks/config";
import { type Deployment, openDeployment } from "../support/deployment";
import { leaks, type SecretObject, secretValues } from "../support/leaks";
import { budgetFactor } from "../support/pace";
import { everything } from "../support/scope";
import { allReady, drilledServices, openWorkload, placeOf, runNow } from "../support/workload";

/**
 * The dev stack from the first `up` to `destroy`, on a stack and a namespace of its own: what a user deployed with
 * `make up` is not touched. The tests build on each other and run in this order.
 */
const stack = "test";
const namespace = `cells-${stack}`;
const ofCells = `${namespace}-app`;
/** Also where Cells cannot use it: what the services do between themselves and with others must hold over TLS. */
const overTls = Object.fromEntries(serviceNames.map((each) => [`cells-services:${each}`, { tls: "required" }]));
let deployment: Deployment;

const services = (...names: string[]): string[] => names.flatMap((name) => ["--service", name]);
/** One proof of each kind needs few services; everything needs all of them. */
const inShort = (...names: string[]): string[] => (everything ? [] : services(...names));

/** A load that two processors bear together with the work of all services. */
const allAtOnce = ["--together", "--writers", "2", "--pace", "100"];

/** Pods of jobs are removed while one looks at them. */
const logsOf = (pod: string): Promise<string> =>
  kubectl("logs", "-n", namespace, pod, "--all-containers", "--prefix").catch((error: Error) => {
    if (error.message.includes("(NotFound)")) return "";
    throw error;
  });

interface Container {
  name: string;
  containerID: string;
}

/** What the agent of a member sees. */
function says(member: string): Promise<string> {
  const ready = `fetch("http://127.0.0.1:8008/ready").then((answer) => answer.text()).then(console.log)`;
  return kubectl("exec", "-n", namespace, member, "-c", "agent", "--", "/usr/local/bin/node", "-e", ready);
}

/** What the stack consists of, by the state of the engine. */
async function resourcesOfState(): Promise<string[]> {
  const state = await pulumi(deployment.engine, "stack", "export", "--stack", stack);
  const { resources = [] } = (JSON.parse(state) as { deployment: { resources?: { urn: string; id?: string }[] } })
    .deployment;
  return resources.map(({ urn, id }) => `${urn} ${id ?? ""}`).sort();
}

beforeAll(async () => {
  deployment = await openDeployment(stack, overTls);
  await deployment.clear();
});

afterAll(async () => {
  await deployment.deploy("destroy", "--yes", "--skip-preview");
});

describe("the dev stack", () => {
  it("converges when the first up is killed in the middle", async () => {
    await deployment.upKilled(deployment.engine.configuration[1] ?? "", () =>
      until("the first StatefulSet", 120, async () =>
        (await kubectl("get", "statefulsets", "-n", namespace, "-o", "name")) === "" ? undefined : true,
      ),
    );
    const result = await deployment.deploy("up", "--yes", "--skip-preview");
    expect(result.code, result.output).toBe(0);
  });

  it("passes the checks of every service", async () => {
    const result = await deployment.tsx("checks/cli.ts", "--json", "--wait", "120");
    expect(result.code, result.output).toBe(0);
    for (const service of serviceNames) expect(result.output).toContain(`"${service}"`);
  });

  it("opens each server of Vault once", async () => {
    // One that is opened twice serves until the next election, and nobody after it.
    for (const member of memberNames("vault", 3)) {
      const words = await kubectl("logs", member, "-n", namespace, "-c", "vault");
      expect(words.match(/core: vault is unsealed/g), member).toHaveLength(1);
    }
  });

  it("has nothing to change afterwards", async () => {
    const preview = await deployment.deploy("preview", "--expect-no-changes", "--diff");
    expect(preview.code, preview.output).toBe(0);
    const refresh = await deployment.deploy("refresh", "--preview-only", "--expect-no-changes", "--diff");
    expect(refresh.code, refresh.output).toBe(0);
  });

  it("keeps secrets out of the state, ConfigMaps, arguments and logs", async () => {
    const secretsIn = async (place: string) =>
      (JSON.parse(await kubectl("get", "secrets", "-n", place, "-o", "json")) as { items: SecretObject[] }).items;
    const values = secretValues([...(await secretsIn(namespace)), ...(await secretsIn(ofCells))]);
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
      state: await pulumi(deployment.engine, "stack", "export", "--stack", stack),
      configMaps: await kubectl("get", "configmaps", "-n", namespace, "-o", "json"),
      workloads: await kubectl("get", "pods,statefulsets,deployments,jobs,cronjobs", "-n", namespace, "-o", "json"),
      logs: (await Promise.all(pods.map(logsOf))).join("\n"),
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

  const inLong: [string, DrillName, string[]][] = everything
    ? [["goes on writing when that node dies", "node-stop", allAtOnce]]
    : [];
  it.each<[string, DrillName, string[]]>([
    ["loses no acknowledged write when the leader of each service is killed", "leader-kill", []],
    ["hands the leadership over when the leader is stopped", "hand-over", inShort("etcd", "redis")],
    ["goes on when another member is killed", "member-crash", inShort("mysql")],
    [
      "does not notice the death of an agent",
      "agent-kill",
      everything ? services("vault", "redis", "mongodb", "mysql") : services("redis"),
    ],
    ["gets a full member back when its volume is lost", "volume-loss", inShort("etcd")],
    [
      "takes writes again by itself after all volumes were full",
      "disk-full",
      everything ? allAtOnce : services("redis"),
    ],
    ["goes on writing when the leader of each service hangs", "leader-pause", allAtOnce],
    ["goes on writing without the node of most leaders, and is whole when it is back", "node-cut", allAtOnce],
    ...inLong,
    ["comes back by itself when all members of all services die at once", "full-stop", ["--together"]],
  ])("%s", async (_, drill, flags) => {
    // What Redis may lose is judged by the ten seconds before its master is lost.
    const steady = everything || /^(leader|node)-/.test(drill) ? [] : ["--steady", "5"];
    const factor = ["--budget-factor", `${await budgetFactor()}`];
    const nodes = ["--node-command", nodeCommand];
    const result = await deployment.tsx("drills/cli.ts", drill, ...flags, ...steady, ...factor, ...nodes);
    process.stdout.write(result.output);
    expect(result.code, result.output).toBe(0);
    // What else was on a node that was away may take as long as it does to start a service.
    await deployment.checksPass(drill.startsWith("node-") ? 240 : 60, ...(flags.includes("--together") ? [] : flags));
  });

  it("shows renewed certificates on every port, and restarts no member that can read them while it runs", async () => {
    /** Each container and its process. Sentinel and the object store read certificates only when they start. */
    const processes = async () => {
      const { items } = JSON.parse(
        await kubectl("get", "pods", "-n", namespace, "-l", "app.kubernetes.io/component=server", "-o", "json"),
      ) as { items: { metadata: { name: string }; status: { containerStatuses: Container[] } }[] };
      return items
        .filter(({ metadata }) => !metadata.name.startsWith("objectstore"))
        .flatMap(({ metadata, status }) =>
          status.containerStatuses.map(({ name, containerID }) => `${metadata.name} ${name} ${containerID}`),
        )
        .filter((line) => !line.includes(" sentinel "))
        .sort();
    };
    const before = await processes();
    for (const service of serviceNames) {
      await kubectl("delete", "secret", "-n", namespace, ...leafSecretNames(service, service));
    }
    const issued = await Promise.all(serviceNames.map((service) => runNow(namespace, `${service}-certificates`)));
    for (const words of issued) expect(words).toContain("the certificate is missing");
    await Promise.all(serviceNames.map((service) => runNow(namespace, `${service}-roll`)));
    await deployment.checksPass(360);
    expect(await processes()).toEqual(before);
  });

  it("comes back by itself, and before any name can be resolved where an agent keeps the names", async () => {
    const dns = (replicas: number) =>
      kubectl("scale", "deployment/coredns", "-n", "kube-system", `--replicas=${replicas}`);
    await dns(0);
    try {
      await until("the DNS to be away", 60, async () =>
        (await kubectl("get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns", "-o", "name")) === ""
          ? true
          : undefined,
      );
      const places = await Promise.all(drilledServices.map((service) => placeOf(stack, service)));
      const kills = places.flatMap((place) => place.target.members.map((member) => killServer(place, member)));
      for (const { proof } of await Promise.all(kills)) expect(await proof).toMatchObject({ proven: true });
      await deployment.checksPass(240, ...services("redis", "mongodb", "mysql", "vault"));
    } finally {
      await dns(2);
    }
    await deployment.checksPass(180, ...services("etcd", "nats", "objectstore"));
  });

  it("keeps a member of Vault closed without the key shares, says so, and opens it when they are back", async () => {
    const { metadata, ...shares } = JSON.parse(
      await kubectl("get", "secret", "vault-unseal", "-n", namespace, "-o", "json"),
    ) as { metadata: { name: string; labels: object } };
    const { name, labels } = metadata;
    await kubectl("delete", "secret", name, "-n", namespace);
    try {
      await kubectl("delete", "pod", "vault-2", "-n", namespace);
      await until("vault-2 to say what is missing", 120, async () =>
        (await says("vault-2")).includes("is sealed, and the Secret vault-unseal with the key shares is missing")
          ? true
          : undefined,
      );
      const closed = await deployment.tsx("checks/cli.ts", "--service", "vault");
      expect(closed.code, closed.output).toBe(1);
    } finally {
      const file = join(home, "unseal.json");
      writeFileSync(file, JSON.stringify({ ...shares, metadata: { name, labels, namespace } }), { mode: 0o600 });
      await kubectl("create", "-f", file).finally(() => rmSync(file));
    }
    await allReady(namespace, "vault", 180);
    await deployment.checksPass(60, "--service", "vault");
  });

  it("says so when a service is down, and comes back with its data when all members were gone", async () => {
    const ids = Array.from({ length: 20 }, (_, index) => `message ${index}`);
    const nats = await openWorkload(stack, "nats", "restart");
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
      const down = await deployment.tsx("checks/cli.ts", "--service", "nats");
      expect(down.code, down.output).toBe(1);
      await kubectl("scale", "statefulset", "nats", "-n", namespace, "--replicas=3");
      await allReady(namespace, "nats", 180);
      for (const member of nats.members) {
        const stored = await until(`the messages of ${member}`, 60, () => nats.workload.stored(member));
        expect([...stored], member).toEqual(expect.arrayContaining(ids));
      }
    } finally {
      await nats.close();
    }
    await deployment.checksPass(60, "--service", "nats");
  });

  it.each([
    [
      "an even number of members",
      "cells-services:etcd",
      { members: 4 },
      "cells-services:etcd.members must be odd so that a majority exists, got 4; use 3 or 5",
    ],
    [
      "a size without a unit",
      "cells-services:nats",
      { storage: { size: "10" } },
      'cells-services:nats.storage.size must be a whole number with a unit, got "10"; use a size like "8Gi"',
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
      'cells-services:etcd.applications must not contain "root", which is the administrator; use another name',
    ],
    [
      "too little memory",
      "cells-services:mysql",
      { resources: { limits: { memory: "256Mi" }, requests: { memory: "256Mi" } } },
      "cells-services:mysql.resources.limits.memory must be at least",
    ],
    [
      "a seal without a key",
      "cells-services:vault",
      { seal: { type: "awskms", region: "eu-central-1", credentialsSecret: "aws", recovery: "none" } },
      "cells-services:vault.seal.keyId is missing; give the id, the ARN or the alias of a symmetric KMS key",
    ],
    [
      "a second store of objects",
      "cells-services:objectstore",
      { members: 2 },
      "cells-services:objectstore.members is not a key of the configuration",
    ],
    [
      "a value that nobody knows",
      "cells-services:redis",
      { eviction: "random" },
      'cells-services:redis.eviction must be "none" or "allkeys-lru", got "random"',
    ],
  ])("refuses %s before anything is created", async (_, key, value, sentence) => {
    const file = deployment.configurationWith("refused", { [key]: value });
    try {
      const before = await resourcesOfState();
      const result = await deployment.deploy("up", "--yes", "--config-file", file);
      expect(result.code).not.toBe(0);
      expect(result.output).toContain(`stack "${stack}": 1 configuration value is wrong`);
      expect(result.output).toContain(sentence);
      expect(await resourcesOfState()).toEqual(before);
    } finally {
      rmSync(file);
    }
  });

  it("is gone without a trace after destroy", async () => {
    const result = await deployment.deploy("destroy", "--yes", "--skip-preview");
    expect(result.code, result.output).toBe(0);
    expect(await kubectl("get", "namespaces", namespace, ofCells, "--ignore-not-found")).toBe("");
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
