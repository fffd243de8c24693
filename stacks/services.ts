/** What both environments have in common: the provider of the cluster, the namespace, the services, the outputs. */
import type { Provider } from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { z } from "zod";
import { EtcdCluster, type EtcdClusterArguments, etcdProfile, etcdSchema } from "../components/etcd";
import { MongodbCluster, type MongodbClusterArguments, mongodbProfile, mongodbSchema } from "../components/mongodb";
import { MysqlCluster, type MysqlClusterArguments, mysqlProfile, mysqlSchema } from "../components/mysql";
import { NatsCluster, type NatsClusterArguments, natsProfile, natsSchema } from "../components/nats";
import {
  ObjectStore,
  type ObjectStoreArguments,
  objectStoreProfile,
  objectStoreSchema,
} from "../components/objectstore";
import { kubernetesProvider } from "../components/provider";
import { RedisCluster, type RedisClusterArguments, redisProfile, redisSchema } from "../components/redis";
import {
  type CheckTarget,
  createOverview,
  type EnsembleArguments,
  type EnsembleComponent,
  type Path,
  type Peer,
  parsed,
  type ServiceProfile,
  sentence,
} from "../components/shared/deploy";
import { VaultCluster, type VaultClusterArguments, vaultProfile, vaultSchema } from "../components/vault";
import { application, type CellsOutputs, type CellsStore, provideCells, tlsDefaults } from "./cells";
import { cellsNamespace, isElsewhere, reasonKeys, type ServiceName, type StackConfig, serviceNames } from "./config";
import { merged } from "./merge";
import { type ClusterAccess, createNamespaces } from "./namespaces";

interface ServiceArguments {
  etcd: EtcdClusterArguments;
  vault: VaultClusterArguments;
  nats: NatsClusterArguments;
  redis: RedisClusterArguments;
  mongodb: MongodbClusterArguments;
  mysql: MysqlClusterArguments;
  objectstore: ObjectStoreArguments;
}

/** For each service its component, and what is to be known of its arguments. */
export const components: { [S in ServiceName]: Service<ServiceArguments[S]> } = {
  etcd: { Component: EtcdCluster, schema: etcdSchema, profile: etcdProfile },
  vault: { Component: VaultCluster, schema: vaultSchema, profile: vaultProfile },
  nats: { Component: NatsCluster, schema: natsSchema, profile: natsProfile },
  redis: { Component: RedisCluster, schema: redisSchema, profile: redisProfile },
  mongodb: { Component: MongodbCluster, schema: mongodbSchema, profile: mongodbProfile },
  mysql: { Component: MysqlCluster, schema: mysqlSchema, profile: mysqlProfile },
  objectstore: { Component: ObjectStore, schema: objectStoreSchema, profile: objectStoreProfile },
};

