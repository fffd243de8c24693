import { describe, expect, it } from "vitest";
import type { LabelSelector, NetworkPolicy, Pod } from "../../../sandbox/networkpolicy/objects";
import { type ClusterState, directions, matches, type PolicyNode, ruleset } from "../../../sandbox/networkpolicy/rules";
import { judge, type Packet } from "./judge";

const node = (number: number): PolicyNode => ({
  name: `node-${number}`,
  podRange: `10.244.${number}.0/24`,
  trusted: [`10.244.${number}.1`, `10.200.0.1${number}`, "10.200.0.1"],
});

const pod = (
  path: string,
  podIP: string,
  labels: Record<string, string> = {},
  more: Partial<Pod["spec"]> = {},
): Pod => {
  const [namespace = "", name = ""] = path.split("/");
  return {
    metadata: { namespace, name, labels },
    spec: { containers: [{ ports: [{ name: "http", containerPort: 8080 }] }], ...more },
    status: { phase: "Running", podIP },
  };
};

const addresses = {
  server: "10.244.1.5",
  client: "10.244.1.6",
  stranger: "10.244.1.7",
  remote: "10.244.2.5",
  other: "10.244.2.6",
};
const state = (...policies: NetworkPolicy["spec"][]): ClusterState => ({
  pods: [
    pod("shop/server", addresses.server, { app: "server" }),
    pod("shop/client", addresses.client, { app: "client" }),
    pod("shop/stranger", addresses.stranger, { app: "stranger" }),
    pod(
      "bank/remote",
      addresses.remote,
      { app: "client" },
      { containers: [{ ports: [{ name: "http", containerPort: 9000 }] }] },
    ),
    pod("mall/other", addresses.other, { app: "client" }),
  ],
  namespaces: [
    { metadata: { name: "shop", labels: { "kubernetes.io/metadata.name": "shop" } } },
    { metadata: { name: "bank", labels: { "kubernetes.io/metadata.name": "bank", tier: "gold" } } },
    { metadata: { name: "mall", labels: { "kubernetes.io/metadata.name": "mall" } } },
  ],
  policies: policies.map((spec, index) => ({
    metadata: { namespace: "shop", name: `policy-${index}` },
    ...(spec ? { spec } : {}),
  })),
});

/** What both nodes' rules say about a new connection, as the kernel would apply them one after the other. */
function allowed(
  cluster: ClusterState,
  from: string,
  to: string,
  port = 8080,
  protocol: Packet["protocol"] = "tcp",
): boolean {
  const packet: Packet = { from, to, port, protocol };
  const path = [1, 2].filter((number) => [from, to].some((address) => address.startsWith(`10.244.${number}.`)));
  return path.every((number) => judge(ruleset(cluster, node(number)).text, packet));
}

const server: LabelSelector = { matchLabels: { app: "server" } };
const { client, stranger, remote, other } = addresses;
const target = addresses.server;

