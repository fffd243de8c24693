/** The namespaces of the services and of Cells. The stack makes each of them, or uses one that exists. */
import { Namespace } from "@pulumi/kubernetes/core/v1/namespace";
import { Provider } from "@pulumi/kubernetes/provider";
import type * as pulumi from "@pulumi/pulumi";
import { commonLabels } from "../components/shared/deploy";
import { cellsNamespace, isElsewhere, type StackConfig } from "./config";

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

/** The components never create a namespace: whoever owns it decides on its security level. */
export function createNamespaces(
  config: Pick<StackConfig, "namespace" | "createNamespace" | "cells">,
  protect: boolean,
  { provider, access }: { provider: Provider; access: ClusterAccess },
): Namespaces {
  const create = creation(access, protect);
  const cells = isElsewhere(config) ? namespaceOfCells() : undefined;
  // After that of Cells, so that no service is made where Cells has no namespace.
  const dependsOn = cells === undefined ? [] : [cells.namespace];
  const services = config.createNamespace
    ? create("namespace", config.namespace, "restricted", { dependsOn })
    : found("namespace", config.namespace, { provider, dependsOn });
  return { services: services.name, cells: (cells ?? services).name };

  function namespaceOfCells(): Known {
    const name = cellsNamespace(config);
    if (config.cells.createNamespace === false) return found("cells.namespace", name, { provider });
    // At the level of the chart of Cells, whose init containers have no security context, or run as root. Where the stack
    // keeps data, it keeps the release of Cells and its volumes too.
    return create("cells-services:cells.namespace", name, "baseline", { retainOnDelete: protect });
  }
}

interface Known {
  namespace: Namespace;
  name: pulumi.Output<string>;
}

/** The error of the engine for a namespace that does not exist has the logical name in it, and so the key. */
function found(key: string, name: string, options: pulumi.CustomResourceOptions): Known {
  const namespace = Namespace.get(`cells-services:${key} ${name}`, name, options);
  return { namespace, name: namespace.id };
}

/** The error of the engine for a namespace that exists already has the logical name in it, and so the key. */
function creation(access: ClusterAccess, protect: boolean) {
  let provider: Provider | undefined;
  return (
    key: string,
    name: string,
    level: "restricted" | "baseline",
    options: pulumi.CustomResourceOptions,
  ): Known => {
    // Server-side apply would take over a namespace that exists, and change its security level. The identifier of the cluster
    // is that of the other provider: with another one the engine would replace a namespace that the other provider has made.
    provider ??= new Provider("cluster-namespaces", { ...access, enableServerSideApply: false });
    const args = { metadata: { name, labels: labelsOf(level) } };
    const namespace = new Namespace(key, args, { provider, protect, ...options });
    return { namespace, name: namespace.metadata.name };
  };
}

/** Namespaces of the stack have one level of Pod Security for all three modes. */
function labelsOf(level: "restricted" | "baseline"): Record<string, string> {
  const modes = ["enforce", "audit", "warn"].map((mode) => [`pod-security.kubernetes.io/${mode}`, level] as const);
  return {
    ...commonLabels,
    ...Object.fromEntries(modes),
  };
}
