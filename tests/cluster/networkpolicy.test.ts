import { PassThrough } from "node:stream";
import {
  ApiException,
  CoreV1Api,
  Exec,
  KubeConfig,
  NetworkingV1Api,
  type V1NetworkPolicySpec,
  type V1Pod,
} from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { kubeconfig } from "../../sandbox/paths";

/**
 * Real pods, real policies. A denial is only believed next to a connection to the same server that works: the server
 * answers somebody else (or on another port) while it does not answer the one who is denied.
 */
const image = "docker.io/library/node:22.23.3-bookworm-slim";
const home = `np-test-home-${process.pid}`;
const away = `np-test-away-${process.pid}`;

const config = new KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(CoreV1Api);
const networking = config.makeApiClient(NetworkingV1Api);

/** Asks again until the answer is right; the error says what was seen last. */
async function eventually<T>(
  what: string,
  seconds: number,
  ask: () => Promise<T>,
  right: (answer: T) => boolean,
): Promise<T> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await ask();
    if (right(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${seconds} s for ${what}; last seen: ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Serves 8080 (named web) and 9090 over TCP: says who calls, then echoes. */
const serverCode = `
const net = require("node:net");
for (const port of [8080, 9090]) {
  net.createServer((socket) => {
    socket.on("error", () => {});
    socket.write(socket.remoteAddress + "\\n");
    socket.pipe(socket);
  }).listen(port, "0.0.0.0");
}
process.on("SIGTERM", () => process.exit(0));`;

/** Connects to each target given and prints one line of JSON with who got an answer. */
const probeCode = `
const net = require("node:net");
const probe = (target) => new Promise((resolve) => {
  const [host, port] = target.split(":");
  const socket = net.connect({ host, port: Number(port), family: 4 });
  const end = (answer) => { socket.destroy(); resolve([target, answer]); };
  socket.setTimeout(1500, () => end(false));
  socket.on("error", () => end(false));
  socket.on("data", () => end(true));
});
Promise.all(process.argv.slice(1).map(probe)).then((answers) => console.log(JSON.stringify(Object.fromEntries(answers))));`;

/** Holds one connection and says on every tick whether it still carries data. */
const holdCode = `
const net = require("node:net");
const [host, port] = process.argv[1].split(":");
const socket = net.connect({ host, port: Number(port) });
let heard = 0;
socket.on("data", () => { heard = Date.now(); });
socket.on("error", () => {});
setInterval(() => {
  if (!socket.destroyed) socket.write("x");
  console.log(heard !== 0 && Date.now() - heard < 1000 ? "alive" : "cut");
}, 200);
// A process started by exec outlives its connection.
setTimeout(() => process.exit(0), 60000);`;

/** Connects again and again and prints the time of each answer; pods and test share the machine's clock. */
const knockCode = `
const net = require("node:net");
const [host, port] = process.argv[1].split(":");
setInterval(() => {
  const socket = net.connect({ host, port: Number(port) });
  socket.setTimeout(1000, () => socket.destroy());
  socket.on("error", () => {});
  socket.on("data", () => { console.log(Date.now()); socket.destroy(); });
}, 20);
setTimeout(() => process.exit(0), 60000);`;

const pod = (namespace: string, name: string, node: string): V1Pod => ({
  metadata: { namespace, name, labels: { app: name, home: namespace === home ? "yes" : "no" } },
  spec: {
    nodeName: node,
    automountServiceAccountToken: false,
    terminationGracePeriodSeconds: 1,
    securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } },
    containers: [
      {
        name: "main",
        image,
        imagePullPolicy: "IfNotPresent",
        command: ["/usr/local/bin/node", "-e", serverCode],
        ports: [
          { name: "web", containerPort: 8080 },
          { name: "admin", containerPort: 9090 },
        ],
        // The kubelet on the node asks, which no policy may stop.
        readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 },
        resources: { requests: { cpu: "10m", memory: "32Mi" }, limits: { memory: "96Mi" } },
        securityContext: {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        },
      },
    ],
  },
});

