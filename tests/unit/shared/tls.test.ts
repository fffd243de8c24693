import { beforeEach, describe, expect, it } from "vitest";
import { keepMarker, preflight } from "../../../components/shared/agent/guard";
import type { ConfigMap, KubernetesApi, KubernetesObject } from "../../../components/shared/agent/kubernetes";
import type { Examine } from "../../../components/shared/agent/roll";
import { switchTls } from "../../../components/shared/agent/tls";
import { toMarker } from "../../../components/shared/core/marker";
import { memberSettings, type PreflightSettings, preflightSettings } from "../../../components/shared/core/settings";
import { etcdPreflight } from "../../support/settings";

const settings: PreflightSettings = { ...etcdPreflight, plannedStop: true };
const markerPath = "/api/v1/namespaces/cells/configmaps/etcd-marker";
const setPath = "/apis/apps/v1/namespaces/cells/statefulsets/etcd";
const podPath = (ordinal: number) => `/api/v1/namespaces/cells/pods/etcd-${ordinal}`;
let objects: Map<string, ConfigMap & { spec?: object }>;
/** What was done, in its order. */
let done: string[];
/** The field managers of the marker. */
let managers: string[];

/** An apply adds annotations. */
const api: KubernetesApi = {
  get: async <T extends KubernetesObject>(path: string) => structuredClone(objects.get(path)) as T | undefined,
  create: async (path, object) => {
    const own = `${path}/${object.metadata?.name}`;
    if (objects.has(own)) return "exists";
    objects.set(own, { ...structuredClone(object), metadata: { ...object.metadata, uid: "1" } });
    return "created";
  },
  apply: async (path, { metadata }, manager) => {
    const known = objects.get(path);
    const annotations = { ...known?.metadata?.annotations, ...metadata?.annotations };
    objects.set(path, { ...known, metadata: { ...known?.metadata, annotations } });
    managers.push(manager);
    const tls = metadata?.annotations?.["cells-services/tls"];
    if (tls !== undefined) done.push(`recorded ${tls}`);
  },
  remove: () => Promise.reject(new Error("nothing is removed")),
  evict: () => Promise.reject(new Error("nothing is evicted")),
};
const examine: Examine = async (pods, { tls }) => {
  done.push(`asked ${pods.size} with tls ${tls}`);
  return new Map([...pods.keys()].map((member) => [member, { whole: true, leads: false, detail: "" }]));
};
const service = {
  examine,
  release: async () => undefined,
  prepareTls: async (living: { tls: string }, wanted: { tls: string }) =>
    void done.push(`prepared ${living.tls} and ${wanted.tls}`),
};
const run = (changes: Partial<PreflightSettings> = {}, guard: Parameters<typeof preflight>[3] = service) =>
  preflight({ ...settings, ...changes }, "cells", api, guard);
const annotations = () => objects.get(markerPath)?.metadata?.annotations;
const marker = () => toMarker("etcd-marker", objects.get(markerPath)?.data ?? {}, annotations());

beforeEach(async () => {
  done = [];
  managers = [];
  objects = new Map();
  await keepMarker({ ...settings, tls: "off" }, "cells", api, "77");
  const volumes = [{ name: "agent", configMap: { name: "etcd-agent-1" } }];
  objects.set(setPath, {
    spec: {
      replicas: 3,
      template: { spec: { volumes, securityContext: { runAsUser: 1000 } } },
      volumeClaimTemplates: [],
    },
  });
  const pod = {
    metadata: { labels: { "app.kubernetes.io/version": "3.6.8" } },
    spec: { containers: [{ name: "etcd" }] },
  };
  const status = { containerStatuses: [{ name: "etcd", imageID: "sha256:1", state: { running: {} } }] };
  const claim = { spec: { resources: { requests: { storage: "8Gi" } } } };
  for (const ordinal of [0, 1, 2]) {
    objects.set(podPath(ordinal), { ...pod, status } as KubernetesObject);
    objects.set(`/api/v1/namespaces/cells/persistentvolumeclaims/data-etcd-${ordinal}`, claim);
  }
});