describe("ingress", () => {
  const cases: [
    what: string,
    specs: NonNullable<NetworkPolicy["spec"]>[],
    yes: [string, number?][],
    no: [string, number?][],
  ][] = [
    ["no policy: everything is open", [], [[client], [stranger, 1], [remote]], []],
    [
      "a policy that selects others: open",
      [{ podSelector: { matchLabels: { app: "none" } } }],
      [[client], [remote]],
      [],
    ],
    ["default deny", [{ podSelector: {}, policyTypes: ["Ingress"] }], [[target]], [[client], [remote]]],
    ["no podSelector selects all", [{ policyTypes: ["Ingress"] }], [], [[client]]],
    ["an empty rule allows all", [{ podSelector: server, ingress: [{}] }], [[client], [remote, 1]], []],
    ["empty from allows all", [{ podSelector: server, ingress: [{ from: [], ports: [] }] }], [[client], [remote]], []],
    [
      "by pod, own namespace only",
      [{ podSelector: server, ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }] }] }],
      [[client, 1]],
      [[stranger], [remote], [other]],
    ],
    [
      "by namespace",
      [{ podSelector: server, ingress: [{ from: [{ namespaceSelector: { matchLabels: { tier: "gold" } } }] }] }],
      [[remote]],
      [[client], [other]],
    ],
    [
      "namespace and pod in one peer: both",
      [
        {
          podSelector: server,
          ingress: [{ from: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: "client" } } }] }],
        },
      ],
      [[client], [remote], [other]],
      [[stranger]],
    ],
    [
      "namespace and pod in two peers: either",
      [
        {
          podSelector: server,
          ingress: [
            {
              from: [
                { namespaceSelector: { matchLabels: { tier: "gold" } } },
                { podSelector: { matchLabels: { app: "stranger" } } },
              ],
            },
          ],
        },
      ],
      [[remote], [stranger]],
      [[client], [other]],
    ],
    [
      "by port",
      [{ podSelector: server, ingress: [{ ports: [{ port: 8080 }] }] }],
      [[client], [remote]],
      [[client, 8081]],
    ],
    [
      "a port range, joined with its overlap",
      [
        {
          podSelector: server,
          ingress: [
            {
              ports: [
                { port: 8000, endPort: 8010 },
                { port: 8005, endPort: 8020 },
              ],
            },
          ],
        },
      ],
      [
        [client, 8000],
        [client, 8020],
      ],
      [
        [client, 7999],
        [client, 8021],
      ],
    ],
    [
      "a named port is the server's",
      [{ podSelector: server, ingress: [{ ports: [{ port: "http" }] }] }],
      [[remote, 8080]],
      [[remote, 9000]],
    ],
    [
      "a named port nobody has allows nothing",
      [{ podSelector: server, ingress: [{ ports: [{ port: "grpc" }] }] }],
      [],
      [[remote], [client]],
    ],
    [
      "ipBlock with except",
      [
        {
          podSelector: server,
          ingress: [{ from: [{ ipBlock: { cidr: "10.244.0.0/16", except: ["10.244.2.6/32"] } }] }],
        },
      ],
      [[client], [remote]],
      [[other], ["192.0.2.1"]],
    ],
    [
      "ipBlock of everything",
      [{ podSelector: server, ingress: [{ from: [{ ipBlock: { cidr: "0.0.0.0/0", except: ["10.244.2.0/24"] } }] }] }],
      [[client], ["192.0.2.1"]],
      [[remote]],
    ],
    [
      "several policies are a union",
      [
        { podSelector: {}, policyTypes: ["Ingress"] },
        {
          podSelector: server,
          ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }], ports: [{ port: 1 }] }],
        },
        { podSelector: server, ingress: [{ from: [{ namespaceSelector: { matchLabels: { tier: "gold" } } }] }] },
      ],
      [[client, 1], [remote]],
      [[client], [stranger, 1], [other]],
    ],
    [
      "one rule is sources and ports, two rules are either",
      [
        {
          podSelector: server,
          ingress: [
            { from: [{ podSelector: { matchLabels: { app: "client" } } }], ports: [{ port: 1 }] },
            { from: [{ podSelector: { matchLabels: { app: "stranger" } } }], ports: [{ port: 2 }] },
          ],
        },
      ],
      [
        [client, 1],
        [stranger, 2],
      ],
      [
        [client, 2],
        [stranger, 1],
      ],
    ],
    ["egress only leaves ingress open", [{ podSelector: server, policyTypes: ["Egress"] }], [[client], [remote]], []],
  ];
  it.each(cases)("%s", (_what, specs, yes, no) => {
    const cluster = state(...specs);
    for (const [from, port] of yes)
      expect({ from, port, allowed: allowed(cluster, from, target, port) }).toMatchObject({ allowed: true });
    for (const [from, port] of no)
      expect({ from, port, allowed: allowed(cluster, from, target, port) }).toMatchObject({ allowed: false });
  });

  it("lets the node and the host in, always", () => {
    const cluster = state({ podSelector: {}, policyTypes: ["Ingress"] });
    for (const from of ["10.244.1.1", "10.200.0.11", "10.200.0.1"]) expect(allowed(cluster, from, target)).toBe(true);
    // Another node's address is nobody special.
    expect(allowed(cluster, "10.200.0.12", target)).toBe(false);
  });

  it("tells protocols apart", () => {
    const cluster = state({
      podSelector: server,
      ingress: [{ ports: [{ port: 53, protocol: "UDP" }, { protocol: "SCTP" }] }],
    });
    expect(allowed(cluster, client, target, 53, "udp")).toBe(true);
    expect(allowed(cluster, client, target, 53, "tcp")).toBe(false);
    expect(allowed(cluster, client, target, 7, "sctp")).toBe(true);
  });
});

