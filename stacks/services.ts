/** What both environments have in common: the provider of the cluster, the namespace, the services, the outputs. */
import type { Provider } from "@pulumi/kubernetes";
import { Namespace } from "@pulumi/kubernetes/core/v1/namespace";
import * as pulumi from "@pulumi/pulumi";
import { EtcdCluster, type EtcdClusterArguments, resolveEtcd } from "../components/etcd";
import { MongodbCluster, type MongodbClusterArguments, resolveMongodb } from "../components/mongodb";
import { MysqlCluster, type MysqlClusterArguments, resolveMysql } from "../components/mysql";
import { NatsCluster, type NatsClusterArguments, resolveNats } from "../components/nats";
import { ObjectStore, type ObjectStoreArguments, resolveObjectStore } from "../components/objectstore";
import { kubernetesProvider } from "../components/provider";
import { RedisCluster, type RedisClusterArguments, resolveRedis } from "../components/redis";
import type { CheckTarget, Ensemble, EnsembleArguments, EnsembleComponent, Peer } from "../components/shared/deploy";
import { resolveVault, VaultCluster, type VaultClusterArguments } from "../components/vault";
import { type CellsOutputs, type CellsStore, cellsNamespace, isElsewhere, provideCells, tlsDefaults } from "./cells";
import { type CellsVersion, report, type ServiceName, type StackConfig, serviceNames } from "./config";
import { merged } from "./merge";

interface ServiceArguments {
  etcd: EtcdClusterArguments;
  vault: VaultClusterArguments;
  nats: NatsClusterArguments;
  redis: RedisClusterArguments;
  mongodb: MongodbClusterArguments;
  mysql: MysqlClusterArguments;
  objectstore: ObjectStoreArguments;
}

/** For each service its component, and the function that looks at its arguments without creating anything. */
const components: { [S in ServiceName]: Service<ServiceArguments[S]> } = {
  etcd: { Component: EtcdCluster, resolve: resolveEtcd },
  vault: { Component: VaultCluster, resolve: resolveVault },
  nats: { Component: NatsCluster, resolve: resolveNats },
  redis: { Component: RedisCluster, resolve: resolveRedis },
  mongodb: { Component: MongodbCluster, resolve: resolveMongodb },
  mysql: { Component: MysqlCluster, resolve: resolveMysql },
  objectstore: { Component: ObjectStore, resolve: resolveObjectStore },
};

interface Service<Arguments extends Pick<EnsembleArguments, "namespace">> {
  Component: new (name: string, args: Arguments, options: pulumi.ComponentResourceOptions) => EnsembleComponent;
  resolve: (name: string, args: Arguments) => Ensemble;
}

/**
 * How an environment wants its services; the configuration of the stack may change each argument, and gives what is missing.
 * The default of `tls` is that of the version of Cells.
 */
export interface Environment {
  services: { [S in ServiceName]?: Partial<Omit<ServiceArguments[S], "namespace" | "tls">> };
  /** Refuse to delete or replace what holds data. */
  protect: boolean;
  /** Makes what is not in the cluster. */
  surroundings?: (kubernetes: Provider) => Surroundings;
  /** What the configuration must not ask for here. */
  refusals?: (config: StackConfig, services: readonly ServiceName[]) => string[];
}

export interface Surroundings {
  /** The services wait for it. */
  needed: pulumi.Resource[];
  /** Where Cells has its files. */
  store: pulumi.Output<CellsStore>;
}

export interface StackOutputs extends CellsOutputs {
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
  const available = serviceNames.filter((each) => environment.services[each] !== undefined);
  const services = available.filter((each) => config.services?.includes(each) ?? true);
  report(pulumi.getStack(), [
    ...servicesProblems(config, available),
    ...(environment.refusals?.(config, services) ?? []),
    ...services.flatMap((service) => problemsOf(service, argumentsOf(service, config, environment))),
  ]);

  const provider = clusterProvider(config);
  const namespace = servicesNamespace(config, environment, {
    provider,
    dependsOn: findCellsNamespace(config, provider),
  });
  const { needed = [], ...surroundings } = environment.surroundings?.(provider) ?? {};
  const options: pulumi.ComponentResourceOptions = {
    provider,
    dependsOn: needed,
    protect: environment.protect,
  };
  const deployed = services.map((service) => {
    const args = { ...argumentsOf(service, config, environment), namespace: namespace.metadata.name };
    return { service, component: create(service, args, options), applications: args.applications ?? [] };
  });
  return {
    ...provideCells(config, deployed, { namespace: namespace.metadata.name, ...surroundings }, { provider }),
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

function servicesProblems({ services = [], environment }: StackConfig, available: ServiceName[]): string[] {
  return services
    .filter((each) => !available.includes(each))
    .map(
      (each) =>
        `${pulumi.getProject()}:services must be a list of ${available.join(", ")} in ${environment}, ` +
        `got ${JSON.stringify(each)}; remove it`,
    );
}

/** Read first, so that nothing is made for a namespace that does not exist. The engine says the name given here then. */
function findCellsNamespace(config: StackConfig, provider: Provider): Namespace[] {
  const name = cellsNamespace(config);
  return isElsewhere(config) ? [Namespace.get(`cells-services:cells.namespace ${name}`, name, { provider })] : [];
}

/** What a service has when the configuration says nothing; nothing in an environment that does not have it. */
export function defaultArguments(service: ServiceName, environment: Environment, version: CellsVersion): object {
  const own = environment.services[service];
  return own === undefined
    ? {}
    : withDefaults(service, { tls: tlsDefaults[service][version].mode, ...own, namespace: "cells" });
}

/** What nobody but the configuration can know, so that everything else can be resolved without it. */
const unknown: { [S in ServiceName]?: Partial<ServiceArguments[S]> } = { vault: { seal: { type: "shamir" } } };

function withDefaults<S extends ServiceName>(service: S, args: ServiceArguments[S]): object {
  const { image, ...resolved } = components[service].resolve(service, { ...unknown[service], ...args });
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
  const { namespace, cells } = config;
  const tls = tlsDefaults[service][cells.version].mode;
  const args = { tls, ...environment.services[service], namespace } as ServiceArguments[S];
  return withCells(config, merged<ServiceArguments[S]>(args, given));
}

/** From another namespace Cells would be kept out, whoever else may connect. */
function withCells<Arguments extends EnsembleArguments>(config: StackConfig, args: Arguments): Arguments {
  if (!isElsewhere(config)) return args;
  const cells: Peer = { namespaceLabels: { "kubernetes.io/metadata.name": cellsNamespace(config) } };
  return { ...args, clients: [...(args.clients ?? [{}]), cells] };
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
  const { environment, kubeconfig, kubeContext } = config;
  return kubernetesProvider("cluster", {
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
    ...(kubeContext === undefined ? {} : { context: kubeContext }),
    // Not the name of the stack: a renamed stack has its resources in the same cluster.
    clusterIdentifier: config.clusterIdentifier ?? `cells-services-${environment}`,
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
