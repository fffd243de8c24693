/** The components want a namespace that exists, and their pods satisfy the strictest level of Pod Security. */
import { Namespace } from "@pulumi/kubernetes/core/v1/namespace";

export function exampleNamespace(name: string): Namespace {
  return new Namespace(name, { metadata: { name, labels: { "pod-security.kubernetes.io/enforce": "restricted" } } });
}
