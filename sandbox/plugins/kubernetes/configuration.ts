import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { KubeConfig } from "@kubernetes/client-node";
import type { PropertyMap } from "../server/values";

/** The settings of `new kubernetes.Provider(...)` that this plugin knows. */
export interface Configuration {
  kubeconfig: string | undefined;
  context: string | undefined;
  cluster: string | undefined;
  namespace: string | undefined;
  clusterIdentifier: string | undefined;
  enableServerSideApply: boolean;
  enableConfigMapMutable: boolean;
  enableSecretMutable: boolean;
  enablePatchForce: boolean;
  upsertExistingObjects: boolean;
  deleteUnreachable: boolean;
  skipUpdateUnreachable: boolean;
}

/**
 * Settings come as JSON in strings (from the Provider resource and the stack configuration), and some may come from the
 * environment.
 */
export function readConfiguration(
  config: PropertyMap,
  environment: Record<string, string | undefined> = process.env,
): Configuration {
  const words = (key: string, variable?: string): string | undefined => {
    const value = config[key];
    if (typeof value === "string" && value !== "") return value;
    if (typeof value === "object" && value !== null) return JSON.stringify(value);
    return (variable === undefined ? undefined : environment[variable]) || undefined;
  };
  const flag = (key: string, variable: string, otherwise: boolean): boolean => {
    const value = config[key] ?? environment[variable];
    if (typeof value === "boolean") return value;
    return typeof value === "string" && value !== "" ? value.toLowerCase() === "true" || value === "1" : otherwise;
  };
  return {
    kubeconfig: words("kubeconfig"),
    context: words("context"),
    cluster: words("cluster"),
    namespace: words("namespace"),
    clusterIdentifier: words("clusterIdentifier", "PULUMI_K8S_CLUSTER_IDENTIFIER"),
    enableServerSideApply: flag("enableServerSideApply", "PULUMI_K8S_ENABLE_SERVER_SIDE_APPLY", true),
    enableConfigMapMutable: flag("enableConfigMapMutable", "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE", false),
    enableSecretMutable: flag("enableSecretMutable", "PULUMI_K8S_ENABLE_SECRET_MUTABLE", false),
    enablePatchForce: flag("enablePatchForce", "PULUMI_K8S_ENABLE_PATCH_FORCE", false),
    upsertExistingObjects: flag("upsertExistingObjects", "PULUMI_K8S_UPSERT_EXISTING_OBJECTS", false),
    deleteUnreachable: flag("deleteUnreachable", "PULUMI_K8S_DELETE_UNREACHABLE", false),
    skipUpdateUnreachable: flag("skipUpdateUnreachable", "PULUMI_K8S_SKIP_UPDATE_UNREACHABLE", false),
  };
}

/** The cluster access that a configuration means; throws when there is none. */
export function loadKubeConfig(configuration: Configuration): KubeConfig {
  const access = new KubeConfig();
  const given = configuration.kubeconfig;
  if (given === undefined) {
    const files = process.env["KUBECONFIG"]?.split(":") ?? [`${homedir()}/.kube/config`];
    if (files.some((file) => file !== "" && existsSync(file)) || process.env["KUBERNETES_SERVICE_HOST"] !== undefined) {
      access.loadFromDefault();
    }
  } else if (isPath(given)) {
    access.loadFromFile(given.replace(/^~(?=\/)/, homedir()));
  } else {
    access.loadFromString(given);
  }
  if (configuration.context !== undefined) {
    if (access.getContextObject(configuration.context) === null) {
      const names = access.contexts.map((context) => context.name).join(", ") || "none";
      throw new Error(`kubeconfig has no context "${configuration.context}"; it has ${names}`);
    }
    access.setCurrentContext(configuration.context);
  }
  if (configuration.cluster !== undefined) {
    const name = configuration.cluster;
    if (access.getCluster(name) === null) throw new Error(`kubeconfig has no cluster "${name}"`);
    const current = access.getContextObject(access.getCurrentContext());
    access.contexts = access.contexts.map((context) => (context === current ? { ...context, cluster: name } : context));
  }
  if (access.getCurrentCluster() === null) {
    throw new Error("no kubeconfig was found; set KUBECONFIG, kubernetes:kubeconfig or the kubeconfig of the Provider");
  }
  return access;
}

/** A kubeconfig may be given as the file or as its content. */
function isPath(kubeconfig: string): boolean {
  return !kubeconfig.includes("\n") && !kubeconfig.trimStart().startsWith("{");
}

/** The server a configuration leads to; undefined when that cannot be told. */
export function serverOf(configuration: Configuration): string | undefined {
  try {
    return loadKubeConfig(configuration).getCurrentCluster()?.server;
  } catch {
    return undefined;
  }
}
