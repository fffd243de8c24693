/** NATS with JetStream: 3 or 5 servers that elect their leaders, with TLS, an account for each application and one name. */
import { Deployment } from "@pulumi/kubernetes/apps/v1/deployment";
import * as pulumi from "@pulumi/pulumi";
import {
  agentPorts,
  checksum,
  claimNames,
  createAccess,
  createApplications,
  createBackups,
  createCertificates,
  createConfig,
  createCredentials,
  createGuard,
  createLogins,
  createMembers,
  createMonitoring,
  createPermissions,
  createSecret,
  createSetup,
  EnsembleComponent,
  listed,
  readAgentBundle,
  seeBackups,
  urlOf,
} from "../shared/deploy";
import { natsAlerts } from "./alerts";
import { type NatsClusterArguments, resolveNats } from "./arguments";
import { adminUsername, paths, ports, reconcilerName, reconcilerUsername, releaseSeconds, scheme } from "./layout";
import {
  backupInputs,
  login,
  natsSetupJob,
  pace,
  reconcilerDeployment,
  serverConfig,
  serverPorts,
  statefulSet,
  usersConfig,
  usersName,
} from "./manifest";

export { type Durability, type NatsClusterArguments, natsProfile, natsSchema, resolveNats } from "./arguments";

export class NatsCluster extends EnsembleComponent {
  constructor(name: string, args: NatsClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = claimNames(resolveNats(name, args), args.namespace);
    const { durability, namespace } = ensemble;
    super("cells-services:index:NatsCluster", ensemble, args, opts);

    const url = urlOf(ensemble, scheme(ensemble.tls), ports.client);

    // Members ask each other's monitoring port whether they run.
    const network = {
      client: ports.client,
      peer: [ports.peer],
      internal: [ports.metrics],
      metrics: [agentPorts.http],
    };
    const afterGuard = createGuard(this, ensemble, { network, login: login(ensemble), releaseSeconds });
    const takeTurns = ["admin", "applications"] as const;
    const credentials = createCredentials(ensemble, { adminUsername, takeTurns }, afterGuard);
    const own = createLogins(reconcilerName(name), reconcilerUsername, true, ensemble.passwords.rotation, afterGuard);
    const reconciler = createSecret(ensemble, reconcilerName(name), { ...own.current }, afterGuard);
    const server = namespace.apply((known) => serverConfig(ensemble, known));
    const config = createConfig(ensemble, { [paths.configFile]: server }, afterGuard);
    const accounts = pulumi
      .all([credentials.accepted, listed(own)])
      .apply(([accepted, reconciler]) => usersConfig({ ...accepted, reconciler }));
    const users = createSecret(ensemble, usersName(name), { [paths.usersFile]: accounts }, afterGuard);
    const certificates = createCertificates(
      ensemble,
      // The reconciler makes the servers read renewed certificates, and may be away when an authority ends.
      { restartOn: "signer", dependsOn: [credentials.admin] },
      afterGuard,
    );
    const permissions = createPermissions(ensemble, afterGuard);
    const members = createMembers(
      ensemble,
      {
        // The checksum leaves out the users: the setup makes running servers read changed users.
        statefulSet: statefulSet(ensemble, checksum(config.data)),
        pace,
        peers: serverPorts,
        client: ports.client,
        dependsOn: [config, users, ...certificates, ...permissions],
      },
      afterGuard,
    );
    const setup = createSetup(
      ensemble,
      {
        spec: natsSetupJob(ensemble, checksum(accounts)),
        dependsOn: [...members.ready, ...credentials.secrets, users],
      },
      afterGuard,
    );
    const program = () => readAgentBundle("nats-backup", () => require("../../dist/agents/nats-backup.json"));
    const afterSetup = pulumi.mergeOptions(afterGuard, { dependsOn: setup });
    const restored = createBackups(ensemble, () => backupInputs(ensemble, program()), afterSetup);
    const access = createAccess(ensemble, reconcilerName(name), [seeBackups(ensemble)], afterGuard);
    // While streams are restored nobody moves them.
    const whenFilled = pulumi.mergeOptions(afterSetup, { dependsOn: [reconciler, ...access, ...restored] });
    const deployed = reconcilerDeployment(ensemble, checksum(listed(own)));
    const running = new Deployment(reconcilerName(name), deployed, whenFilled);
    const whenRestored = pulumi.mergeOptions(afterGuard, { dependsOn: restored });
    const applications = createApplications(ensemble, credentials, { url, setup }, whenRestored);
    const monitored = {
      alerts: natsAlerts,
      dashboard: (): unknown => require("../../dist/dashboards/nats.json"),
      agent: reconcilerName(name),
    };
    createMonitoring(ensemble, monitored, pulumi.mergeOptions(afterSetup, { dependsOn: [running] }));
    this.publish({ url, ports, durability, applications });
  }
}