describe("egress", () => {
  const from = client;
  const self: LabelSelector = { matchLabels: { app: "client" } };
  const cases: [
    what: string,
    specs: NonNullable<NetworkPolicy["spec"]>[],
    yes: [string, number?][],
    no: [string, number?][],
  ][] = [
    [
      "default deny",
      [{ podSelector: self, policyTypes: ["Egress"] }],
      [[client]],
      [[target], [remote], ["192.0.2.1"], ["10.200.0.1"]],
    ],
    [
      "egress rules imply the type",
      [{ podSelector: self, egress: [{ ports: [{ port: 8080 }] }] }],
      [[target]],
      [[target, 1]],
    ],
    [
      "by pod",
      [{ podSelector: self, policyTypes: ["Egress"], egress: [{ to: [{ podSelector: server }] }] }],
      [[target, 1]],
      [[stranger], [remote]],
    ],
    [
      "by namespace, on another node",
      [
        {
          podSelector: self,
          policyTypes: ["Egress"],
          egress: [{ to: [{ namespaceSelector: { matchLabels: { tier: "gold" } } }] }],
        },
      ],
      [[remote]],
      [[target], [other]],
    ],
    [
      "by ipBlock except",
      [
        {
          podSelector: self,
          policyTypes: ["Egress"],
          egress: [{ to: [{ ipBlock: { cidr: "192.0.2.0/24", except: ["192.0.2.128/25"] } }] }],
        },
      ],
      [["192.0.2.1"]],
      [["192.0.2.129"], [target]],
    ],
    [
      "a named port is each target's own",
      [{ podSelector: self, policyTypes: ["Egress"], egress: [{ ports: [{ port: "http" }] }] }],
      [
        [target, 8080],
        [remote, 9000],
      ],
      [
        [target, 9000],
        [remote, 8080],
        ["192.0.2.1", 8080],
      ],
    ],
    [
      "a named port within peers",
      [
        {
          podSelector: self,
          policyTypes: ["Egress"],
          egress: [
            {
              to: [{ namespaceSelector: { matchLabels: { tier: "gold" } } }, { ipBlock: { cidr: "10.244.1.7/32" } }],
              ports: [{ port: "http" }],
            },
          ],
        },
      ],
      [
        [remote, 9000],
        [stranger, 8080],
      ],
      [
        [target, 8080],
        [other, 8080],
      ],
    ],
  ];
  it.each(cases)("%s", (_what, specs, yes, no) => {
    const cluster = state(...specs);
    for (const [to, port] of yes)
      expect({ to, port, allowed: allowed(cluster, from, to, port) }).toMatchObject({ allowed: true });
    for (const [to, port] of no)
      expect({ to, port, allowed: allowed(cluster, from, to, port) }).toMatchObject({ allowed: false });
  });

  it("needs the source's egress and the target's ingress, on one node and on two", () => {
    const out: NetworkPolicy["spec"] = {
      podSelector: self,
      policyTypes: ["Egress"],
      egress: [{ to: [{ podSelector: server }] }],
    };
    const closed: NetworkPolicy["spec"] = { podSelector: server, policyTypes: ["Ingress"] };
    expect(allowed(state(out), client, target)).toBe(true);
    expect(allowed(state(out, closed), client, target)).toBe(false);
    expect(allowed(state(closed), remote, target)).toBe(false);
  });
});

describe("selectors", () => {
  it.each([
    [{}, {}, true],
    [{ matchExpressions: [{ key: "a", operator: "In", values: ["1", "2"] }] }, { a: "2" }, true],
    [{ matchExpressions: [{ key: "a", operator: "In", values: ["1"] }] }, {}, false],
    [{ matchExpressions: [{ key: "a", operator: "NotIn", values: ["1"] }] }, {}, true],
    [{ matchExpressions: [{ key: "a", operator: "NotIn", values: ["1"] }] }, { a: "1" }, false],
    [{ matchExpressions: [{ key: "a", operator: "Exists" }] }, { a: "" }, true],
    [{ matchExpressions: [{ key: "a", operator: "DoesNotExist" }] }, { a: "" }, false],
    [{ matchExpressions: [{ key: "a", operator: "Like" }] }, { a: "" }, false],
    [{ matchLabels: { a: "1" }, matchExpressions: [{ key: "b", operator: "Exists" }] }, { a: "1" }, false],
  ] as [LabelSelector, Record<string, string>, boolean][])("%j on %j: %s", (selector, labels, expected) => {
    expect(matches(selector, labels)).toBe(expected);
  });
});

describe("policy types", () => {
  it.each([
    [{}, ["ingress"]],
    [{ ingress: [{}] }, ["ingress"]],
    [{ egress: [] }, ["ingress"]],
    [{ egress: [{}] }, ["ingress", "egress"]],
    [{ policyTypes: ["Egress"] }, ["egress"]],
    [{ policyTypes: ["Ingress"], egress: [{}] }, ["ingress"]],
  ])("%j: %j", (spec, expected) => {
    expect(directions({ metadata: { name: "policy" }, spec })).toEqual(expected);
  });
});

