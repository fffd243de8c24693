/** What both environments have in common: the provider of the cluster, the namespace, the services, the outputs. */
import { Provider } from "@pulumi/kubernetes";
import { Namespace } from "@pulumi/kubernetes/core/v1/namespace";
import * as pulumi from "@pulumi/pulumi";
import { EtcdCluster, resolveEtcd } from "../components/etcd";
import { NatsCluster, resolveNats } from "../components/nats";
import type { CheckTarget } from "../components/shared";
import { report, type ServiceName, type StackConfig } from "./config";
import { merged } from "./merge";
import { protectData } from "./protection";

type Constructor = typeof EtcdCluster | typeof NatsCluster;
type ArgumentsOf<T extends Constructor> = Omit<ConstructorParameters<T>[1], "namespace">;

/** How an environment wants its services; the configuration of the stack may change each argument. */
export interface Environment {
  etcd: ArgumentsOf<typeof EtcdCluster>;
  nats: ArgumentsOf<typeof NatsCluster>;
  /** Refuse to delete or replace what holds data. */
  protect: boolean;
  /** What the configuration must not ask for here. */
  refusals?: (config: StackConfig) => string[];
}

export interface StackOutputs {
  /** For `npm run check`: all that a check needs to find the services, without secrets. */
  checks: pulumi.Output<CheckTarget[]>;
  kubeContext: string | null;
  kubeconfig: string | null;
  urls: Record<string, pulumi.Output<string>>;
  services: Record<string, ServiceOutputs>;
}

interface ServiceOutputs {
  host: pulumi.Output<string>;
  port: pulumi.Input<number>;
  url: pulumi.Output<string>;
  /** ConfigMap with the trust bundle, key `ca.crt`; null without TLS. */
  certificateAuthority: pulumi.Output<string | null>;
  /** Application name to the name of its Secret. */
  applications: Record<string, pulumi.Output<string>>;
}

export function deployServices(config: StackConfig, environment: Environment): StackOutputs {
  const services = config.services.map((service) => ({
    service,
    args: merged<Environment[ServiceName]>(environment[service], argumentsIn(config, service)),
  }));
  report(pulumi.getStack(), [
    ...(environment.refusals?.(config) ?? []),
    ...services.flatMap(({ service, args }) => problemsOf(service, args, config.namespace)),
  ]);

  const provider = clusterProvider(config);
  const namespace = servicesNamespace(config, environment, { provider });
  const options: pulumi.ComponentResourceOptions = {
    provider,
    ...(environment.protect ? { transformations: [protectData] } : {}),
  };
  const deployed = services.map(({ service, args }) => {
    const all = { ...args, namespace: namespace.metadata.name };
    const component =
      service === "etcd" ? new EtcdCluster("etcd", all, options) : new NatsCluster("nats", all, options);
    return { service, component, applications: args.applications ?? [] };
  });
  return {
    checks: pulumi.all(deployed.map(({ component }) => component.checkTarget)),
    kubeContext: config.kubeContext ?? null,
    kubeconfig: config.kubeconfig ?? null,
    urls: Object.fromEntries(deployed.map(({ service, component }) => [service, component.url])),
    services: Object.fromEntries(
      deployed.map(({ service, component, applications }) => [
        service,
        {
          host: component.host,
          port: component.port,
          url: component.url,
          certificateAuthority: component.certificateAuthority,
          applications: Object.fromEntries(applications.map((each) => [each, component.application(each).secret])),
        },
      ]),
    ),
  };
}

/** What the configuration says about a service, without what only the stack itself needs to know. */
function argumentsIn(config: StackConfig, service: ServiceName): Omit<StackConfig[ServiceName], "tlsReason"> {
  const given = { ...config[service] };
  delete given.tlsReason;
  return given;
}

/**
 * A component refuses wrong arguments before any resource of its own, but then the namespace and other services exist
 * already. So each component looks at its arguments first.
 */
function problemsOf(service: ServiceName, args: Environment[ServiceName], namespace: string): string[] {
  const resolve = { etcd: resolveEtcd, nats: resolveNats }[service];
  try {
    resolve(service, { ...args, namespace });
    return [];
  } catch (error) {
    if (!pulumi.RunError.isInstance(error)) throw error;
    const [first = "", ...others] = error.message.split("\n");
    const subject = `${service} ${JSON.stringify(service)}: `;
    return others.length === 0 ? [first] : others.map((each) => each.replace("  - ", subject));
  }
}

function clusterProvider(config: StackConfig): Provider {
  return new Provider("cluster", {
    ...(config.kubeconfig === undefined ? {} : { kubeconfig: config.kubeconfig }),
    ...(config.kubeContext === undefined ? {} : { context: config.kubeContext }),
    // The stack decides what a new cluster is. Without it, another name of a context or a renewed credential in the
    // kubeconfig would replace everything.
    clusterIdentifier: `${pulumi.getProject()}-${pulumi.getStack()}`,
    enableServerSideApply: true,
    // Without these a changed key replaces the object under a new name, and pods that mount it by name lose it.
    enableConfigMapMutable: true,
    enableSecretMutable: true,
  });
}

/** The components never create it: whoever owns the namespace decides on its security level. */
function servicesNamespace(
  config: StackConfig,
  environment: Environment,
  options: pulumi.CustomResourceOptions,
): Namespace {
  const levels = ["enforce", "audit", "warn"].map(
    (mode) => [`pod-security.kubernetes.io/${mode}`, "restricted"] as const,
  );
  return new Namespace(
    "namespace",
    {
      metadata: {
        name: config.namespace,
        labels: {
          "app.kubernetes.io/managed-by": "pulumi",
          "app.kubernetes.io/part-of": "cells-services",
          ...Object.fromEntries(levels),
        },
      },
    },
    // The volumes go with their namespace.
    { ...options, protect: environment.protect },
  );
}
