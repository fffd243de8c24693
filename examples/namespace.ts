/** The components want a namespace that exists, and their pods satisfy the strictest level of Pod Security. */
import { Namespace } from "@pulumi/kubernetes/core/v1/namespace";
import type { Provider } from "@pulumi/kubernetes/provider";
import * as pulumi from "@pulumi/pulumi";
import { kubernetesProvider } from "cells-services/provider";

export function exampleNamespace(name: string): { namespace: Namespace; provider: Provider } {
  // Another current context of kubectl must not move the example to another cluster.
  const context = new pulumi.Config("kubernetes").require("context");
  const provider = kubernetesProvider("cluster", { context });
  const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
  return { provider, namespace: new Namespace(name, { metadata: { name, labels } }, { provider }) };
}