describe("pods", () => {
  const deny = { podSelector: {}, policyTypes: ["Ingress"] };

  it("stops calls to addresses of the node that are not known yet, not calls from them", () => {
    expect(allowed(state(), client, "10.244.1.200")).toBe(false);
    expect(allowed(state(), "10.244.1.200", client)).toBe(true);
  });

  it("forgets finished pods and ignores pods on the host network", () => {
    const cluster = state({ podSelector: server, ingress: [{ from: [{ podSelector: {} }] }] });
    cluster.pods.push(
      { ...pod("shop/done", "10.244.1.50"), status: { phase: "Succeeded", podIP: "10.244.1.50" } },
      pod("shop/host", "10.200.0.12", {}, { hostNetwork: true }),
      { ...pod("shop/waiting", ""), status: { phase: "Pending" } },
    );
    const { text } = ruleset(cluster, node(1));
    expect(text).not.toContain("10.244.1.50");
    expect(text).not.toContain("10.200.0.12");
    expect(allowed(cluster, client, target)).toBe(true);
  });

  it("gives an address that two pods report to the younger one", () => {
    const cluster = state({
      podSelector: server,
      ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }] }],
    });
    const old = pod("shop/old", client, { app: "old" });
    const young = pod("shop/young", client, { app: "young" });
    old.metadata.creationTimestamp = "2026-01-01T00:00:00Z";
    young.metadata.creationTimestamp = "2026-01-02T00:00:00Z";
    cluster.pods.push(young, old);
    expect(allowed(cluster, client, target)).toBe(false);
  });

  it("counts a sidecar's named ports, not an init container's", () => {
    const cluster = state({ podSelector: server, ingress: [{ ports: [{ port: "metrics" }] }] });
    cluster.pods[0] = pod(
      "shop/server",
      target,
      { app: "server" },
      {
        initContainers: [
          { restartPolicy: "Always", ports: [{ name: "metrics", containerPort: 9100 }] },
          { ports: [{ name: "metrics", containerPort: 9200 }] },
        ],
      },
    );
    expect(allowed(cluster, client, target, 9100)).toBe(true);
    expect(allowed(cluster, client, target, 9200)).toBe(false);
  });

  it("are enforced by their own node only", () => {
    const cluster = state(deny);
    expect(ruleset(cluster, node(1))).toMatchObject({ pods: 3, isolated: 3 });
    expect(ruleset(cluster, node(2))).toMatchObject({ pods: 2, isolated: 0 });
    expect(ruleset(cluster, node(2)).text).not.toContain("10.244.1.");
  });

  it("do not change the text by their order", () => {
    const one = state(deny, { podSelector: server, ingress: [{ from: [{ podSelector: {} }] }] });
    const two = {
      pods: one.pods.toReversed(),
      namespaces: one.namespaces.toReversed(),
      policies: one.policies.toReversed(),
    };
    expect(ruleset(two, node(1)).text).toBe(ruleset(one, node(1)).text);
  });

  it("may have names longer than a chain name", () => {
    const cluster = state();
    const name = "p".repeat(253);
    cluster.pods = [pod(`${"n".repeat(63)}/${name}`, target)];
    cluster.policies = [
      { metadata: { namespace: "n".repeat(63), name: "q".repeat(253) }, spec: { policyTypes: ["Ingress"] } },
    ];
    expect(allowed(cluster, client, target)).toBe(false);
    expect(
      ruleset(cluster, node(1))
        .text.split("\n")
        .every((line) => (/"(.*)"/.exec(line)?.[1] ?? "").length < 128),
    ).toBe(true);
  });
});

it("reads as a table a person can check", () => {
  const cluster = state({
    podSelector: server,
    ingress: [{ from: [{ podSelector: { matchLabels: { app: "client" } } }], ports: [{ port: "http" }] }],
  });
  expect(ruleset(cluster, node(1)).text).toMatchInlineSnapshot(`
    "table inet cells_networkpolicy
    delete table inet cells_networkpolicy
    table inet cells_networkpolicy {
      comment "NetworkPolicies, node-1"
      set pods {
        type ipv4_addr
        elements = { 10.244.1.5,
        10.244.1.6,
        10.244.1.7 }
      }
      chain ingress/shop/server {
        ip saddr 10.244.1.5 return
        ip saddr 10.244.1.6 tcp dport 8080 return comment "policy-0"
        counter drop comment "allowed by none of policy-0"
      }
      map egress_of {
        type ipv4_addr : verdict
      }
      map ingress_of {
        type ipv4_addr : verdict
        elements = { 10.244.1.5 : jump ingress/shop/server }
      }
      chain forward {
        type filter hook forward priority filter; policy accept
        meta nfproto ipv6 drop
        ct state related accept
        ct state established ct direction reply accept
        ip saddr vmap @egress_of
        ip saddr { 10.244.1.1, 10.200.0.11, 10.200.0.1 } accept
        ip daddr 10.244.1.0/24 ip daddr != @pods counter drop comment "a pod not known yet"
        ip daddr vmap @ingress_of
      }
    }
    "
  `);
});
