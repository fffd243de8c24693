/** etcd: 3 or 5 voters that elect their leader, with TLS, passwords and one name. */
import { StatefulSet } from "@pulumi/kubernetes/apps/v1/statefulSet";
import { CronJob } from "@pulumi/kubernetes/batch/v1/cronJob";
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import { Secret } from "@pulumi/kubernetes/core/v1/secret";
import { Service } from "@pulumi/kubernetes/core/v1/service";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import { PodDisruptionBudget } from "@pulumi/kubernetes/policy/v1/podDisruptionBudget";
import * as pulumi from "@pulumi/pulumi";
import { RandomId } from "@pulumi/random/randomId";
import {
  clientService,
  createAccess,
  createAgentConfigMap,
  createCertificates,
  createCredentials,
  createPassword,
  createPreflight,
  digest,
  disruptionBudget,
  EnsembleComponent,
  encoded,
  jobMetadata,
  metadata,
  namesOf,
  networkPolicy,
  peersService,
  readAgentBundle,
  serviceHost,
  setupDeadlineSeconds,
  setupRules,
} from "../shared/deploy";
import { type EtcdClusterArguments, resolveEtcd } from "./arguments";
import { adminUsername, paths, ports, scheme } from "./layout";
import { baseConfig, etcdSetupJob, maintenanceCronJob, memberRules, rolloutSeconds, statefulSet } from "./manifest";

export { type EtcdClusterArguments, etcdProfile, etcdSchema, resolveEtcd } from "./arguments";

export class EtcdCluster extends EnsembleComponent {
  constructor(name: string, args: EtcdClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = resolveEtcd(name, args);
    const bundle = readAgentBundle("etcd");
    super("cells-services:index:EtcdCluster", ensemble, args, opts);

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
    const authToken = this.createAuthToken(judged);
    const { config, configChecksum } = this.createConfig(judged);
    const certificates = createCertificates(
      ensemble,
      { bundle, restartOn: "authority", dependsOn: [agent, ...secrets] },
      judged,
    );

    const policy = new NetworkPolicy(
      name,
      networkPolicy(ensemble, { client: ports.client, peer: [ports.peer], metrics: ports.metrics }),
      judged,
    );
    const memberAccess = createAccess(ensemble, names.server, memberRules(ensemble), judged);
    const peers = new Service(
      names.peers,
      peersService(ensemble, [
        { name: "client", port: ports.client },
        { name: "peer", port: ports.peer },
        { name: "metrics", port: ports.metrics },
      ]),
      judged,
    );
    const beforeServers = [
      agent,
      config,
      authToken,
      credentials.admin,
      policy,
      peers,
      ...certificates,
      ...memberAccess.ready,
    ];
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
    new Service(
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
      { metadata: jobMetadata(ensemble), spec: etcdSetupJob(ensemble, bundle, credentials.checksum) },
      pulumi.mergeOptions(judged, {
        dependsOn: [servers, ...setupAccess.ready, ...secrets],
        customTimeouts: { create: `${setupDeadlineSeconds + 60}s` },
      }),
    );
    const maintenanceAccess = createAccess(ensemble, names.maintenance, [], judged);
    new CronJob(
      names.maintenance,
      maintenanceCronJob(ensemble, bundle),
      pulumi.mergeOptions(judged, { dependsOn: [agent, config, ...maintenanceAccess.ready, ...secrets] }),
    );

    this.publish({ url, ports, durability: null, passwords: credentials.passwords, setup });
  }

  /** Signs the tokens that all members accept. */
  private createAuthToken(options: pulumi.CustomResourceOptions): Secret {
    const name = `${this.ensemble.name}-token`;
    const key = createPassword(name, options);
    return new Secret(
      name,
      { metadata: metadata(this.ensemble, name), type: "Opaque", data: encoded({ key: key.result }) },
      options,
    );
  }

  private createConfig(options: pulumi.CustomResourceOptions) {
    const { name } = this.ensemble;
    const token = new RandomId(`${name}-cluster`, { byteLength: 8 }, options);
    const content = token.hex.apply((hex) => JSON.stringify(baseConfig(this.ensemble, `${name}-${hex}`), null, 2));
    const config = new ConfigMap(
      namesOf(name).config,
      { metadata: metadata(this.ensemble, namesOf(name).config), data: { [paths.baseFile]: content } },
      options,
    );
    return { config, configChecksum: content.apply(digest) };
  }
}
