import { changes } from "../server/changes";
import type { Provider } from "../server/provider";
import { type PropertyMap, unknown } from "../server/values";
import { create, update } from "./apply";
import { notReady } from "./await";
import { checkInputs } from "./check";
import { getObject, objectPath } from "./client";
import { readConfiguration, serverOf } from "./configuration";
import { remove } from "./delete";
import { diffObjects } from "./diff";
import { annotated, apiVersionOf, groupOf, kindOf } from "./object";
import { read } from "./read";
import { createSession, type Session } from "./session";

/** The stand-in for the official `kubernetes` plugin: any object of any API, by server-side apply. */
export function kubernetesProvider(version: string): Provider {
  let session: Session = createSession(readConfiguration({}));
  return {
    name: "kubernetes",
    version,
    configure: async (config) => {
      session = createSession(readConfiguration(config));
    },
    diffConfig: async (olds, news) => configDifference(olds, news),
    check: async ({ type, name, olds, news, randomSeed }) => {
      const [, module = "", kind = ""] = type.split(":");
      const apiVersion = apiVersionOf(news.value) || module.replace(/^core\//, "");
      const namespaced = await isNamespaced(session, apiVersion, kindOf(news.value) || kind);
      const namespace = namespaced ? (session.configuration.namespace ?? "default") : undefined;
      return checkInputs({ type, logicalName: name, olds, news, randomSeed, namespace });
    },
    diff: async ({ oldInputs, news, ignoreChanges }) => {
      const unready = await isUnreadyJob(session, news.value);
      const mutability = session.configuration;
      return diffObjects({ oldInputs: oldInputs.value, news: news.value, mutability, ignoreChanges, unready });
    },
    create: (request, context) => create(session, request, context),
    read: (request, context) => read(session, request, context),
    update: (request, context) => update(session, request, context),
    delete: (request, context) => remove(session, request, context),
  };
}

const clusterKeys = ["kubeconfig", "context", "cluster"];

/**
 * What a change of the provider's settings means for its objects. With a clusterIdentifier only its change is another
 * cluster; without, it is another server in the kubeconfig.
 */
export function configDifference(olds: PropertyMap, news: PropertyMap) {
  const found = changes(olds, news).map(({ path, kind }) => ({ key: String(path[0]), kind }));
  const identified = olds["clusterIdentifier"] !== undefined && news["clusterIdentifier"] !== undefined;
  const moved = (): boolean => {
    if (!found.some(({ key }) => clusterKeys.includes(key))) return false;
    if (clusterKeys.some((key) => news[key] === unknown)) return true;
    const before = serverOf(readConfiguration(olds));
    return before === undefined || before !== serverOf(readConfiguration(news));
  };
  const otherCluster = identified ? olds["clusterIdentifier"] !== news["clusterIdentifier"] : moved();
  const telling = identified ? ["clusterIdentifier"] : clusterKeys;
  const detailed = Object.fromEntries(
    found.map(({ key, kind }) => [key, otherCluster && telling.includes(key) ? (`${kind}-replace` as const) : kind]),
  );
  return { changed: found.length > 0, detailed, deleteBeforeReplace: false };
}

/** From the API when it answers; else from a list, because a preview must work without a cluster. */
async function isNamespaced(session: Session, apiVersion: string, kind: string): Promise<boolean> {
  const known = namespacedByName(apiVersion, kind);
  if (known !== undefined) return known;
  try {
    return (await (await session.client()).resourceKind(apiVersion, kind)).namespaced;
  } catch {
    return true;
  }
}

const clusterKinds = new Set([
  ..."Namespace Node PersistentVolume ComponentStatus".split(" ").map((kind) => `/${kind}`),
  ..."ClusterRole ClusterRoleBinding".split(" ").map((kind) => `rbac.authorization.k8s.io/${kind}`),
  ..."StorageClass CSIDriver CSINode VolumeAttachment VolumeAttributesClass"
    .split(" ")
    .map((kind) => `storage.k8s.io/${kind}`),
  "apiextensions.k8s.io/CustomResourceDefinition",
  "apiregistration.k8s.io/APIService",
  "scheduling.k8s.io/PriorityClass",
  "networking.k8s.io/IngressClass",
  "node.k8s.io/RuntimeClass",
  "certificates.k8s.io/CertificateSigningRequest",
]);
const builtInGroups = /^(|apps|batch|autoscaling|policy|discovery\.k8s\.io|rbac\.authorization\.k8s\.io)$/;

function namespacedByName(apiVersion: string, kind: string): boolean | undefined {
  const group = groupOf(apiVersion);
  if (clusterKinds.has(`${group}/${kind}`)) return false;
  return builtInGroups.test(group) ? true : undefined;
}

/** A failed Job stays failed; the annotation asks for a new one. */
async function isUnreadyJob(session: Session, news: PropertyMap): Promise<boolean> {
  if (kindOf(news) !== "Job" || !annotated(news, "pulumi.com/replaceUnready")) return false;
  try {
    const client = await session.client();
    const live = await getObject(client, await objectPath(client, news));
    return live !== undefined && (await notReady(client, live)) !== undefined;
  } catch {
    return false;
  }
}