interface Place {
  namespace: string;
  name: string;
}
const server: Place = { namespace: home, name: "server" };
const neighbour: Place = { namespace: home, name: "neighbour" };
const friend: Place = { namespace: home, name: "friend" };
const foreigner: Place = { namespace: away, name: "foreigner" };
const everybody = [server, neighbour, friend, foreigner];
const addresses = new Map<Place, string>();
const at = (place: Place, port = 8080): string => `${addresses.get(place) ?? "unknown"}:${port}`;
let service = "";

async function run(place: Place, code: string, args: string[]): Promise<string> {
  const output = new PassThrough();
  const chunks: Buffer[] = [];
  output.on("data", (chunk: Buffer) => chunks.push(chunk));
  const command = ["/usr/local/bin/node", "-e", code, ...args];
  await new Promise<void>((resolve, reject) => {
    new Exec(config)
      .exec(place.namespace, place.name, "main", command, output, null, null, false, (status) =>
        status.status === "Success"
          ? resolve()
          : reject(new Error(`exec in ${place.name}: ${status.message ?? "failed"}`)),
      )
      .catch(reject);
  });
  return Buffer.concat(chunks).toString();
}

/** A process in the pod that goes on until it is ended; what counts is the last line it said. */
async function follow(
  place: Place,
  code: string,
  args: string[],
): Promise<{ last(): string | undefined; end(): void }> {
  const output = new PassThrough();
  let line: string | undefined;
  output.on("data", (chunk: Buffer) => {
    line = chunk.toString().trim().split("\n").at(-1);
  });
  const command = ["/usr/local/bin/node", "-e", code, ...args];
  const socket = (await new Exec(config).exec(
    place.namespace,
    place.name,
    "main",
    command,
    output,
    null,
    null,
    false,
  )) as {
    close(): void;
  };
  return { last: () => line, end: () => socket.close() };
}

/** Who answers whom, all at once. */
async function reach(wanted: [from: Place, to: string][]): Promise<boolean[]> {
  const sources = [...new Set(wanted.map(([from]) => from))];
  const answers = new Map(
    await Promise.all(
      sources.map(async (from) => {
        const targets = wanted.filter(([source]) => source === from).map(([, to]) => to);
        return [from, JSON.parse(await run(from, probeCode, targets)) as Record<string, boolean>] as const;
      }),
    ),
  );
  return wanted.map(([from, to]) => answers.get(from)?.[to] ?? false);
}

/** States who may and who may not; both are looked at together and more than once, until the picture is right. */
async function expectReach(may: [from: Place, to: string][], mayNot: [from: Place, to: string][]): Promise<void> {
  const wanted = [...may, ...mayNot];
  const right = wanted.map((_one, index) => index < may.length);
  const named = (answers: boolean[]): string[] =>
    wanted.map(([from, to], index) => `${from.name} to ${to}: ${answers[index] === true ? "answered" : "silent"}`);
  const seen = await eventually(
    "the policies to take effect",
    15,
    () => reach(wanted),
    (answers) => answers.every((answer, index) => answer === right[index]),
  ).catch(() => reach(wanted));
  expect(named(seen)).toEqual(named(right));
}

async function policies(specs: Record<string, V1NetworkPolicySpec>, namespace = home): Promise<void> {
  await networking.deleteCollectionNamespacedNetworkPolicy({ namespace });
  for (const [name, spec] of Object.entries(specs)) {
    await networking.createNamespacedNetworkPolicy({ namespace, body: { metadata: { name }, spec } });
  }
}

const serverPods = { matchLabels: { app: "server" } };
const denyAll: V1NetworkPolicySpec = { podSelector: {}, policyTypes: ["Ingress"] };

