import { connect, createServer, type TLSSocket } from "node:tls";
import { beforeEach, describe, expect, it } from "vitest";
import { keepCertificates } from "../../../components/shared/agent/certificates";
import { decoded, type KubernetesApi, type KubernetesObject } from "../../../components/shared/agent/kubernetes";
import { type CertificateSettings, rollAnnotation, stalePodsOf } from "../../../components/shared/core/certificates";
import { createIssuer } from "../../support/issuer";

const day = 24 * 60 * 60 * 1000;
const etcd: CertificateSettings = {
  service: "etcd",
  name: "etcd",
  members: 3,
  issuer: "own",
  lifetimeDays: 90,
  authorityLifetimeDays: 3650,
  rotation: 0,
  restartOn: "authority",
  publishTo: ["etcd-admin"],
};

interface Data extends KubernetesObject {
  data?: Record<string, string>;
  spec?: { template?: { metadata?: { annotations?: Record<string, string> } } };
}

/** Objects as the sum of what each field manager has applied last, as server-side apply has it. */
function fakeCluster() {
  const applied = new Map<string, Map<string, KubernetesObject>>();
  const patch = (path: string, object: object, manager: string): void => {
    const managers = applied.get(path) ?? new Map<string, KubernetesObject>();
    applied.set(path, managers.set(manager, structuredClone(object)));
  };
  let writes = 0;
  let failAfter = Number.POSITIVE_INFINITY;
  const api: KubernetesApi = {
    async get<T extends KubernetesObject>(path: string) {
      const managers = applied.get(path);
      return managers && ([...managers.values()].reduce(merge, {}) as T);
    },
    create: async () => "exists",
    async apply(path, object, manager) {
      if (++writes > failAfter) throw new Error("killed");
      patch(path, object, manager);
    },
    remove: () => Promise.reject(new Error("nothing is removed")),
    evict: () => Promise.reject(new Error("nothing is evicted")),
  };
  const path = (kind: string, name: string): string => `/api/v1/namespaces/cells/${kind}/${name}`;
  const setPath = "/apis/apps/v1/namespaces/cells/statefulsets/etcd";
  let started = 0;
  const replace = (...names: string[]): void => {
    for (const name of names) patch(path("pods", name), { metadata: { uid: `pod-${started++}` } }, "kubelet");
  };
  patch(path("serviceaccounts", "etcd-certificates"), { metadata: { uid: "u1" } }, "pulumi");
  patch(path("secrets", "etcd-admin"), { data: { password: "cHc=" } }, "pulumi");
  return {
    api,
    data: async (kind: string, name: string) => (await api.get<Data>(path(kind, name)))?.data ?? {},
    object: (kind: string, name: string) => api.get<Data>(path(kind, name)),
    /** The members that are to be replaced. */
    stale: async () => {
      const uids = stalePodsOf((await api.get(path("configmaps", "etcd-ca")))?.metadata?.annotations);
      const pods = await Promise.all(members.map((name) => api.get(path("pods", name))));
      return members.filter((_, ordinal) => uids.includes(pods[ordinal]?.metadata?.uid ?? ""));
    },
    startServers: (readyReplicas = 3, tls = "required") => {
      patch(
        setPath,
        {
          spec: { replicas: 3, template: { spec: { initContainers: told(tls) } } },
          status: { readyReplicas, updatedReplicas: 3 },
        },
        "pulumi",
      );
      replace(...members);
    },
    replace,
    setPath,
    trustPath: path("configmaps", "etcd-ca"),
    killAfter: (count: number) => {
      writes = 0;
      failAfter = count;
    },
  };
}

const members = ["etcd-0", "etcd-1", "etcd-2"];
const told = (tls: string) => [{ name: "member", env: [{ name: "SETTINGS", value: JSON.stringify({ tls }) }] }];

function merge(a: object, b: object): object {
  const all = { ...a } as Record<string, unknown>;
  for (const [key, value] of Object.entries(b)) {
    const before = all[key];
    const nested = [before, value].every((each) => typeof each === "object" && each !== null && !Array.isArray(each));
    all[key] = nested ? merge(before as object, value as object) : value;
  }
  return all;
}

