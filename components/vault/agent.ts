/**
 * What must run in the cluster for Vault, beside what all services have in common:
 *
 *   preflight    a Job before the first start, and when what it judges changes: refuses what a living cluster cannot do, and
 *                removes the peers of members that are to leave
 *   seal         a Job before the members: proves that the seal will open, and that it is the one the data were made with
 *   member       the init container of each member: folders, and whether the volume belongs to this cluster
 *   sidecar      beside each member: initialises once, joins, unseals, reloads certificates, says what the member is
 *   setup        a Job after the members are ready: marker, policies, mounts, tokens; revokes the root token
 *   tokens       a CronJob: renews the tokens in the Secrets, and replaces what was revoked
 */
import { commonCommands } from "../shared/agent/commands";
import { readNote } from "../shared/agent/files";
import { ownersOfKept, readMarker } from "../shared/agent/guard";
import { type ConfigMap, core, inClusterApi, type KubernetesApi } from "../shared/agent/kubernetes";
import { type Commands, type Pod, readPod, readSettings } from "../shared/agent/main";
import { runSidecar } from "../shared/agent/sidecar";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import { labels, namesOf } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import { waitFor } from "../shared/core/wait";
import { findCredentials, proveKey } from "./kms";
import { type KmsKey, keysName, paths, type SetupSettings, sealName, type VaultSettings } from "./layout";
import { foreignData } from "./member";
import { release, renewTokens, setup } from "./setup";
import { createSidecar, kubernetesKeys, serveKeys } from "./sidecar";
import { hasData, prepareVolume } from "./volume";

export const commands: Commands = {
  ...commonCommands({
    volume: paths.volume,
    start: startMember,
    setup: (settings: SetupSettings, namespace, api) => setup({ settings, namespace, api }),
    release,
    sidecar: async () => {
      serveKeys(kubernetesKeys);
      const [settings, pod] = [readSettings<VaultSettings>(), readPod()];
      await runSidecar(createSidecar(settings, pod, inClusterApi()), settings, pod);
    },
  }),
  seal: async () => judgeSeal(readSettings<VaultSettings>(), readPod().namespace, inClusterApi()),
  tokens: async () =>
    renewTokens({ settings: readSettings<SetupSettings>(), namespace: readPod().namespace, api: inClusterApi() }),
};

// --- seal

/** Throws when the members could not open what they have, or what they are about to make. */
async function judgeSeal(settings: VaultSettings, namespace: string, api: KubernetesApi): Promise<void> {
  const { seal, name } = settings;
  const hasKeys = async (type: typeof seal.type) =>
    (await api.get(core(namespace, "secrets", keysName(name, type)))) !== undefined;
  const marked = (await readMarker(name, namespace, api)) !== undefined;
  const observed = { formed: marked, shamir: await hasKeys("shamir"), awskms: await hasKeys("awskms") };
  const reason = sealContradiction(observed, seal.type, name);
  if (reason !== undefined) throw new Error(reason);
  if (seal.type === "shamir") {
    return log(marked ? "the key shares are there" : "the key shares will be made with the cluster");
  }
  const proofs = core(namespace, "configmaps", sealName(name));
  const former = (await api.get<ConfigMap>(proofs))?.data?.["proof"];
  const formed = marked || observed.awskms;
  const proof = await proveInTime(seal, formed ? former : undefined).catch((error: unknown) => {
    throw new Error(
      `the KMS key ${seal.keyId} in ${seal.region}${seal.endpoint === undefined ? "" : ` at ${seal.endpoint}`} cannot ` +
        `seal Vault: ${(error as Error).message}; nothing was changed; mend seal (keyId, region, endpoint, credentials) ` +
        "or the rights on the key, and run pulumi up again",
      { cause: error },
    );
  });
  if (!formed || former === undefined) await keepProof(settings, namespace, api, proof);
  log(`the KMS key ${seal.keyId} encrypts and decrypts`);
}

/** AWS applies new rights everywhere within a minute. */
const rightsDeadlineSeconds = 90;

function proveInTime(seal: KmsKey, former: string | undefined): Promise<string> {
  const prove = async () => ({ done: await proveKey(seal, await findCredentials(seal.region), former) });
  return waitFor("the rights on the key", prove, {
    deadlineSeconds: rightsDeadlineSeconds,
    intervalSeconds: 5,
    onError: (error) => (/AccessDenied|not authorized/i.test(messageOf(error)) ? "wait" : "fail"),
  });
}

/** `proof`: a ciphertext that only the key of the data opens; no secret. It is deleted with the data. */
async function keepProof(settings: VaultSettings, namespace: string, api: KubernetesApi, proof: string): Promise<void> {
  const name = sealName(settings.name);
  const ownerReferences = await ownersOfKept(settings, namespace, api, namesOf(settings.name).server);
  const metadata = { name, labels: labels(settings.service, settings.name), ownerReferences };
  const object = { apiVersion: "v1", kind: "ConfigMap", metadata, data: { proof } };
  await api.apply(core(namespace, "configmaps", name), object, "cells-services-seal");
}

/** Why the data of a cluster that was formed cannot be opened with the wanted seal. `shamir`, `awskms`: whose Secret exists. */
export function sealContradiction(
  observed: { formed: boolean; shamir: boolean; awskms: boolean },
  wanted: "shamir" | "awskms",
  name: string,
): string | undefined {
  if (!observed.formed || observed[wanted]) return undefined;
  const other = wanted === "shamir" ? "awskms" : "shamir";
  if (observed[other]) {
    return (
      `the cluster was initialised with the seal ${other}, got seal.type ${JSON.stringify(wanted)}; ` +
      `the seal of a living cluster cannot be changed; set seal.type to ${JSON.stringify(other)}`
    );
  }
  if (wanted === "awskms") return undefined;
  return (
    `the Secret ${keysName(name, "shamir")} with the key shares is missing, and without it no member that restarts can be ` +
    "unsealed; restore it from a copy; the data is kept"
  );
}

// --- member

async function startMember(settings: EnsembleSettings, pod: Pod, api: KubernetesApi): Promise<void> {
  await prepareVolume();
  const joined = await readNote(paths.joined);
  if (joined === undefined) return log("decision: start: this volume has not served yet");
  if (!(await hasData())) return log("decision: start: the volume has no data");
  // A member restarts with its data even while the API server is away.
  const marker = await readMarker(settings.name, pod.namespace, api).catch((error: unknown) => {
    log(`the marker ${namesOf(settings.name).marker} could not be read: ${(error as Error).message}`);
    return undefined;
  });
  const reason = foreignData(joined, marker, pod.name);
  if (reason !== undefined) throw new Error(reason);
  log(`decision: start: the volume belongs to the cluster ${joined}`);
}