beforeAll(async () => {
  const nodes = (await core.listNode()).items.map(({ metadata }) => metadata?.name ?? "").sort();
  const [first = "", second = first] = nodes;
  for (const name of [home, away]) {
    await core.createNamespace({
      body: {
        metadata: {
          name,
          labels: { "pod-security.kubernetes.io/enforce": "restricted", team: name === home ? "home" : "away" },
        },
      },
    });
  }
  // A pod without its namespace's service account is refused; the account is made a moment after the namespace.
  for (const namespace of [home, away]) {
    await eventually(
      `service account of ${namespace}`,
      30,
      () => core.listNamespacedServiceAccount({ namespace }),
      ({ items }) => items.length > 0,
    );
  }
  // The neighbour shares the server's node (a bridge between them), the others are a route away.
  await core.createNamespacedPod({ namespace: home, body: pod(home, "server", first) });
  await core.createNamespacedPod({ namespace: home, body: pod(home, "neighbour", first) });
  await core.createNamespacedPod({ namespace: home, body: pod(home, "friend", second) });
  await core.createNamespacedPod({ namespace: away, body: pod(away, "foreigner", second) });
  const made = await core.createNamespacedService({
    namespace: home,
    body: {
      metadata: { name: "server" },
      spec: { selector: { app: "server" }, ports: [{ port: 80, targetPort: "web" }] },
    },
  });
  service = `${made.spec?.clusterIP ?? "unknown"}:80`;
  for (const place of everybody) {
    const ready = await eventually(
      `pod ${place.name} to be ready`,
      120,
      () => core.readNamespacedPod(place),
      ({ status }) =>
        status?.conditions?.some(({ type, status: state }) => type === "Ready" && state === "True") === true,
    );
    addresses.set(place, ready.status?.podIP ?? "unknown");
  }
});

afterAll(async () => {
  for (const name of [home, away]) {
    await core.deleteNamespace({ name }).catch((error: unknown) => {
      if (!(error instanceof ApiException && error.code === 404)) throw error;
    });
  }
});

