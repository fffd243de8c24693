/** An object store for development: one S3-compatible server with TLS, a user for each application and the outputs of AWS S3. */
import * as pulumi from "@pulumi/pulumi";
import {
  checksum,
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
  type Login,
  namesOf,
  urlOf,
} from "../shared/deploy";
import { type ObjectStoreArguments, resolveObjectStore } from "./arguments";
import { adminUsername, paths, ports, scheme } from "./layout";
import { pace, statefulSet, storeConfig, storeSetupJob } from "./manifest";

export { type ObjectStoreArguments, objectStoreProfile, objectStoreSchema, resolveObjectStore } from "./arguments";

/** One server with one volume: for development. The outputs are those that AWS S3 has in production. */
export class ObjectStore extends EnsembleComponent {
  /** The endpoint for clients of S3, the same as `url`. Buckets are in the path, not in the host name. */
  declare readonly endpoint: pulumi.Output<string>;
  declare readonly region: pulumi.Output<string>;
  /** Name in the arguments to name in the store. Resolves when the buckets exist. */
  declare readonly buckets: pulumi.Output<Record<string, string>>;

  constructor(name: string, args: ObjectStoreArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = claimNames(resolveObjectStore(name, args), args.namespace);
    const { store } = ensemble;
    super("cells-services:index:ObjectStore", ensemble, args, opts);

    const url = urlOf(ensemble, scheme(ensemble.tls), ports.client);

    const network = { client: ports.client, peer: [], metrics: [], internal: [ports.admin] };
    const afterGuard = createGuard(this, ensemble, { network });
    const credentials = createCredentials(ensemble, { adminUsername }, afterGuard);
    // The store has the same configuration with and without TLS.
    const config = createConfig(ensemble, { [paths.storeFile]: storeConfig(store) }, afterGuard, namesOf(name).config);
    const certificates = createCertificates(
      ensemble,
      // The server reads certificates when it starts, or on a signal that no process in the pod can send.
      { restartOn: "any", dependsOn: [credentials.admin] },
      afterGuard,
    );
    const permissions = createPermissions(ensemble, afterGuard);
    // The server reads its root account only when it starts. The setup changes users and buckets of the running server.
    const configChecksum = checksum(credentials.admin.data);
    const members = createMembers(
      ensemble,
      {
        statefulSet: statefulSet(ensemble, configChecksum, store.region),
        pace,
        peers: ports,
        client: ports.client,
        dependsOn: [credentials.admin, ...certificates, ...permissions],
      },
      afterGuard,
    );
    const wanted = checksum(pulumi.all([credentials.checksum, storeConfig(store)]));
    const setup = createSetup(
      ensemble,
      { spec: storeSetupJob(ensemble, wanted), dependsOn: [...members.ready, config, ...credentials.secrets] },
      afterGuard,
    );
    this.endpoint = url;
    this.region = pulumi.output(store.region);
    this.buckets = setup.id.apply(() => Object.fromEntries(store.buckets.map((bucket) => [bucket, bucket])));
    // The keys that clients of AWS expect, beside those of all services.
    const more = (_: string, { username, password }: Login) => ({
      accessKeyId: username,
      secretAccessKey: password,
      endpoint: url,
      region: store.region,
    });
    const applications = createApplications(ensemble, credentials, { url, setup, more }, afterGuard);
    this.publish({ url, ports: { client: ports.client, metrics: ports.client }, durability: null, applications });
  }
}
