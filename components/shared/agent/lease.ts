/** One at a time: whoever does what only one may do holds a Lease, as the leader election of Kubernetes uses one. */
import { messageOf } from "../core/errors";
import { log } from "../core/log";
import { waitFor } from "../core/wait";
import { group, type KubernetesApi, type KubernetesObject } from "./kubernetes";

interface Lease extends KubernetesObject {
  spec?: { holderIdentity?: string; renewTime?: string };
}

const apiVersion = "coordination.k8s.io/v1";
/** A Lease that was not renewed for `durationSeconds` counts as abandoned. */
const usual = { durationSeconds: 30, renewSeconds: 10, intervalSeconds: 2 };

/** What only one may do at a time. */
export interface Turn {
  /** Name of the Lease. */
  lease: string;
  /** Among whom one waits, such as "the rolls of the namespace". */
  among: string;
  /** What the holder does, such as "replaces members". */
  does: string;
}

/**
 * Waits until nobody else holds the Lease, and returns what gives it back. It keeps the load of several holders apart and is not what
 * makes them safe, so a holder that cannot renew it goes on.
 */
export async function takeTurn(
  { lease: name, among, does }: Turn,
  holder: string,
  namespace: string,
  api: KubernetesApi,
  deadlineSeconds: number,
  { durationSeconds, renewSeconds, intervalSeconds } = usual,
): Promise<() => Promise<void>> {
  const path = group(apiVersion, namespace, "leases", name);
  const lease = (uid?: string) => ({
    apiVersion,
    kind: "Lease",
    metadata: { name, ...(uid === undefined ? {} : { uid }) },
    spec: { holderIdentity: holder, leaseDurationSeconds: durationSeconds, renewTime: microTime(new Date()) },
  });
  // Clocks of nodes differ: a Lease is over when it has not changed for its duration by the clock here.
  let unchanged = { as: "", since: 0 };
  const uid = await waitFor(
    `its turn among ${among}`,
    async () => {
      await api.create(group(apiVersion, namespace, "leases"), lease());
      const found = await api.get<Lease>(path);
      const known = found?.metadata?.uid;
      if (found === undefined || known === undefined) return { waiting: "the Lease was just given back" };
      if (found.spec?.holderIdentity === holder) return { done: known };
      const as = `${known} ${found.spec?.renewTime}`;
      if (as !== unchanged.as) unchanged = { as, since: performance.now() };
      // With its uid, of two that wait only one succeeds.
      if (performance.now() - unchanged.since > durationSeconds * 1000) await api.remove(path, known);
      return { waiting: `${found.spec?.holderIdentity} ${does}` };
    },
    { deadlineSeconds, intervalSeconds },
  );
  const renewal = setInterval(() => {
    api.apply(path, lease(uid), name).catch((error: unknown) => log(messageOf(error)));
  }, renewSeconds * 1000);
  return async () => {
    clearInterval(renewal);
    // Otherwise it ends by itself.
    await api.remove(path, uid).catch((error: unknown) => log(messageOf(error)));
  };
}

/** Kubernetes wants six digits. */
function microTime(date: Date): string {
  return date.toISOString().replace("Z", "000Z");
}