describe("other TLS between the members", () => {
  it("is not switched without a planned stop", async () => {
    await expect(run({ plannedStop: false })).rejects.toThrow(
      'the cluster has no TLS between its members, as its marker says, got tls "required"; they can change it only all at once; ' +
        'set tls to "off", or plannedStop to true for one pulumi up, which stops all members at once',
    );
    expect(done).toEqual([]);
  });

  const others: [string, Partial<PreflightSettings>, string][] = [
    ["members", { members: 5 }, "members 5"],
    ["version", { version: "3.6.9" }, "version 3.6.9"],
    ["larger volumes", { storage: { size: "9Gi" } }, "storage.size 9Gi"],
    ["agents", { agent: "etcd-agent-2" }, "other agents"],
    ["all of them", { members: 5, version: "3.6.9", agent: "b" }, "members 5 and version 3.6.9 and other agents"],
  ];

  it.each(others)("is not switched together with other %s", async (_, changes, words) => {
    await expect(run(changes)).rejects.toThrow(
      `the members switch to tls "required", got ${words} as well; a planned stop changes tls alone; ` +
        "set the others as they were, run pulumi up, and change them after that",
    );
    expect(done).toEqual([]);
  });

  it.each(others)("comes to its end alone when it was interrupted, without other %s", async (_, changes, words) => {
    await run();
    done = [];
    await expect(run(changes)).rejects.toThrow(`the members switch to tls "required", got ${words} as well`);
    expect(done).toEqual([]);
  });

  it("is not switched together with smaller volumes", async () => {
    await expect(run({ storage: { size: "7Gi" } })).rejects.toThrow("a volume cannot become smaller");
    expect(done).toEqual([]);
  });

  it("is not switched for volumes that were kept, whose members cannot be prepared", async () => {
    objects.delete(setPath);
    await expect(run()).rejects.toThrow('they can change it only all at once; set tls to "off"');
    expect(done).toEqual([]);
  });

  it("is on the marker when the members are whole and prepared, and its data are as they were", async () => {
    const { data } = structuredClone(objects.get(markerPath)) ?? {};
    await run();
    expect(done).toEqual(["asked 3 with tls off", "prepared off and required", "recorded on"]);
    expect(managers.at(-1)).toBe("cells-services-tls");
    expect(marker().tls).toBe("on");
    expect(objects.get(markerPath)?.data).toEqual(data);
  });

  it("asks members that have TLS over TLS", async () => {
    await run();
    await keepMarker(settings, "cells", api, "77");
    done = [];
    await run({ tls: "off" });
    expect(done).toEqual(["asked 3 with tls required", "prepared required and off", "recorded off"]);
  });

  it("is prepared anew after the preflight was killed before the marker said it, and not after that", async () => {
    const killed: KubernetesApi = { ...api, apply: () => Promise.reject(new Error("killed")) };
    await expect(preflight(settings, "cells", killed, service)).rejects.toThrow("killed");
    done = [];
    await run();
    expect(done).toEqual(["asked 3 with tls off", "prepared off and required", "recorded on"]);
    done = [];
    // Also when the planned stop is taken back too early: the members are about to stop.
    await run({ plannedStop: false });
    expect(done).toEqual([]);
  });

  it("waits for members that are not whole, and prepares nothing", async () => {
    objects.delete(podPath(1));
    const change = { settings, known: { ...marker(), formedTls: "off" }, namespace: "cells", api, examine };
    const record = async () => void done.push("recorded");
    const switched = switchTls({ ...change, prepare: service.prepareTls, record }, 0);
    await expect(switched).rejects.toThrow(
      "3 members that are whole, before all of them stop did not come within 0 seconds; last seen: etcd-1: there is no pod yet",
    );
    expect(done).toEqual(["asked 2 with tls off"]);
  });

  it("is taken back before a setup has seen it, also while no member is whole, but not silently", async () => {
    await run();
    done = [];
    for (const ordinal of [0, 1, 2]) objects.delete(podPath(ordinal));
    await expect(run({ tls: "off", plannedStop: false })).rejects.toThrow("or plannedStop to true for one pulumi up");
    await run({ tls: "off" });
    expect(done).toEqual(["recorded off"]);
    // And the next one begins like the first.
    expect([marker().tls, annotations()?.["cells-services/tls-formed"]]).toEqual(["off", "off"]);
  });

  it("is switched again like the first time after a setup has seen it", async () => {
    await run();
    await keepMarker(settings, "cells", api, "77");
    expect(annotations()?.["cells-services/tls-formed"]).toBe("on");
    objects.delete(podPath(1));
    const known = { ...marker(), formedTls: annotations()?.["cells-services/tls-formed"] ?? "" };
    const change = { settings: { ...settings, tls: "off" as const }, known, namespace: "cells" };
    const record = async () => void done.push("recorded");
    await expect(switchTls({ ...change, api, examine, prepare: undefined, record }, 0)).rejects.toThrow("no pod yet");
  });

  it("is not seen by a setup of the former one, which was still running", async () => {
    await run();
    await expect(keepMarker({ ...settings, tls: "off" }, "cells", api, "77")).rejects.toThrow("the cluster has TLS");
    expect(annotations()?.["cells-services/tls-formed"]).toBe("off");
  });

  it("needs no preparation by a service whose data do not depend on it", async () => {
    await run({ members: 3 }, { examine });
    expect(done).toEqual(["asked 3 with tls off", "recorded on"]);
  });
});

describe("a planned stop", () => {
  const ensemble = { ...settings, storage: { size: "8Gi", class: undefined } };

  it("is known to the preflight alone, so nothing of a member changes when it is set back", () => {
    expect(preflightSettings(ensemble, "etcd-agent-1")).toMatchObject({ plannedStop: true });
    expect(memberSettings(ensemble)).not.toHaveProperty("plannedStop");
  });

  it("asks and changes nothing while TLS stays as it is", async () => {
    await run({ tls: "off" });
    expect(done).toEqual([]);
  });
});
