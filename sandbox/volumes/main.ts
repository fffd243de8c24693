import { CoreV1Api, KubeConfig, type V1PersistentVolume } from "@kubernetes/client-node";
import { collect } from "../networkpolicy/watch";
import { kubeconfig } from "../paths";
import { bytesOf, type Claim, type Class, decide, provisioner, type Volume, volumeName, type Wanted } from "./decide";
import { growDisk, openDisk, pathOf, removeDisk } from "./disk";

/**
 * Volumes on demand: a disk of this machine for each claim, the same on every node, as a network volume would be. The
 * provisioner built into Kubernetes makes folders that only root can enter, which no restricted pod can use, and that have no size.
 */
function main(): void {
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  const api = config.makeApiClient(CoreV1Api);
  const say = (line: string): void => console.log(`${new Date().toISOString()} ${line}`);
  let busy = false;
  let again = false;

  const reconcile = async (): Promise<void> => {
    const [known, present, kinds] = [claims.items(), existing.items(), classes.items()];
    if (known === undefined || present === undefined || kinds === undefined) return;
    const { provision, grow, reclaim } = decide(known, present, kinds);
    // One volume that fails must not hold up the others.
    const each = async <T>(items: T[], act: (item: T) => Promise<void>): Promise<void> => {
      for (const item of items) await act(item).catch((error: unknown) => say(String(error)));
    };
    await each(provision, async (wanted) => {
      const { claim } = wanted;
      openDisk(volumeName(claim), bytesOf(claim.spec.resources.requests.storage));
      await api.createPersistentVolume({ body: describe(wanted) }).catch(ignore(409));
      say(`${claim.metadata.namespace}/${claim.metadata.name}: ${volumeName(claim)}`);
    });
    await each(grow, async ({ claim, capacity }) => {
      const { name, namespace = "" } = claim.metadata;
      growDisk(volumeName(claim), bytesOf(capacity));
      const status = [{ op: "replace", path: "/status/capacity/storage", value: capacity }];
      await api.patchNamespacedPersistentVolumeClaimStatus({ name, namespace, body: status });
      // Last: by the size of the volume a growth counts as done.
      const body = [{ op: "replace", path: "/spec/capacity/storage", value: capacity }];
      await api.patchPersistentVolume({ name: volumeName(claim), body });
      say(`${namespace}/${name}: ${volumeName(claim)} has ${capacity}`);
    });
    await each(reclaim, async ({ metadata }) => {
      removeDisk(metadata.name);
      await api.deletePersistentVolume({ name: metadata.name }).catch(ignore(404));
      say(`removed ${metadata.name}`);
    });
  };

  // One pass at a time; what changes meanwhile is seen by the next.
  const changed = (): void => {
    again = true;
    if (busy) return;
    busy = true;
    void (async () => {
      while (again) {
        again = false;
        await reconcile().catch((error: unknown) => say(String(error)));
      }
      busy = false;
    })();
  };
  const claims = collect<Claim>(config, "/api/v1/persistentvolumeclaims", (claim) => claim, changed, say);
  const classes = collect<Class>(config, "/apis/storage.k8s.io/v1/storageclasses", (each) => each, changed, say);
  const existing = collect<Volume>(config, "/api/v1/persistentvolumes", (volume) => volume, changed, say);
}

const ignore =
  (code: number) =>
  (error: unknown): void => {
    if ((error as { code?: number }).code !== code) throw error;
  };

function describe({ claim, class: { metadata, reclaimPolicy } }: Wanted): V1PersistentVolume {
  return {
    // The annotation tells Kubernetes that somebody else deletes the volume.
    metadata: { name: volumeName(claim), annotations: { "pv.kubernetes.io/provisioned-by": provisioner } },
    spec: {
      storageClassName: metadata.name,
      persistentVolumeReclaimPolicy: reclaimPolicy ?? "Delete",
      capacity: { storage: claim.spec.resources.requests.storage },
      accessModes: claim.spec.accessModes,
      hostPath: { path: pathOf(volumeName(claim)), type: "Directory" },
      claimRef: {
        kind: "PersistentVolumeClaim",
        apiVersion: "v1",
        name: claim.metadata.name,
        ...(claim.metadata.namespace === undefined ? {} : { namespace: claim.metadata.namespace }),
        uid: claim.metadata.uid,
      },
    },
  };
}

main();
