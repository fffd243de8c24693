/** What both environments have in common: the provider of the cluster, the namespace, the services, the outputs. */
import { Provider } from "@pulumi/kubernetes";
import { Namespace } from "@pulumi/kubernetes/core/v1/namespace";
import * as pulumi from "@pulumi/pulumi";
import { EtcdCluster, type EtcdClusterArguments, resolveEtcd } from "../components/etcd";
import { MongodbCluster, type MongodbClusterArguments, resolveMongodb } from "../components/mongodb";
import { MysqlCluster, type MysqlClusterArguments, resolveMysql } from "../components/mysql";
import { RedisCluster, type RedisClusterArguments, resolveRedis } from "../components/redis";
import { NatsCluster, type NatsClusterArguments, resolveNats } from "../components/nats";
import type { CheckTarget, Ensemble, EnsembleArguments, EnsembleComponent } from "../components/shared";
import { report, type ServiceName, type StackConfig } from "./config";
import { merged } from "./merge";
import { protectData } from "./protection";

interface ServiceArguments {
  etcd: EtcdClusterArguments;
  nats: NatsClusterArguments;
  redis: RedisClusterArguments;
  mongodb: MongodbClusterArguments;
  mysql: MysqlClusterArguments;
}

/** For each service its component, and the function that looks at its arguments without creating anything. */
const components: { [S in ServiceName]: Service<ServiceArguments[S]> } = {
  etcd: { Component: EtcdCluster, resolve: resolveEtcd },
  nats: { Component: NatsCluster, resolve: resolveNats },
  redis: { Component: RedisCluster, resolve: resolveRedis },
  mongodb: { Component: MongodbCluster, resolve: resolveMongodb },
  mysql: { Component: MysqlCluster, resolve: resolveMysql },
};

interface Service<Arguments extends EnsembleArguments> {
  Component: new (name: string, args: Arguments, options: pulumi.ComponentResourceOptions) => EnsembleComponent;
  resolve: (name: string, args: Arguments) => Ensemble;
}

/** How an environment wants its services; the configuration of the stack may change each argument. */
export interface Environment {
  services: { [S in ServiceName]: Omit<ServiceArguments[S], "namespace"> };
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
  report(pulumi.getStack(), [
    ...(environment.refusals?.(config) ?? []),
    ...config.services.flatMap((service) => problemsOf(service, argumentsOf(service, config, environment))),
  ]);

  const provider = clusterProvider(config);
  const namespace = servicesNamespace(config, environment, { provider });
  const options: pulumi.ComponentResourceOptions = {
    provider,
    ...(environment.protect ? { transformations: [protectData] } : {}),
  };
  const deployed = config.services.map((service) => {
    const args = { ...argumentsOf(service, config, environment), namespace: namespace.metadata.name };
    return { service, component: create(service, args, options), applications: args.applications ?? [] };
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

/** What a service has when the configuration says nothing. */
export function defaultArguments(service: ServiceName, environment: Environment): object {
  return withDefaults(service, { ...environment.services[service], namespace: "cells" });
}

function withDefaults<S extends ServiceName>(service: S, args: ServiceArguments[S]): object {
  const { image, ...resolved } = components[service].resolve(service, args);
  // The image follows the version unless it is given.
  return merged<object>(args, args.image === undefined ? resolved : { ...resolved, image });
}

/** The environment's, changed by what the configuration says, without what only the stack itself needs to know. */
function argumentsOf<S extends ServiceName>(
  service: S,
  config: StackConfig,
  environment: Environment,
): ServiceArguments[S] {
  const given: StackConfig[ServiceName] = { ...config[service] };
  delete given.tlsReason;
  const { namespace } = config;
  return merged<ServiceArguments[S]>({ ...environment.services[service], namespace }, given);
}

function create<S extends ServiceName>(
  service: S,
  args: ServiceArguments[S],
  options: pulumi.ComponentResourceOptions,
): EnsembleComponent {
  const { Component } = components[service];
  return new Component(service, args, options);
}

/**
 * A component refuses wrong arguments before any resource of its own, but then the namespace and other services exist
 * already. So each component looks at its arguments first.
 */
function problemsOf<S extends ServiceName>(service: S, args: ServiceArguments[S]): string[] {
  try {
    components[service].resolve(service, args);
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