let cluster: ReturnType<typeof fakeCluster>;
let now: number;

function run(changes: Partial<CertificateSettings> = {}): Promise<void> {
  return keepCertificates({ settings: { ...etcd, ...changes }, namespace: "cells", api: cluster.api, now: () => now });
}

async function bundle(): Promise<string[]> {
  const { "ca.crt": text = "" } = await cluster.data("configmaps", "etcd-ca");
  return text.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----\n/g) ?? [];
}

async function phase(): Promise<string> {
  const state = decoded(await cluster.data("secrets", "etcd-ca"))["state.json"] ?? "";
  return (JSON.parse(state) as { phase: string }).phase;
}

/** A client with the published bundle talks to a server with the issued certificate. */
async function handshake(ca: string, secret: string): Promise<string> {
  const tls = decoded(await cluster.data("secrets", secret));
  const server = createServer({ cert: tls["tls.crt"], key: tls["tls.key"] });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const socket: TLSSocket = connect({ host: "127.0.0.1", port, ca, servername: "etcd-1.etcd-peers.cells.svc" });
  try {
    return await new Promise((resolve) => {
      socket.once("secureConnect", () => resolve("trusted"));
      socket.once("error", (error: Error) => resolve(error.message));
    });
  } finally {
    socket.destroy();
    server.close();
  }
}

beforeEach(() => {
  cluster = fakeCluster();
  now = Date.now();
});