interface Service<Arguments> {
  Component: new (name: string, args: Arguments, options: pulumi.ComponentResourceOptions) => EnsembleComponent;
  schema: z.ZodType<unknown, Arguments>;
  profile: ServiceProfile;
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

/** What is wrong with the configuration in this environment: together with its defaults, and by its refusals. `wrong`: reported already. */
export function problemsOf(config: StackConfig, environment: Environment, wrong: readonly Path[]): string[] {
  const { available, services } = servicesOf(config, environment);
  return [
    ...servicesProblems(config, available),
    ...(environment.refusals?.(config, services) ?? []),
    ...services.flatMap((service) => applicationProblems(service, config)),
    ...services.flatMap((service) => argumentProblems(service, argumentsOf(service, config, environment), wrong)),
  ];
}

function applicationProblems(service: ServiceName, config: StackConfig): string[] {
  const given = config[service].applicationNamespaces?.[application];
  if (given === undefined) return [];
  const project = pulumi.getProject();
  return [
    `${project}:${service}.applicationNamespaces must not contain ${application}, got ${JSON.stringify(given)}; ` +
      `remove it, and say in ${project}:cells.namespace where Cells runs`,
  ];
}

function servicesOf(config: StackConfig, environment: Environment) {
  const available = serviceNames.filter((each) => environment.services[each] !== undefined);
  return { available, services: available.filter((each) => config.services?.includes(each) ?? true) };
}

/** Of a configuration without problems. */
export function deployServices(config: StackConfig, environment: Environment): StackOutputs {
  const { services } = servicesOf(config, environment);
  const access = clusterAccess(config);
  const provider = kubernetesProvider("cluster", access);
  const namespaces = createNamespaces(config, environment.protect, { provider, access });
  const { needed = [], ...surroundings } = environment.surroundings?.(provider) ?? {};
  const options: pulumi.ComponentResourceOptions = {
    provider,
    dependsOn: needed,
    protect: environment.protect,
  };
  const deployed = services.map((service) => {
    const args = { ...argumentsOf(service, config, environment), namespace: namespaces.services };
    return { service, component: create(service, args, options), applications: args.applications ?? [] };
  });
  const { dashboards, labels = {} } = config.monitoring ?? {};
  if (dashboards) createOverview(namespaces.services, labels, { provider });
  return {
    ...provideCells(config, deployed, { namespace: namespaces.cells, ...surroundings }, { provider }),
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

/** The environment's, changed by what the configuration says, without what only the stack itself needs to know. */
function argumentsOf<S extends ServiceName>(
  service: S,
  config: StackConfig,
  environment: Environment,
): ServiceArguments[S] {
  const given: StackConfig[ServiceName] = { ...config[service] };
  for (const key of reasonKeys) delete given[key];
  const { namespace, cells } = config;
  const tls = tlsDefaults[service][cells.version].mode;
  const args = { tls, ...environment.services[service], namespace } as ServiceArguments[S];
  const monitored = merged<ServiceArguments[S]>(args, monitoringOf(service, config));
  return withCells(config, merged(monitored, { ...given, pod: podOf(config.pod, given.pod) }));
}

/** What the stack says for all services; the object store has no metrics. */
function monitoringOf(service: ServiceName, { monitoring }: StackConfig): Partial<EnsembleArguments> {
  if (service === "objectstore" || monitoring === undefined) return {};
  const { from, ...rest } = monitoring;
  return { monitoring: rest, metrics: { from } };
}

/** The lists of pull secrets are joined: an image of the pod may need a Secret of either. */
function podOf(ofStack: StackConfig["pod"], own: StackConfig["pod"]): StackConfig["pod"] {
  if (ofStack === undefined) return own;
  const imagePullSecrets = [...new Set([...(ofStack.imagePullSecrets ?? []), ...(own?.imagePullSecrets ?? [])])];
  return merged(ofStack, { ...own, imagePullSecrets });
}

/** Cells in another namespace: the policies admit it, whoever else may connect, and its Secrets are there. */
function withCells<Arguments extends EnsembleArguments>(config: StackConfig, args: Arguments): Arguments {
  if (!isElsewhere(config)) return args;
  const namespace = cellsNamespace(config);
  const cells: Peer = { namespaceLabels: { "kubernetes.io/metadata.name": namespace } };
  const admitted = { ...args, clients: [...(args.clients ?? [{}]), cells] };
  if (!args.applications?.includes(application)) return admitted;
  return { ...admitted, applicationNamespaces: { ...args.applicationNamespaces, [application]: namespace } };
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
 * already. So each one is looked at first. What lacks a part that was reported is not reported again.
 */
function argumentProblems<S extends ServiceName>(
  service: S,
  args: ServiceArguments[S],
  wrong: readonly Path[],
): string[] {
  return parsed(components[service].schema, args)
    .problems.map(({ path, message }) => ({ path: [service, ...path], message }))
    .filter(({ path }) => !wrong.some((each) => path.every((key, index) => key === each[index])))
    .map((each) => `${pulumi.getProject()}:${sentence(each)}`);
}

function clusterAccess(config: StackConfig): ClusterAccess {
  const { environment, kubeconfig, kubeContext } = config;
  return {
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
    ...(kubeContext === undefined ? {} : { context: kubeContext }),
    // Not the name of the stack: a renamed stack has its resources in the same cluster.
    clusterIdentifier: config.clusterIdentifier ?? `cells-services-${environment}`,
  };
}
