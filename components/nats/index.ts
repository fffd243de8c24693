/** NATS with JetStream: 3 or 5 servers that elect their leaders, with TLS, an account for each application and one name. */
import { Deployment } from "@pulumi/kubernetes/apps/v1/deployment";
import * as pulumi from "@pulumi/pulumi";
import {
  checksum,
  childOptions,
  claimNames,
  createAccess,
  createApplications,
  createCertificates,
  createConfig,
  createCredentials,
  createGuard,
  createLogins,
  createMembers,
  createPermissions,
  createSecret,
  createSetup,
  EnsembleComponent,
  type EnsembleUsers,
  type Logins,
  listed,
  readAgentBundle,
  urlOf,
} from "../shared/deploy";
import { type Durability, type NatsClusterArguments, resolveNats } from "./arguments";
import { adminUsername, paths, ports, reconcilerName, reconcilerUsername, releaseSeconds, scheme } from "./layout";
import {
  login,
  natsSetupJob,
  pace,
  reconcilerDeployment,
  serverConfig,
  statefulSet,
  usersConfig,
  usersName,
} from "./manifest";

export { type Durability, type NatsClusterArguments, natsProfile, natsSchema, resolveNats } from "./arguments";

export class NatsCluster extends EnsembleComponent {
  constructor(name: string, args: NatsClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = claimNames(resolveNats(name, args), args.namespace);
    const { durability } = ensemble;
    const bundle = readAgentBundle("nats", () => require("../../dist/agents/nats.json"));
    super("cells-services:index:NatsCluster", ensemble, args, opts);

    const url = urlOf(ensemble, scheme(ensemble.tls), ports.client);

    const afterGuard = createGuard(ensemble, { bundle, login: login(ensemble), releaseSeconds }, childOptions(this));
    const credentials = createCredentials(
      ensemble,
      { adminUsername, takeTurns: ["admin", "applications"] },
      afterGuard,
    );
    const own = createLogins(reconcilerName(name), reconcilerUsername, true, ensemble.passwords.rotation, afterGuard);
    const reconciler = createSecret(ensemble, reconcilerName(name), { ...own.current }, afterGuard);
    const { config, users, accounts } = this.createServerConfig(durability, credentials, own, afterGuard);
    const certificates = createCertificates(
      ensemble,
      // The reconciler makes the servers read renewed ones, and may be away when an authority goes.
      { bundle, restartOn: "signer", dependsOn: [credentials.admin] },
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
        // The setup makes running servers read changed users, so these are in no checksum.
        statefulSet: statefulSet(ensemble, { bundle, configChecksum: checksum(config.data) }),
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
        spec: natsSetupJob(ensemble, bundle, checksum(accounts)),
        dependsOn: [...members.ready, ...credentials.secrets, users],
      },
      afterGuard,
    );
    // Without both there is nothing to keep.
    if (ensemble.applications.length > 0 || ensemble.tls !== "off") {
      const access = createAccess(ensemble, reconcilerName(name), [], afterGuard);
      new Deployment(
        reconcilerName(name),
        reconcilerDeployment(ensemble, { bundle, credentialsChecksum: checksum(listed(own)) }),
        pulumi.mergeOptions(afterGuard, { dependsOn: [setup, reconciler, ...access] }),
      );
    }
    const applications = createApplications(ensemble, credentials, { url, setup }, afterGuard);
    this.publish({ url, ports, durability, applications });
  }

  /** What is no secret in a ConfigMap, users in a Secret. */
  private createServerConfig(
    durability: Durability,
    { accepted }: EnsembleUsers,
    own: Logins,
    options: pulumi.CustomResourceOptions,
  ) {
    const { name, namespace } = this.ensemble;
    const server = namespace.apply((known) => serverConfig(this.ensemble, known, durability));
    const accounts = pulumi
      .all([accepted, listed(own)])
      .apply(([known, reconciler]) => usersConfig({ ...known, reconciler }));
    const config = createConfig(this.ensemble, { [paths.configFile]: server }, options);
    const users = createSecret(this.ensemble, usersName(name), { [paths.usersFile]: accounts }, options);
    return { config, users, accounts };
  }
}