describe("the certificates command", () => {
  it("issues everything with the first run and publishes the trust", async () => {
    await run();
    expect(await bundle()).toHaveLength(1);
    const [ca = ""] = await bundle();
    expect(await handshake(ca, "etcd-server-tls")).toBe("trusted");
    expect(await handshake(ca, "etcd-peer-tls")).toBe("trusted");
    expect(decoded(await cluster.data("secrets", "etcd-admin"))).toEqual({ password: "pw", "ca.crt": ca });
    expect(decoded(await cluster.data("secrets", "etcd-server-tls"))["ca.crt"]).toBe(ca);
  });

  it("issues everything for members that run without TLS, which are not restarted one by one for it", async () => {
    cluster.startServers(3, "off");
    await run();
    expect(await bundle()).toHaveLength(1);
    expect(await cluster.stale()).toEqual([]);
    cluster.startServers(0);
    await run();
    expect(await cluster.stale()).toEqual([]);
  });

  it("marks its objects for garbage collection, but not those of Pulumi", async () => {
    await run();
    for (const [kind, name] of [
      ["secrets", "etcd-ca"],
      ["secrets", "etcd-server-tls"],
      ["secrets", "etcd-peer-tls"],
      ["configmaps", "etcd-ca"],
    ] as const) {
      const metadata = (await cluster.object(kind, name))?.metadata;
      expect(metadata?.ownerReferences).toMatchObject([{ kind: "ServiceAccount", uid: "u1" }]);
      expect(metadata?.labels?.["app.kubernetes.io/instance"]).toBe("etcd");
    }
    expect((await cluster.object("secrets", "etcd-admin"))?.metadata?.ownerReferences).toBeUndefined();
  });

  it("changes nothing with the second run, and does not roll members that started with the first", async () => {
    await run();
    cluster.startServers();
    const before = await cluster.data("secrets", "etcd-server-tls");
    await run();
    expect(await cluster.data("secrets", "etcd-server-tls")).toEqual(before);
    expect(await cluster.stale()).toEqual([]);
  });

  it("renews leaf certificates without a roll when the server reads them by itself", async () => {
    await run();
    cluster.startServers();
    const before = await cluster.data("secrets", "etcd-server-tls");
    now += 61 * day;
    await run();
    expect(await cluster.data("secrets", "etcd-server-tls")).not.toEqual(before);
    expect(await cluster.stale()).toEqual([]);
  });

  it("rolls when the former had ended, through which no server could be told to read the next", async () => {
    await run();
    cluster.startServers();
    now += 91 * day;
    await run();
    expect(await cluster.stale()).toEqual(members);
    cluster.replace(...members);
    now += 61 * day;
    await run();
    expect(await cluster.stale()).toEqual([]);
  });

  it("rolls for another authority that signs where nobody proves that all have read what it signed", async () => {
    const rotation = { rotation: 1, restartOn: "signer" } as const;
    await run({ restartOn: "signer" });
    cluster.startServers();
    await run(rotation);
    expect(await cluster.stale()).toEqual(members);
    cluster.replace(...members);
    now += 61 * day;
    await run(rotation);
    expect(await cluster.stale()).toEqual(members);
  });

  it("leaves it to the roll to look at the members when a renewed certificate needs one, also when some are not ready", async () => {
    await run({ restartOn: "any" });
    cluster.startServers(2);
    now += 61 * day;
    await run({ restartOn: "any" });
    expect(await cluster.stale()).toEqual(members);
  });

  it("goes on with a roll that was interrupted, and replaces no member twice", async () => {
    await run();
    cluster.startServers();
    await run({ rotation: 1 });
    cluster.replace("etcd-2");
    await run({ rotation: 1 });
    expect(await cluster.stale()).toEqual(["etcd-0", "etcd-1"]);
    // A day has passed, and not all members trust the new authority.
    now += 2 * day;
    await run({ rotation: 1 });
    expect(await phase()).toBe("introduced");
    cluster.replace("etcd-0", "etcd-1");
    await run({ rotation: 1 });
    expect(await phase()).toBe("switched");
  });

  it("makes members stale that were started while it was killed, before it had noted the others", async () => {
    for (let writes = 0; writes < 8; writes++) {
      cluster = fakeCluster();
      await run();
      cluster.startServers();
      cluster.killAfter(writes);
      await run({ rotation: 1 }).catch(() => undefined);
      cluster.killAfter(Number.POSITIVE_INFINITY);
      const noted = await cluster.stale();
      cluster.replace("etcd-1");
      await run({ rotation: 1 });
      expect(await cluster.stale()).toEqual(noted.length === 0 ? members : ["etcd-0", "etcd-2"]);
    }
  });

  describe("where an earlier release has noted what members started with", () => {
    /** The digest of now, at the place where that release had it. */
    const asBefore = async (where: "template" | "baseline") => {
      const noted = (await cluster.object("configmaps", "etcd-ca"))?.metadata?.annotations?.[rollAnnotation] ?? "";
      const annotations = { "cells-services/baseline": where === "baseline" ? noted : "of the first authority" };
      await cluster.api.apply(cluster.trustPath, { metadata: { annotations } }, "cells-services-certificates");
      if (where === "baseline") return;
      const template = { metadata: { annotations: { [rollAnnotation]: noted } } };
      await cluster.api.apply(cluster.setPath, { spec: { template } } as KubernetesObject, "cells-services-roll");
    };

    it.each(["template", "baseline"] as const)("restarts nobody: on the %s", async (where) => {
      await run();
      cluster.startServers();
      await asBefore(where);
      for (let runs = 0; runs < 2; runs++) {
        await run();
        expect(await cluster.stale()).toEqual([]);
      }
    });

    it.each(["template", "baseline"] as const)("restarts all for another authority, once: on the %s", async (where) => {
      await run();
      cluster.startServers();
      await asBefore(where);
      await run({ rotation: 1 });
      expect(await cluster.stale()).toEqual(members);
      cluster.replace(...members);
      await run({ rotation: 1 });
      expect(await cluster.stale()).toEqual([]);
    });

    it.each(["template", "baseline"] as const)("notes it before it is killed: on the %s", async (where) => {
      for (let writes = 0; writes < 8; writes++) {
        cluster = fakeCluster();
        await run();
        cluster.startServers();
        await asBefore(where);
        cluster.killAfter(writes);
        await run().catch(() => undefined);
        cluster.killAfter(Number.POSITIVE_INFINITY);
        await run();
        expect(await cluster.stale()).toEqual([]);
      }
    });
  });

  it("replaces the authority in phases a day apart, during which old and new trust each other", async () => {
    // The handshakes below use the clock of this machine: begin in the past, so that nothing is from the future.
    now -= 5 * day;
    await run();
    cluster.startServers();
    const [old = ""] = await bundle();

    await run({ rotation: 1 });
    expect(await bundle()).toHaveLength(2);
    expect(await handshake(old, "etcd-server-tls")).toBe("trusted");
    expect(await cluster.stale()).toEqual(members);
    cluster.replace(...members);
    const both = (await bundle()).join("");

    // Clients have a day to read the bundle before anybody shows a certificate that only it covers.
    await run({ rotation: 1 });
    expect(await handshake(old, "etcd-server-tls")).toBe("trusted");
    now += 2 * day;
    await run({ rotation: 1 });
    expect(await bundle()).toHaveLength(2);
    expect(await handshake(both, "etcd-server-tls")).toBe("trusted");
    expect(await handshake(old, "etcd-server-tls")).not.toBe("trusted");
    // The key of the old authority is gone.
    expect(Object.keys(await cluster.data("secrets", "etcd-ca")).sort()).toEqual([
      "ca.crt",
      "ca.key",
      "other.crt",
      "state.json",
    ]);

    await run({ rotation: 1 });
    expect(await bundle()).toHaveLength(2);
    expect(await cluster.stale()).toEqual([]);
    now += 2 * day;
    await run({ rotation: 1 });
    expect(await bundle()).toHaveLength(1);
    expect(await bundle()).not.toContain(old);
    const [current = ""] = await bundle();
    expect(await handshake(current, "etcd-server-tls")).toBe("trusted");
    expect(await cluster.stale()).toEqual(members);

    const settledState = await cluster.data("secrets", "etcd-ca");
    await run({ rotation: 1 });
    expect(await cluster.data("secrets", "etcd-ca")).toEqual(settledState);
  });

  describe("for an application in another namespace", () => {
    const elsewhere = { publishElsewhere: [{ namespace: "app", name: "etcd-application-cells" }] };
    const trusted = async (): Promise<string> => {
      const secret = await cluster.api.get<Data>("/api/v1/namespaces/app/secrets/etcd-application-cells");
      return decoded(secret?.data)["ca.crt"] ?? "";
    };
    /** Returns what ends it. */
    const refuse = (reason: string): (() => void) => {
      const { api } = cluster;
      const apply = api.apply.bind(api);
      api.apply = (path, ...rest) =>
        path.includes("/app/") ? Promise.reject(new Error(reason)) : apply(path, ...rest);
      return () => {
        api.apply = apply;
      };
    };

    it("publishes the trust bundle there, also that of the next authority", async () => {
      await run(elsewhere);
      expect(await trusted()).toBe((await bundle()).join(""));
      cluster.startServers();
      await run({ ...elsewhere, rotation: 1 });
      expect(await bundle()).toHaveLength(2);
      expect(await trusted()).toBe((await bundle()).join(""));
    });

    it("keeps the certificates of the members when the namespace is gone, and fails in words", async () => {
      refuse('namespaces "app" not found');
      await expect(run(elsewhere)).rejects.toThrow(
        'the trust bundle is not in every namespace: namespaces "app" not found',
      );
      expect(await bundle()).toHaveLength(1);
      cluster.startServers();
      now += 61 * day;
      const before = await cluster.data("secrets", "etcd-server-tls");
      await expect(run(elsewhere)).rejects.toThrow("not in every namespace");
      expect(await cluster.data("secrets", "etcd-server-tls")).not.toEqual(before);
    });

    it("does not sign with an authority that is not trusted there", async () => {
      now -= 5 * day;
      await run(elsewhere);
      cluster.startServers();
      await run({ ...elsewhere, rotation: 1 });
      cluster.replace(...members);
      const admit = refuse("forbidden");
      now += 2 * day;
      await expect(run({ ...elsewhere, rotation: 1 })).rejects.toThrow("forbidden");
      expect(await phase()).toBe("introduced");
      admit();
      await run({ ...elsewhere, rotation: 1 });
      expect(await phase()).toBe("switched");
    });
  });

  it("keeps the phase while members are not ready", async () => {
    await run();
    cluster.startServers();
    await run({ rotation: 1 });
    cluster.startServers(2);
    await run({ rotation: 1 });
    expect(await phase()).toBe("introduced");
  });

  it("continues after being killed at any write", async () => {
    for (let writes = 0; writes < 8; writes++) {
      cluster = fakeCluster();
      cluster.killAfter(writes);
      await run().catch(() => undefined);
      cluster.killAfter(Number.POSITIVE_INFINITY);
      await run();
      const [ca = ""] = await bundle();
      expect(await bundle()).toHaveLength(1);
      expect(await handshake(ca, "etcd-server-tls")).toBe("trusted");
      expect(await handshake(ca, "etcd-peer-tls")).toBe("trusted");
    }
  });

  it("does not replace a damaged authority", async () => {
    await run();
    const manager = "cells-services-certificates";
    await cluster.api.apply("/api/v1/namespaces/cells/secrets/etcd-ca", { metadata: {} }, manager);
    await expect(run()).rejects.toThrow("the Secret etcd-ca has no complete certificate authority; restore it");
  });

  describe("with an issuer", () => {
    const secret = "/api/v1/namespaces/cells/secrets/etcd-intermediate";
    const issuer = { issuer: "cert-manager" } as const;
    const give = async (data: Record<string, string>) => {
      const encoded = Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString("base64")]);
      await cluster.api.apply(
        secret,
        { data: Object.fromEntries(encoded) as Record<string, string> } as KubernetesObject,
        "cert-manager",
      );
    };

    it("signs with its intermediate authority, and clients need the root alone", async () => {
      const { root, issue } = await createIssuer(now);
      await give(await issue());
      await run(issuer);
      expect(await bundle()).toEqual([root]);
      expect(await handshake(root, "etcd-server-tls")).toBe("trusted");
    });

    it("takes a renewed one in the same phases, without another root", async () => {
      // So that the certificates of a day later are valid now.
      now -= 2 * day;
      const { root, issue } = await createIssuer(now);
      await give(await issue());
      await run(issuer);
      const before = await cluster.data("secrets", "etcd-server-tls");
      cluster.startServers();
      await give(await issue());
      for (const hours of [0, 25]) {
        now += hours * 60 * 60 * 1000;
        await run(issuer);
        expect(await bundle()).toEqual([root]);
        expect(await handshake(root, "etcd-server-tls")).toBe("trusted");
      }
      expect(await cluster.data("secrets", "etcd-server-tls")).not.toEqual(before);
      expect(await cluster.stale()).toEqual([]);
    });

    it("comes to living members in phases, so that old and new trust each other", async () => {
      await run();
      const [own = ""] = await bundle();
      cluster.startServers();
      const { root, issue } = await createIssuer(now);
      await give(await issue());
      await run(issuer);
      expect(await bundle()).toEqual([own, root]);
      expect(await handshake(own, "etcd-server-tls")).toBe("trusted");
    });

    it("refuses an authority that would end before a renewed one can take its place", async () => {
      const { issue } = await createIssuer(now);
      await give(await issue(9));
      await expect(run(issuer)).rejects.toThrow(/must be valid for 10 days at least, .*, got 9; raise/);
    });

    it("refuses an authority that the root in ca.crt did not sign", async () => {
      const { issue } = await createIssuer(now);
      const { root } = await createIssuer(now);
      await give({ ...(await issue()), "ca.crt": root });
      await expect(run(issuer)).rejects.toThrow(/must lead to a root in ca.crt; use an issuer that tells its root$/);
    });

    it("refuses a Secret that holds no authority", async () => {
      const { issue } = await createIssuer(now);
      const { "tls.crt": certificate, "tls.key": key } = await issue();
      await give({ "tls.crt": certificate, "tls.key": key });
      await expect(run(issuer)).rejects.toThrow(
        /^the Secret etcd-intermediate must have an authority .*, got tls.crt, tls.key; use an issuer/,
      );
    });
  });
});
