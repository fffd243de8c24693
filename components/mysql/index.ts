/** MySQL with Group Replication: 3 or 5 servers of which one is written to, with TLS and one name that follows it. */
import { StatefulSet } from "@pulumi/kubernetes/apps/v1/statefulSet";
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import { Secret } from "@pulumi/kubernetes/core/v1/secret";
import { Service } from "@pulumi/kubernetes/core/v1/service";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import { PodDisruptionBudget } from "@pulumi/kubernetes/policy/v1/podDisruptionBudget";
import * as pulumi from "@pulumi/pulumi";
import { RandomUuid } from "@pulumi/random/randomUuid";
import {
  agentPorts,
  checksum,
  createAccess,
  createAgentConfigMap,
  createCertificates,
  createCredentials,
  createGateway,
  createPassword,
  createPreflight,
  disruptionBudget,
  EnsembleComponent,
  encoded,
  jobMetadata,
  metadata,
  namesOf,
  networkPolicy,
  peersService,
  readAgentBundle,
  readMarkerRule,
  serviceHost,
  setupDeadlineSeconds,
  setupRules,
} from "../shared/deploy";
import { type MysqlClusterArguments, resolveMysql } from "./arguments";
import { serverConfig } from "./configuration";
import { adminUsername, databaseOf, internalName, paths, ports, reservedConnections } from "./layout";
import { mysqlSetupJob, rolloutSeconds, serverConfiguration, statefulSet } from "./manifest";

export { type MysqlClusterArguments, mysqlProfile, mysqlSchema, resolveMysql } from "./arguments";

export class MysqlCluster extends EnsembleComponent {
  constructor(name: string, args: MysqlClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = resolveMysql(name, args);
    const { maxConnections } = ensemble;
    const bundle = readAgentBundle("mysql");
    super("cells-services:index:MysqlCluster", ensemble, args, opts);

    const options: pulumi.CustomResourceOptions = { parent: this };
    const names = namesOf(name);
    const { namespace } = ensemble;
    const host = namespace.apply((known) => serviceHost(name, known));
    const url = pulumi.interpolate`mysql://${host}:${ports.client}`;

    const agent = createAgentConfigMap(ensemble, bundle, options);

    // Everything else waits for the preflight: a refused change must not alter what the living members read.
    const judged = createPreflight(ensemble, { bundle, agent }, options);

    const credentials = createCredentials(
      ensemble,
      { adminUsername, url, application: (application) => ({ database: databaseOf(application) }) },
      judged,
    );
    const internal = this.createInternalSecret(judged);
    const secrets = [credentials.admin, ...Object.values(credentials.applications), internal.secret];
    const { config, configChecksum } = this.createConfig(maxConnections, judged);
    const certificates = createCertificates(
      ensemble,
      // The agent lets the server read renewed certificates; a new authority is read when it starts.
      { bundle, restartOn: "authority", dependsOn: [agent, ...secrets] },
      judged,
    );

    const policy = new NetworkPolicy(
      name,
      networkPolicy(ensemble, {
        client: ports.client,
        peer: [],
        metrics: ports.metrics,
        gateway: true,
        internal: [agentPorts.gateway],
      }),
      judged,
    );
    const memberAccess = createAccess(ensemble, names.server, [readMarkerRule(ensemble)], judged);
    const peers = new Service(
      names.peers,
      peersService(ensemble, [
        { name: "client", port: ports.client },
        { name: "agent", port: ports.metrics },
        { name: "gateway", port: agentPorts.gateway },
      ]),
      judged,
    );
    const rollout = `${rolloutSeconds(ensemble.members)}s`;
    const servers = new StatefulSet(
      name,
      statefulSet(ensemble, { bundle, configChecksum }),
      pulumi.mergeOptions(judged, {
        dependsOn: [agent, config, policy, peers, ...secrets, ...certificates, ...memberAccess.ready],
        customTimeouts: { create: rollout, update: rollout, delete: "10m" },
      }),
    );
    new PodDisruptionBudget(name, disruptionBudget(ensemble), judged);
    // Beside the StatefulSet: without members the proxies have nobody to send clients to, and are ready all the same.
    const gateway = createGateway(
      ensemble,
      {
        port: ports.client,
        // More than the server takes: it answers who is too many, a proxy would let him wait.
        maxConnections: 2 * (maxConnections + reservedConnections),
        dependsOn: [agent, peers],
      },
      judged,
    );

    const setupAccess = createAccess(ensemble, names.setup, setupRules(ensemble), judged);
    const setup = new Job(
      names.setup,
      {
        metadata: jobMetadata(ensemble),
        spec: mysqlSetupJob(
          ensemble,
          bundle,
          checksum(pulumi.all([credentials.checksum, internal.password, maxConnections])),
        ),
      },
      pulumi.mergeOptions(judged, {
        dependsOn: [servers, ...gateway.ready, ...setupAccess.ready, ...secrets],
        customTimeouts: { create: `${setupDeadlineSeconds + 60}s` },
      }),
    );

    this.publish({
      url,
      ports: { client: ports.client, metrics: ports.metrics },
      durability: "fsync",
      passwords: credentials.passwords,
      setup,
    });
  }

  /** Of the agents, and of the members towards each other. */
  private createInternalSecret(options: pulumi.CustomResourceOptions) {
    const name = internalName(this.ensemble.name);
    const { result: password } = createPassword(name, options);
    const secret = new Secret(
      name,
      { metadata: metadata(this.ensemble, name), type: "Opaque", data: encoded({ password }) },
      options,
    );
    return { secret, password };
  }

  private createConfig(maxConnections: number, options: pulumi.CustomResourceOptions) {
    const { name, namespace } = this.ensemble;
    const names = namesOf(name);
    // The name of the group, for life: transactions carry it. A volume that was kept keeps the one that it was made with.
    const { result: group } = new RandomUuid(names.server, {}, options);
    const server = namespace.apply((known) => serverConfig(serverConfiguration(this.ensemble, maxConnections), known));
    const config = new ConfigMap(
      names.config,
      {
        metadata: metadata(this.ensemble, names.config),
        data: { [paths.configFile]: server, [paths.groupKey]: group },
      },
      options,
    );
    return { config, configChecksum: checksum(pulumi.all([server, group])) };
  }
}
