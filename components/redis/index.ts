/** Redis with Sentinel: 3 or 5 members of which one is master, with TLS, a user for each application and one address. */
import { StatefulSet } from "@pulumi/kubernetes/apps/v1/statefulSet";
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import { Secret } from "@pulumi/kubernetes/core/v1/secret";
import { Service } from "@pulumi/kubernetes/core/v1/service";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import { PodDisruptionBudget } from "@pulumi/kubernetes/policy/v1/podDisruptionBudget";
import * as pulumi from "@pulumi/pulumi";
import {
  agentPorts,
  type Credentials,
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
import { type RedisClusterArguments, resolveRedis } from "./arguments";
import {
  adminUsername,
  type InternalUser,
  internalName,
  internalUsers,
  paths,
  ports,
  scheme,
  usersName,
} from "./layout";
import { redisSetupJob, rolloutSeconds, serverConfig, statefulSet, usersConfig } from "./manifest";

export {
  type Durability,
  type Eviction,
  type RedisClusterArguments,
  redisProfile,
  redisSchema,
  resolveRedis,
} from "./arguments";

export class RedisCluster extends EnsembleComponent {
  constructor(name: string, args: RedisClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = resolveRedis(name, args);
    const { durability } = ensemble;
    const bundle = readAgentBundle("redis");
    super("cells-services:index:RedisCluster", ensemble, args, opts);

    const options: pulumi.CustomResourceOptions = { parent: this };
    const names = namesOf(name);
    const { namespace, tls } = ensemble;
    const host = namespace.apply((known) => serviceHost(name, known));
    const url = pulumi.interpolate`${scheme(tls)}://${host}:${ports.client}`;

    const agent = createAgentConfigMap(ensemble, bundle, options);

    // Everything else waits for the preflight: a refused change must not alter what the living members read.
    const judged = createPreflight(ensemble, { bundle, agent }, options);

    const credentials = createCredentials(ensemble, { adminUsername, url }, judged);
    const secrets = [credentials.admin, ...Object.values(credentials.applications)];
    const internal = this.createInternalSecret(judged);
    const users = this.createUsers(credentials, internal.passwords, judged);
    const config = serverConfig(ensemble, durability, ensemble.eviction);
    const configMap = new ConfigMap(
      names.config,
      { metadata: metadata(ensemble, names.config), data: { [paths.configFile]: config } },
      judged,
    );
    const certificates = createCertificates(
      ensemble,
      // Sentinel reads certificates only when it starts.
      { bundle, restartOn: "any", dependsOn: [agent, ...secrets] },
      judged,
    );

    const policy = new NetworkPolicy(
      name,
      networkPolicy(ensemble, {
        client: ports.client,
        peer: [ports.sentinel],
        internal: [agentPorts.gateway],
        metrics: agentPorts.http,
        gateway: true,
      }),
      judged,
    );
    const memberAccess = createAccess(ensemble, names.server, [readMarkerRule(ensemble)], judged);
    const peers = new Service(
      names.peers,
      peersService(ensemble, [
        { name: "client", port: ports.client },
        { name: "sentinel", port: ports.sentinel },
        { name: "agent", port: agentPorts.http },
        { name: "gateway", port: agentPorts.gateway },
      ]),
      judged,
    );
    const rollout = `${rolloutSeconds(ensemble.members)}s`;
    const servers = new StatefulSet(
      name,
      // Users and passwords reach running members, so they are in no checksum.
      statefulSet(ensemble, { bundle, configChecksum: checksum(pulumi.output(config)) }),
      pulumi.mergeOptions(judged, {
        dependsOn: [agent, configMap, users, internal.secret, policy, peers, ...certificates, ...memberAccess.ready],
        customTimeouts: { create: rollout, update: rollout, delete: "10m" },
      }),
    );
    // Beside the StatefulSet: the proxies need the names of the members, not the members.
    const gateway = createGateway(ensemble, { port: ports.client, dependsOn: [agent, policy, peers] }, judged);
    new PodDisruptionBudget(name, disruptionBudget(ensemble), judged);

    const setupAccess = createAccess(ensemble, names.setup, setupRules(ensemble), judged);
    const setup = new Job(
      names.setup,
      { metadata: jobMetadata(ensemble), spec: redisSetupJob(ensemble, bundle, credentials.checksum) },
      pulumi.mergeOptions(judged, {
        dependsOn: [servers, ...gateway.ready, ...setupAccess.ready, ...secrets],
        customTimeouts: { create: `${setupDeadlineSeconds + 60}s` },
      }),
    );
    this.publish({
      url,
      ports: { client: ports.client, metrics: agentPorts.http },
      durability,
      passwords: credentials.passwords,
      setup,
    });
  }

  /** The passwords that members, Sentinels and agents have for each other. */
  private createInternalSecret(options: pulumi.CustomResourceOptions) {
    const name = internalName(this.ensemble.name);
    const passwords = Object.fromEntries(
      internalUsers.map((user) => [user, createPassword(`${name}-${user}`, options).result]),
    ) as Record<InternalUser, pulumi.Output<string>>;
    const secret = new Secret(
      name,
      { metadata: metadata(this.ensemble, name), type: "Opaque", data: encoded(passwords) },
      options,
    );
    return { secret, passwords };
  }

  private createUsers(
    credentials: Credentials,
    internal: Record<InternalUser, pulumi.Output<string>>,
    options: pulumi.CustomResourceOptions,
  ): Secret {
    const name = usersName(this.ensemble.name);
    const applications: Record<string, pulumi.Output<string>> = Object.fromEntries(
      Object.entries(credentials.applications).map(([application, secret]) => [application, passwordOf(secret)]),
    );
    const content = pulumi
      .all([passwordOf(credentials.admin), pulumi.output(internal), pulumi.output(applications)])
      .apply(([admin, known, each]) => usersConfig({ admin, internal: known, applications: each }));
    return new Secret(
      name,
      { metadata: metadata(this.ensemble, name), type: "Opaque", data: encoded({ [paths.usersFile]: content }) },
      options,
    );
  }
}

function passwordOf(secret: Secret): pulumi.Output<string> {
  return secret.data.apply((data) => Buffer.from(data["password"] ?? "", "base64").toString("utf8"));
}
