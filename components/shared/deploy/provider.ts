/** The provider of Kubernetes that the components need, and the errors for any other. */
import { Provider, type ProviderArgs } from "@pulumi/kubernetes/provider";
import * as pulumi from "@pulumi/pulumi";

/**
 * Flags of the provider, the environment variables that set them, and their defaults. Without the first flag, Pulumi could not create an
 * object that an agent made before, such as the Secret of an application. Without the others, Pulumi deletes a changed ConfigMap or Secret
 * and creates it again: members that mount it lose it for that time, and a Secret loses what the agent added.
 */
const needed = {
  enableServerSideApply: { variable: "PULUMI_K8S_ENABLE_SERVER_SIDE_APPLY", byDefault: "true" },
  enableConfigMapMutable: { variable: "PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE", byDefault: "false" },
  enableSecretMutable: { variable: "PULUMI_K8S_ENABLE_SECRET_MUTABLE", byDefault: "false" },
} as const;
type Flag = keyof typeof needed;
const flags = Object.keys(needed) as Flag[];

export type KubernetesProviderArguments = Omit<ProviderArgs, Flag>;

/**
 * A provider for the components. Its `clusterIdentifier` is `name` unless it is given. Only another identifier replaces the provider and
 * all its resources; a renamed stack, a renamed context and renewed credentials do not. Give another identifier when the program moves to
 * another cluster.
 */
export function kubernetesProvider(
  name: string,
  args: KubernetesProviderArguments = {},
  opts: pulumi.ResourceOptions = {},
): Provider {
  const clusterIdentifier = args.clusterIdentifier ?? name;
  const enabled = { enableServerSideApply: true, enableConfigMapMutable: true, enableSecretMutable: true };
  return new Provider(name, { ...args, clusterIdentifier, ...enabled }, opts);
}

/** Refuses a provider that lacks one of the flags. `subject` is the component, such as `etcd "config"`. */
export function requireMutable(subject: string, provider: pulumi.ProviderResource | undefined): void {
  const missingOf = (values: (string | boolean | undefined)[]): Flag[] =>
    flags.filter((flag, index) => String(values[index] ?? needed[flag].byDefault) !== "true");
  if (provider === undefined) {
    const config = new pulumi.Config("kubernetes");
    const missing = missingOf(flags.map((flag) => config.get(flag) ?? process.env[needed[flag].variable]));
    if (missing.length === 0) return;
    const commands = missing.map((flag) => `"pulumi config set kubernetes:${flag} true"`).join(" and ");
    throw new pulumi.RunError(
      `${subject}: the default provider of Kubernetes lacks ${missing.join(" and ")}; ` +
        `give the component a provider made by kubernetesProvider of "cells-services/provider", or run ${commands}`,
    );
  }
  const inputs = flags.map(
    (flag) => (provider as unknown as Record<Flag, pulumi.Output<boolean | undefined> | undefined>)[flag],
  );
  // The inputs of a provider that another process made are not known here.
  if (inputs.includes(undefined)) return;
  // The inputs are outputs of the resource, whose values are known before the end of the preview.
  pulumi.all(inputs).apply((values) => {
    const missing = missingOf(values);
    if (missing.length === 0) return;
    throw new pulumi.RunError(
      `${subject}: its provider of Kubernetes lacks ${missing.join(" and ")}; ` +
        'make the provider with kubernetesProvider of "cells-services/provider"',
    );
  });
}
