/** The namespaces of the services and of Cells. The stack makes each of them, or uses one that exists. */
import { Namespace } from "@pulumi/kubernetes/core/v1/namespace";
import { Provider } from "@pulumi/kubernetes/provider";
import type * as pulumi from "@pulumi/pulumi";
import { cellsNamespace, isElsewhere } from "./cells";
import type { StackConfig } from "./config";

/** A name that is known when the namespace is there. */
interface Namespaces {
  services: pulumi.Output<string>;
  cells: pulumi.Output<string>;
}

/** What a provider needs to know of the cluster. */
export interface ClusterAccess {
  context?: string;
  kubeconfig?: string;
  clusterIdentifier: string;
}

type NamespaceConfig = Pick<StackConfig, "namespace" | "createNamespace" | "cells">;

export function createNamespaces(
  config: NamespaceConfig,
  protect: boolean,
  cluster: { provider: Provider; access: ClusterAccess },
): Namespaces {
  const { provider, access } = cluster;
  if (!isElsewhere(config)) {
    const services = servicesNamespace(config, protect, { provider });
    return { services, cells: services };
  }
  const { namespace, name } =
    config.cells.createNamespace === false
      ? found("cells.namespace", cellsNamespace(config), { provider })
      : createdForCells(cellsNamespace(config), protect, access);
  // First, so that no service is made where Cells has no namespace.
  return { services: servicesNamespace(config, protect, { provider, dependsOn: [namespace] }), cells: name };
}

/** The components never create it: whoever owns the namespace decides on its security level. */
function servicesNamespace(
  { namespace, createNamespace }: NamespaceConfig,
  protect: boolean,
  options: pulumi.CustomResourceOptions,
): pulumi.Output<string> {
  if (!createNamespace) return found("namespace", namespace, options).name;
  const args = { metadata: { name: namespace, labels: labelsOf("restricted") } };
  // The volumes go with their namespace.
  return new Namespace("namespace", args, { ...options, protect }).metadata.name;
}

/** The engine says the logical name, and with it the key, when the namespace does not exist. */
function found(key: string, name: string, options: pulumi.CustomResourceOptions) {
  const namespace = Namespace.get(`cells-services:${key} ${name}`, name, options);
  return { namespace, name: namespace.id };
}

/** For the chart of Cells, whose init containers have no security context, or run as root. */
function createdForCells(name: string, protect: boolean, access: ClusterAccess) {
  const namespace = new Namespace(
    // The engine says this name, and with it the key, when the namespace exists already.
    "cells-services:cells.namespace",
    { metadata: { name, labels: labelsOf("baseline") } },
    {
      // Server-side apply would take over a namespace that exists, and change its security level.
      provider: new Provider("cluster-namespaces", { ...access, enableServerSideApply: false }),
      protect,
      // Releases and volumes of Cells live in it, which are not of this stack.
      retainOnDelete: true,
    },
  );
  return { namespace, name: namespace.metadata.name };
}

/** Namespaces of the stack have one level of Pod Security for all three modes. */
function labelsOf(level: "restricted" | "baseline"): Record<string, string> {
  const modes = ["enforce", "audit", "warn"].map((mode) => [`pod-security.kubernetes.io/${mode}`, level] as const);
  return {
    "app.kubernetes.io/managed-by": "pulumi",
    "app.kubernetes.io/part-of": "cells-services",
    ...Object.fromEntries(modes),
  };
}