describe("NetworkPolicy", () => {
  it("everybody reaches everybody without one", async () => {
    await policies({});
    await expectReach(
      [
        [neighbour, at(server)],
        [friend, at(server, 9090)],
        [foreigner, at(server)],
        [neighbour, service],
        [foreigner, service],
        [server, service],
        [server, at(foreigner)],
      ],
      [],
    );
  });

  it("default deny closes a namespace, its own calls out and the kubelet's probes go on", async () => {
    await policies({ "deny-all": denyAll });
    await expectReach(
      [
        [server, at(server)],
        [server, service],
        [server, at(foreigner)],
        [friend, at(foreigner)],
      ],
      [
        [neighbour, at(server)],
        [friend, at(server)],
        [foreigner, at(server)],
        [neighbour, service],
        [foreigner, service],
        [server, at(friend)],
      ],
    );
    const { status } = await core.readNamespacedPod(server);
    expect(status?.conditions?.find(({ type }) => type === "Ready")?.status).toBe("True");
  });

  it("by pod", async () => {
    await policies({
      "by-pod": {
        podSelector: serverPods,
        ingress: [{ _from: [{ podSelector: { matchLabels: { app: "neighbour" } } }] }],
      },
    });
    await expectReach(
      [
        [neighbour, at(server)],
        [neighbour, service],
      ],
      [
        [friend, at(server)],
        [foreigner, at(server)],
        [friend, service],
      ],
    );
    await policies({
      "by-pod": {
        podSelector: serverPods,
        ingress: [
          { _from: [{ podSelector: { matchExpressions: [{ key: "app", operator: "In", values: ["friend"] }] } }] },
        ],
      },
    });
    await expectReach(
      [
        [friend, at(server)],
        [friend, service],
      ],
      [
        [neighbour, at(server)],
        [neighbour, service],
        [foreigner, at(server)],
      ],
    );
  });

  it("by namespace, and by pod in a namespace", async () => {
    await policies({
      "by-namespace": {
        podSelector: serverPods,
        ingress: [{ _from: [{ namespaceSelector: { matchLabels: { team: "away" } } }] }],
      },
    });
    await expectReach(
      [[foreigner, at(server)]],
      [
        [neighbour, at(server)],
        [friend, at(server)],
      ],
    );
    await policies({
      "by-both": {
        podSelector: serverPods,
        ingress: [{ _from: [{ namespaceSelector: {}, podSelector: { matchLabels: { home: "yes" } } }] }],
      },
    });
    await expectReach(
      [
        [neighbour, at(server)],
        [friend, at(server)],
      ],
      [[foreigner, at(server)]],
    );
  });

  it("by port, numbered and named, judged after the service's translation", async () => {
    await policies({ "by-port": { podSelector: serverPods, ingress: [{ ports: [{ port: 8080 }] }] } });
    await expectReach(
      [
        [neighbour, at(server)],
        [foreigner, at(server)],
        [foreigner, service],
      ],
      [
        [neighbour, at(server, 9090)],
        [foreigner, at(server, 9090)],
      ],
    );
    await policies({
      "by-name": { podSelector: serverPods, ingress: [{ ports: [{ port: "admin", protocol: "TCP" }] }] },
    });
    await expectReach(
      [
        [neighbour, at(server, 9090)],
        [foreigner, at(server, 9090)],
      ],
      [
        [neighbour, at(server)],
        [foreigner, service],
      ],
    );
  });

  it("by address with exceptions", async () => {
    const except = `${addresses.get(foreigner) ?? ""}/32`;
    await policies({
      "by-address": {
        podSelector: serverPods,
        ingress: [{ _from: [{ ipBlock: { cidr: "0.0.0.0/0", except: [except] } }] }],
      },
    });
    await expectReach(
      [
        [neighbour, at(server)],
        [friend, at(server)],
      ],
      [[foreigner, at(server)]],
    );
  });

  it("egress by peer and port", async () => {
    await policies({
      egress: {
        podSelector: { matchLabels: { app: "friend" } },
        policyTypes: ["Egress"],
        egress: [{ to: [{ podSelector: serverPods }], ports: [{ port: "web" }] }],
      },
    });
    await expectReach(
      [
        [friend, at(server)],
        [friend, service],
        [neighbour, at(server, 9090)],
        [server, at(friend, 9090)],
        [server, at(foreigner)],
      ],
      [
        [friend, at(server, 9090)],
        [friend, at(foreigner)],
        [friend, at(neighbour)],
      ],
    );
  });

  it("several are a union", async () => {
    await policies({
      "deny-all": denyAll,
      neighbours: {
        podSelector: serverPods,
        ingress: [{ _from: [{ podSelector: { matchLabels: { app: "neighbour" } } }], ports: [{ port: 9090 }] }],
      },
      foreigners: {
        podSelector: serverPods,
        ingress: [{ _from: [{ namespaceSelector: { matchLabels: { team: "away" } } }] }],
      },
    });
    await expectReach(
      [
        [neighbour, at(server, 9090)],
        [foreigner, at(server)],
      ],
      [
        [neighbour, at(server)],
        [friend, at(server)],
        [foreigner, at(neighbour)],
      ],
    );
  });

  it("a new denial cuts a connection that is open, another one lives on", async () => {
    await policies({});
    await expectReach(
      [
        [neighbour, at(server)],
        [friend, at(server)],
      ],
      [],
    );
    const [near, far] = [await follow(neighbour, holdCode, [at(server)]), await follow(friend, holdCode, [at(server)])];
    try {
      const both = async (): Promise<(string | undefined)[]> => [near.last(), far.last()];
      await eventually("both connections to carry data", 15, both, (seen) => seen.join() === "alive,alive");
      await policies({
        "by-pod": {
          podSelector: serverPods,
          ingress: [{ _from: [{ podSelector: { matchLabels: { app: "friend" } } }] }],
        },
      });
      await eventually("the denied connection alone to be cut", 15, both, (seen) => seen.join() === "cut,alive");
    } finally {
      near.end();
      far.end();
    }
  });

  it("takes effect within a second of the API server's answer", async () => {
    await policies({});
    await expectReach([[friend, at(server)]], []);
    const answers = await follow(friend, knockCode, [at(server)]);
    const last = async (): Promise<number> => Number(answers.last() ?? 0);
    try {
      await eventually("the first answers", 15, last, (time) => time > 0);
      await policies({ "deny-all": denyAll });
      const created = Date.now();
      const silentSince = await eventually("the answers to end", 15, last, (time) => Date.now() - time > 1_500);
      expect(silentSince - created).toBeLessThan(1_000);
    } finally {
      answers.end();
    }
  });
});
