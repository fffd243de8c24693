/** An object store for development: one S3-compatible server with TLS, a user for each application and the outputs of AWS S3. */
import * as pulumi from "@pulumi/pulumi";
import {
  checksum,
  childOptions,
  claimNames,
  createApplications,
  createCertificates,
  createConfig,
  createCredentials,
  createGuard,
  createMembers,
  createPermissions,
  createSetup,
  EnsembleComponent,
  namesOf,
  readAgentBundle,
  urlOf,
} from "../shared/deploy";
import { type ObjectStoreArguments, resolveObjectStore } from "./arguments";
import { adminUsername, paths, ports, scheme } from "./layout";
import { pace, statefulSet, storeConfig, storeSetupJob } from "./manifest";

export { type ObjectStoreArguments, objectStoreProfile, objectStoreSchema, resolveObjectStore } from "./arguments";

/** One server with one volume: for development. The outputs are those that AWS S3 has in production. */
export class ObjectStore extends EnsembleComponent {
  /** What clients of S3 are given, the same as `url`. Buckets are in the path, not in the host name. */
  declare readonly endpoint: pulumi.Output<string>;
  declare readonly region: pulumi.Output<string>;
  /** Name in the arguments to name in the store, given out when the bucket exists. */
  declare readonly buckets: pulumi.Output<Record<string, string>>;

  constructor(name: string, args: ObjectStoreArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = claimNames(resolveObjectStore(name, args), args.namespace);
    const { store } = ensemble;
    const bundle = readAgentBundle("objectstore", () => require("../../dist/agents/objectstore.json"));
    super("cells-services:index:ObjectStore", ensemble, args, opts);

    const endpoint = urlOf(ensemble, scheme(ensemble.tls), ports.client);

    const afterGuard = createGuard(ensemble, { bundle }, childOptions(this));
    const credentials = createCredentials(ensemble, { adminUsername }, afterGuard);
    // The same with and without TLS.
    const config = createConfig(ensemble, { [paths.storeFile]: storeConfig(store) }, afterGuard, namesOf(name).config);
    const certificates = createCertificates(
      ensemble,
      // The server reads certificates when it starts, or on a signal that nobody in the pod can send.
      { bundle, restartOn: "any", dependsOn: [credentials.admin] },
      afterGuard,
    );
    const permissions = createPermissions(
      ensemble,
      { network: { client: ports.client, peer: [], metrics: ports.client, internal: [ports.admin] } },
      afterGuard,
    );
    // All that the server reads and does not see change is its root account.
    const configChecksum = checksum(credentials.admin.data);
    const members = createMembers(
      ensemble,
      {
        statefulSet: statefulSet(ensemble, { bundle, configChecksum }, store.region),
        pace,
        roll: { bundle },
        peers: [
          { name: "client", port: ports.client },
          { name: "admin", port: ports.admin },
        ],
        client: ports.client,
        dependsOn: [credentials.admin, ...certificates, ...permissions],
      },
      afterGuard,
    );
    const wanted = checksum(pulumi.all([credentials.checksum, storeConfig(store)]));
    const setup = createSetup(
      ensemble,
      { spec: storeSetupJob(ensemble, bundle, wanted), dependsOn: [...members.ready, config, ...credentials.secrets] },
      afterGuard,
    );
    this.endpoint = endpoint;
    this.region = pulumi.output(store.region);
    this.buckets = setup.id.apply(() => Object.fromEntries(store.buckets.map((bucket) => [bucket, bucket])));
    const applications = createApplications(
      ensemble,
      credentials,
      {
        url: endpoint,
        setup,
        // In the words of AWS, beside those that all services have.
        more: (_, { username, password }) => ({
          accessKeyId: username,
          secretAccessKey: password,
          endpoint,
          region: store.region,
        }),
      },
      afterGuard,
    );
    this.publish({
      url: endpoint,
      ports: { client: ports.client, metrics: ports.client },
      durability: null,
      applications,
    });
  }
}
