/** An object store for development: one S3-compatible server with TLS, a user for each application and the outputs of AWS S3. */
import { StatefulSet } from "@pulumi/kubernetes/apps/v1/statefulSet";
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import { Service } from "@pulumi/kubernetes/core/v1/service";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import { PodDisruptionBudget } from "@pulumi/kubernetes/policy/v1/podDisruptionBudget";
import * as pulumi from "@pulumi/pulumi";
import {
  checksum,
  clientService,
  createAccess,
  createAgentConfigMap,
  createCertificates,
  createCredentials,
  createPreflight,
  disruptionBudget,
  EnsembleComponent,
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
import { type ObjectStoreArguments, resolveObjectStore } from "./arguments";
import { adminUsername, paths, ports, scheme } from "./layout";
import { rolloutSeconds, statefulSet, storeConfig, storeSetupJob } from "./manifest";

export { type ObjectStoreArguments, objectStoreProfile, objectStoreSchema, resolveObjectStore } from "./arguments";

/** One server with one volume: for development. The outputs are those that AWS S3 has in production. */
export class ObjectStore extends EnsembleComponent {
  /** What clients of S3 are given, the same as `url`. Buckets are in the path, not in the host name. */
  declare readonly endpoint: pulumi.Output<string>;
  declare readonly region: pulumi.Output<string>;
  /** Name in the arguments to name in the store, given out when the bucket exists. */
  declare readonly buckets: pulumi.Output<Record<string, string>>;

  constructor(name: string, args: ObjectStoreArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = resolveObjectStore(name, args);
    const { store } = ensemble;
    const bundle = readAgentBundle("objectstore");
    super("cells-services:index:ObjectStore", ensemble, args, opts);

    const options: pulumi.CustomResourceOptions = { parent: this };
    const names = namesOf(name);
    const { namespace, tls } = ensemble;
    const host = namespace.apply((known) => serviceHost(name, known));
    const endpoint = pulumi.interpolate`${scheme(tls)}://${host}:${ports.client}`;

    const agent = createAgentConfigMap(ensemble, bundle, options);

    // Everything else waits for the preflight: a refused change must not alter what the living server reads.
    const judged = createPreflight(ensemble, { bundle, agent }, options);

    const credentials = createCredentials(
      ensemble,
      {
        adminUsername,
        url: endpoint,
        // In the words of AWS, beside those that all services have.
        application: (application, password) => ({
          accessKeyId: application,
          secretAccessKey: password,
          endpoint,
          region: store.region,
        }),
      },
      judged,
    );
    const secrets = [credentials.admin, ...Object.values(credentials.applications)];
    const config = new ConfigMap(
      names.config,
      { metadata: metadata(ensemble, names.config), data: { [paths.storeFile]: storeConfig(store) } },
      judged,
    );
    const certificates = createCertificates(
      ensemble,
      // The server reads certificates when it starts, or on a signal that nobody in the pod can send.
      { bundle, restartOn: "any", dependsOn: [agent, ...secrets] },
      judged,
    );

    const policy = new NetworkPolicy(
      name,
      networkPolicy(ensemble, { client: ports.client, peer: [], metrics: ports.client, internal: [ports.admin] }),
      judged,
    );
    const memberAccess = createAccess(ensemble, names.server, [readMarkerRule(ensemble)], judged);
    const peers = new Service(
      names.peers,
      peersService(ensemble, [
        { name: "client", port: ports.client },
        { name: "admin", port: ports.admin },
      ]),
      judged,
    );
    const beforeServers = [agent, credentials.admin, policy, peers, ...certificates, ...memberAccess.ready];
    const rollout = `${rolloutSeconds}s`;
    const customTimeouts = { create: rollout, update: rollout, delete: "10m" };
    const server = new StatefulSet(
      name,
      // All that it reads and does not see change is its root account.
      statefulSet(ensemble, { bundle, configChecksum: checksum(credentials.admin.data) }, store.region),
      pulumi.mergeOptions(judged, { dependsOn: beforeServers, customTimeouts }),
    );
    // Beside the StatefulSet: Pulumi waits for a ready member behind it, so nothing may wait for the Service.
    const service = new Service(
      names.server,
      clientService(ensemble, [{ name: "client", port: ports.client }]),
      pulumi.mergeOptions(judged, { dependsOn: beforeServers, customTimeouts }),
    );
    new PodDisruptionBudget(name, disruptionBudget(ensemble), judged);

    const setupAccess = createAccess(ensemble, names.setup, setupRules(ensemble), judged);
    const wanted = checksum(pulumi.all([credentials.checksum, storeConfig(store)]));
    const setup = new Job(
      names.setup,
      { metadata: jobMetadata(ensemble), spec: storeSetupJob(ensemble, bundle, wanted) },
      pulumi.mergeOptions(judged, {
        dependsOn: [server, service, config, ...setupAccess.ready, ...secrets],
        customTimeouts: { create: `${setupDeadlineSeconds + 60}s` },
      }),
    );

    this.endpoint = endpoint;
    this.region = pulumi.output(store.region);
    this.buckets = setup.id.apply(() => Object.fromEntries(store.buckets.map((bucket) => [bucket, bucket])));
    this.publish({
      url: endpoint,
      ports: { client: ports.client, metrics: ports.client },
      durability: null,
      passwords: credentials.passwords,
      setup,
    });
  }
}
