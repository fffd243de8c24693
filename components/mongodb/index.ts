/** MongoDB: a replica set of 3 or 5 members that elect their primary, with TLS and a database for each application. */
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
  readMarkerRule,
  setupDeadlineSeconds,
  setupRules,
} from "../shared/deploy";
import { type MongodbClusterArguments, resolveMongodb } from "./arguments";
import { address, adminUsername, databaseOf, keyName, paths, ports } from "./layout";
import { mongodbSetupJob, rolloutSeconds, serverConfig, statefulSet } from "./manifest";

export { type MongodbClusterArguments, mongodbProfile, mongodbSchema, resolveMongodb } from "./arguments";

export class MongodbCluster extends EnsembleComponent {
  constructor(name: string, args: MongodbClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = resolveMongodb(name, args);
    const bundle = readAgentBundle("mongodb");
    super("cells-services:index:MongodbCluster", ensemble, args, opts);

    const options: pulumi.CustomResourceOptions = { parent: this };
    const names = namesOf(name);
    const { namespace, members, tls } = ensemble;
    const urlOf = (database?: string): pulumi.Output<string> =>
      namespace.apply((known) =>
        address({ name, namespace: known, members, tls, ...(database === undefined ? {} : { database }) }),
      );
    const url = urlOf();

    const agent = createAgentConfigMap(ensemble, bundle, options);

    // Everything else waits for the preflight: a refused change must not alter what the living members read.
    const judged = createPreflight(ensemble, { bundle, agent }, options);

    const application = (each: string) => ({ database: databaseOf(each), url: urlOf(databaseOf(each)) });
    const credentials = createCredentials(ensemble, { adminUsername, url, application }, judged);
    const secrets = [credentials.admin, ...Object.values(credentials.applications)];
    const key = this.createKey(judged);
    const content = JSON.stringify(serverConfig(ensemble), null, 2);
    const config = new ConfigMap(
      names.config,
      // JSON is YAML.
      { metadata: metadata(ensemble, names.config), data: { [paths.configFile]: content } },
      judged,
    );
    const certificates = createCertificates(
      ensemble,
      // The agents make the running servers read renewed certificates.
      { bundle, restartOn: "authority", dependsOn: [agent, ...secrets] },
      judged,
    );

    const policy = new NetworkPolicy(
      name,
      networkPolicy(ensemble, { client: ports.client, peer: [], metrics: agentPorts.http }),
      judged,
    );
    const memberAccess = createAccess(ensemble, names.server, [readMarkerRule(ensemble)], judged);
    const peers = new Service(
      names.peers,
      peersService(ensemble, [
        { name: "client", port: ports.client },
        { name: "agent", port: agentPorts.http },
      ]),
      judged,
    );
    const beforeServers = [agent, config, key, policy, peers, ...secrets, ...certificates, ...memberAccess.ready];
    const rollout = `${rolloutSeconds(members)}s`;
    const customTimeouts = { create: rollout, update: rollout, delete: "10m" };
    const servers = new StatefulSet(
      name,
      statefulSet(ensemble, { bundle, configChecksum: digest(content) }),
      pulumi.mergeOptions(judged, { dependsOn: beforeServers, customTimeouts }),
    );
    // For clients that look for one name; drivers take the members from `url`. Beside the StatefulSet: Pulumi waits for a
    // ready member behind it, so nothing may wait for the Service.
    new Service(
      names.server,
      clientService(ensemble, [{ name: "client", port: ports.client }]),
      pulumi.mergeOptions(judged, { dependsOn: beforeServers, customTimeouts }),
    );
    new PodDisruptionBudget(name, disruptionBudget(ensemble), judged);

    const setupAccess = createAccess(ensemble, names.setup, setupRules(ensemble), judged);
    const setup = new Job(
      names.setup,
      { metadata: jobMetadata(ensemble), spec: mongodbSetupJob(ensemble, bundle, credentials.checksum) },
      pulumi.mergeOptions(judged, {
        dependsOn: [servers, ...setupAccess.ready, ...secrets],
        customTimeouts: { create: `${setupDeadlineSeconds + 60}s` },
      }),
    );
    this.publish({
      url,
      ports: { client: ports.client, metrics: agentPorts.http },
      durability: null,
      passwords: credentials.passwords,
      setup,
    });
  }

  /** The key that members have in common: whoever has it is one of them. */
  private createKey(options: pulumi.CustomResourceOptions): Secret {
    const name = keyName(this.ensemble.name);
    const { result: key } = createPassword(name, options);
    return new Secret(
      name,
      { metadata: metadata(this.ensemble, name), type: "Opaque", data: encoded({ key }) },
      options,
    );
  }
}
