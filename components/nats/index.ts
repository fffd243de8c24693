/** NATS with JetStream: 3 or 5 servers that elect their leaders, with TLS, an account for each application and one name. */
import { Deployment } from "@pulumi/kubernetes/apps/v1/deployment";
import { StatefulSet } from "@pulumi/kubernetes/apps/v1/statefulSet";
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import { Secret } from "@pulumi/kubernetes/core/v1/secret";
import { Service } from "@pulumi/kubernetes/core/v1/service";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import { PodDisruptionBudget } from "@pulumi/kubernetes/policy/v1/podDisruptionBudget";
import * as pulumi from "@pulumi/pulumi";
import {
  type Credentials,
  checksum,
  clientService,
  createAccess,
  createAgentConfigMap,
  createCertificates,
  createCredentials,
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
import { type Durability, type NatsClusterArguments, resolveNats } from "./arguments";
import { adminUsername, paths, ports, reconcilerName, scheme } from "./layout";
import {
  natsSetupJob,
  reconcilerDeployment,
  rolloutSeconds,
  serverConfig,
  statefulSet,
  usersConfig,
  usersName,
} from "./manifest";

export { type Durability, type NatsClusterArguments, natsProfile, natsSchema, resolveNats } from "./arguments";

export class NatsCluster extends EnsembleComponent {
  constructor(name: string, args: NatsClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = resolveNats(name, args);
    const { durability } = ensemble;
    const bundle = readAgentBundle("nats");
    super("cells-services:index:NatsCluster", ensemble, args, opts);

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
    const reconciler = this.createReconcilerSecret(judged);
    const { config, users, configChecksum } = this.createConfig(durability, credentials, reconciler.password, judged);
    const certificates = createCertificates(
      ensemble,
      // NATS reads certificates only when it starts or is told to.
      { bundle, restartOn: "any", dependsOn: [agent, ...secrets] },
      judged,
    );

    const policy = new NetworkPolicy(
      name,
      // Members ask each other's monitoring port whether they run.
      networkPolicy(ensemble, { client: ports.client, peer: [ports.peer, ports.metrics], metrics: ports.metrics }),
      judged,
    );
    const memberAccess = createAccess(ensemble, names.server, [readMarkerRule(ensemble)], judged);
    const peers = new Service(
      names.peers,
      peersService(ensemble, [
        { name: "client", port: ports.client },
        { name: "peer", port: ports.peer },
        { name: "metrics", port: ports.metrics },
      ]),
      judged,
    );
    const beforeServers = [agent, config, users, policy, peers, ...certificates, ...memberAccess.ready];
    const rollout = `${rolloutSeconds(ensemble.members)}s`;
    const customTimeouts = { create: rollout, update: rollout, delete: "10m" };
    const servers = new StatefulSet(
      name,
      statefulSet(ensemble, { bundle, configChecksum }),
      pulumi.mergeOptions(judged, {
        dependsOn: beforeServers,
        customTimeouts,
      }),
    );
    // Beside the StatefulSet: Pulumi waits for a ready member behind it, so nothing may wait for the Service.
    const service = new Service(
      names.server,
      clientService(ensemble, [{ name: "client", port: ports.client }]),
      pulumi.mergeOptions(judged, {
        dependsOn: beforeServers,
        customTimeouts,
      }),
    );
    new PodDisruptionBudget(name, disruptionBudget(ensemble), judged);

    const setupAccess = createAccess(ensemble, names.setup, setupRules(ensemble), judged);
    const setup = new Job(
      names.setup,
      { metadata: jobMetadata(ensemble), spec: natsSetupJob(ensemble, bundle, credentials.checksum) },
      pulumi.mergeOptions(judged, {
        dependsOn: [servers, service, ...setupAccess.ready, ...secrets],
        customTimeouts: { create: `${setupDeadlineSeconds + 60}s` },
      }),
    );
    // Without applications there are no streams to keep.
    if (ensemble.applications.length > 0) {
      const reconcilerAccess = createAccess(ensemble, reconcilerName(name), [], judged);
      new Deployment(
        reconcilerName(name),
        reconcilerDeployment(ensemble, { bundle, credentialsChecksum: reconciler.checksum }),
        pulumi.mergeOptions(judged, { dependsOn: [setup, reconciler.secret, ...reconcilerAccess.ready] }),
      );
    }

    this.publish({ url, ports, durability, passwords: credentials.passwords, setup });
  }

  private createReconcilerSecret(options: pulumi.CustomResourceOptions) {
    const name = reconcilerName(this.ensemble.name);
    const { result: password } = createPassword(name, options);
    const secret = new Secret(
      name,
      { metadata: metadata(this.ensemble, name), type: "Opaque", data: encoded({ password }) },
      options,
    );
    return { secret, password, checksum: checksum(password) };
  }

  /** What is no secret in a ConfigMap, users in a Secret. */
  private createConfig(
    durability: Durability,
    credentials: Credentials,
    reconciler: pulumi.Output<string>,
    options: pulumi.CustomResourceOptions,
  ) {
    const { name, namespace } = this.ensemble;
    const names = namesOf(name);
    const server = namespace.apply((known) => serverConfig(this.ensemble, known, durability));
    const applications: Record<string, pulumi.Output<string>> = Object.fromEntries(
      Object.entries(credentials.applications).map(([application, secret]) => [application, passwordOf(secret)]),
    );
    const accounts = pulumi
      .all([passwordOf(credentials.admin), reconciler, pulumi.output(applications)])
      .apply(([admin, forReconciler, known]) => usersConfig({ admin, reconciler: forReconciler, applications: known }));
    const config = new ConfigMap(
      names.config,
      { metadata: metadata(this.ensemble, names.config), data: { [paths.configFile]: server } },
      options,
    );
    const users = new Secret(
      usersName(name),
      {
        metadata: metadata(this.ensemble, usersName(name)),
        type: "Opaque",
        data: encoded({ [paths.usersFile]: accounts }),
      },
      options,
    );
    return { config, users, configChecksum: checksum(pulumi.all([server, accounts])) };
  }
}

function passwordOf(secret: Secret): pulumi.Output<string> {
  return secret.data.apply((data) => Buffer.from(data["password"] ?? "", "base64").toString("utf8"));
}
