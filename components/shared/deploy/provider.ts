/** The provider of Kubernetes that the components need, and what they say when they get another one. */
import { Provider, type ProviderArgs } from "@pulumi/kubernetes/provider";
import * as pulumi from "@pulumi/pulumi";

/**
 * Flags of the provider, the variables of the environment that set them, and whether they are on by default. Without the first one, an
 * object that an agent has made before, such as the Secret of an application, could not be created. Without one of the others, a changed
 * ConfigMap or Secret is deleted and created again: members that mount it by its name lose it for that time, and a Secret loses what the
 * agent added to it.
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
 * A provider for the components. Its `clusterIdentifier` is `name` unless it is given. Only a changed identifier replaces the provider, and
 * everything in it: neither a renamed stack nor another name of the context nor a renewed credential does. Give another identifier
 * when the program moves to another cluster.
 */
export function kubernetesProvider(
  name: string,
  args: KubernetesProviderArguments = {},
  opts: pulumi.ResourceOptions = {},
): Provider {
  return new Provider(
    name,
    {
      ...args,
      clusterIdentifier: args.clusterIdentifier ?? name,
      enableServerSideApply: true,
      enableConfigMapMutable: true,
      enableSecretMutable: true,
    },
    opts,
  );
}

/** Refuses a provider that lacks one of the flags. `subject` is the component, such as `etcd "config"`. */
export function requireMutable(subject: string, provider: pulumi.ProviderResource | undefined): void {
  if (provider === undefined) {
    const config = new pulumi.Config("kubernetes");
    const missing = flags.filter((flag) => {
      const { variable, byDefault } = needed[flag];
      return (config.get(flag) ?? process.env[variable] ?? byDefault) !== "true";
    });
    if (missing.length === 0) return;
    const commands = missing.map((flag) => `"pulumi config set kubernetes:${flag} true"`).join(" and ");
    throw new pulumi.RunError(
      `${subject}: the default provider of Kubernetes lacks ${missing.join(" and ")}; ` +
        `give the component a provider made by kubernetesProvider of "cells-services/provider", or run ${commands}`,
    );
  }
  const inputs = flags.map((flag) => (provider as unknown as Record<Flag, pulumi.Output<unknown> | undefined>)[flag]);
  // A provider that another process made shows no inputs here.
  if (inputs.includes(undefined)) return;
  // Inputs of a provider are outputs of the resource: their values are known only later, but before the end of the preview.
  pulumi.all(inputs).apply((values) => {
    const missing = flags.filter((flag, index) => String(values[index] ?? needed[flag].byDefault) !== "true");
    if (missing.length === 0) return;
    throw new pulumi.RunError(
      `${subject}: its provider of Kubernetes lacks ${missing.join(" and ")}; ` +
        'make the provider with kubernetesProvider of "cells-services/provider"',
    );
  });
}
