/** NATS with JetStream: 3 or 5 servers that elect their leaders, with TLS, an account for each application and one name. */
import { Deployment } from "@pulumi/kubernetes/apps/v1/deployment";
import * as pulumi from "@pulumi/pulumi";
import {
  type Credentials,
  checksum,
  childOptions,
  claimNames,
  createAccess,
  createCertificates,
  createConfig,
  createCredentials,
  createGuard,
  createMembers,
  createPassword,
  createPermissions,
  createSecret,
  createSetup,
  EnsembleComponent,
  readAgentBundle,
  setupJob,
  urlOf,
} from "../shared/deploy";
import { type Durability, type NatsClusterArguments, resolveNats } from "./arguments";
import { adminUsername, paths, ports, reconcilerName, scheme } from "./layout";
import { pace, reconcilerDeployment, serverConfig, statefulSet, usersConfig, usersName } from "./manifest";

export { type Durability, type NatsClusterArguments, natsProfile, natsSchema, resolveNats } from "./arguments";

export class NatsCluster extends EnsembleComponent {
  constructor(name: string, args: NatsClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = claimNames(resolveNats(name, args), args.namespace);
    const { durability } = ensemble;
    const bundle = readAgentBundle("nats", () => require("../../dist/agents/nats.json"));
    super("cells-services:index:NatsCluster", ensemble, args, opts);

    const url = urlOf(ensemble, scheme(ensemble.tls), ports.client);

    const afterGuard = createGuard(ensemble, bundle, childOptions(this));
    const credentials = createCredentials(ensemble, { adminUsername, url }, afterGuard);
    const password = createPassword(reconcilerName(name), afterGuard);
    const reconciler = createSecret(ensemble, reconcilerName(name), { password }, afterGuard);
    const { config, users, configChecksum } = this.createServerConfig(durability, credentials, password, afterGuard);
    const certificates = createCertificates(
      ensemble,
      // The reconciler makes the servers read renewed ones, and may be away when an authority goes.
      { bundle, restartOn: "signer", dependsOn: credentials.secrets },
      afterGuard,
    );
    const permissions = createPermissions(
      ensemble,
      // Members ask each other's monitoring port whether they run.
      { network: { client: ports.client, peer: [ports.peer], internal: [ports.metrics], metrics: ports.metrics } },
      afterGuard,
    );
    const members = createMembers(
      ensemble,
      {
        statefulSet: statefulSet(ensemble, { bundle, configChecksum }),
        pace,
        roll: { bundle },
        peers: [
          { name: "client", port: ports.client },
          { name: "peer", port: ports.peer },
          { name: "metrics", port: ports.metrics },
        ],
        client: ports.client,
        dependsOn: [config, users, ...certificates, ...permissions],
      },
      afterGuard,
    );
    const setup = createSetup(
      ensemble,
      {
        spec: setupJob(ensemble, { bundle, credentialsChecksum: credentials.checksum, paths }),
        dependsOn: [...members.ready, ...credentials.secrets],
      },
      afterGuard,
    );
    // Without both there is nothing to keep.
    if (ensemble.applications.length > 0 || ensemble.tls !== "off") {
      const access = createAccess(ensemble, reconcilerName(name), [], afterGuard);
      new Deployment(
        reconcilerName(name),
        reconcilerDeployment(ensemble, { bundle, credentialsChecksum: checksum(password) }),
        pulumi.mergeOptions(afterGuard, { dependsOn: [setup, reconciler, ...access] }),
      );
    }
    this.publish({ url, ports, durability, passwords: credentials.passwords, setup });
  }

  /** What is no secret in a ConfigMap, users in a Secret. */
  private createServerConfig(
    durability: Durability,
    { adminPassword, passwords }: Credentials,
    reconciler: pulumi.Output<string>,
    options: pulumi.CustomResourceOptions,
  ) {
    const { name, namespace } = this.ensemble;
    const server = namespace.apply((known) => serverConfig(this.ensemble, known, durability));
    const accounts = pulumi.output({ admin: adminPassword, reconciler, applications: passwords }).apply(usersConfig);
    const config = createConfig(this.ensemble, { [paths.configFile]: server }, options);
    const users = createSecret(this.ensemble, usersName(name), { [paths.usersFile]: accounts }, options);
    return { config, users, configChecksum: checksum(pulumi.all([server, accounts])) };
  }
}
