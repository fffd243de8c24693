/** MySQL with Group Replication: 3 or 5 servers of which one is written to, with TLS and one name that follows it. */
import * as pulumi from "@pulumi/pulumi";
import { RandomUuid } from "@pulumi/random/randomUuid";
import {
  agentPorts,
  checksum,
  claimNames,
  createApplications,
  createBackups,
  createCertificates,
  createConfig,
  createCredentials,
  createGateway,
  createGuard,
  createMembers,
  createMonitoring,
  createPassword,
  createPermissions,
  createSecret,
  createSetup,
  EnsembleComponent,
  memoryLimit,
  parseQuantity,
  readAgentBundle,
  seeBackups,
  setupJob,
  urlOf,
} from "../shared/deploy";
import { mysqlAlerts } from "./alerts";
import { type MysqlClusterArguments, resolveMysql } from "./arguments";
import { defaultTransactionBytes, serverConfig } from "./configuration";
import { adminUsername, databaseOf, internalName, paths, ports, reservedConnections } from "./layout";
import { backupInputs, internalPassword, login, pace, policyPorts, statefulSet } from "./manifest";

export { type MysqlClusterArguments, mysqlProfile, mysqlSchema, resolveMysql } from "./arguments";

export class MysqlCluster extends EnsembleComponent {
  constructor(name: string, args: MysqlClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = claimNames(resolveMysql(name, args), args.namespace);
    const { maxConnections } = ensemble;
    super("cells-services:index:MysqlCluster", ensemble, args, opts);

    const url = urlOf(ensemble, "mysql", ports.client);

    const afterGuard = createGuard(this, ensemble, { network: policyPorts, login: login(ensemble) });
    const credentials = createCredentials(ensemble, { adminUsername }, afterGuard);
    // The agents use it, and members towards each other. Members log in only when they start, so it is not rotated.
    const password = createPassword(internalName(name), afterGuard);
    const internal = createSecret(ensemble, internalName(name), { password }, afterGuard);
    const secrets = [credentials.admin, internal];
    // The name of the group never changes, because transactions carry it. A kept volume keeps its first name.
    const { result: group } = new RandomUuid(name, {}, afterGuard);
    const bytes = memoryLimit(ensemble);
    const transactionSizeLimit = parseQuantity(ensemble.transactionSizeLimit ?? "") ?? defaultTransactionBytes(bytes);
    const server = ensemble.namespace.apply((known) =>
      serverConfig({ ...ensemble, memoryLimit: bytes, transactionSizeLimit }, known),
    );
    const config = createConfig(ensemble, { [paths.configFile]: server, [paths.groupKey]: group }, afterGuard);
    const configChecksum = checksum(pulumi.all([server, group]));
    // The agent makes the server read renewed certificates. The server reads a new authority only when it starts.
    const certificates = createCertificates(ensemble, { dependsOn: secrets }, afterGuard);
    const permissions = createPermissions(ensemble, afterGuard, { rules: [seeBackups(ensemble)] });
    const servers = {
      statefulSet: statefulSet(ensemble, configChecksum),
      pace,
      peers: { client: ports.client, metrics: ports.metrics, gateway: agentPorts.gateway },
      dependsOn: [config, ...secrets, ...certificates, ...permissions],
    };
    const members = createMembers(ensemble, servers, afterGuard);
    // Created beside the StatefulSet: the proxies are ready without members too.
    const proxies = {
      port: ports.client,
      // More than the server accepts: the server answers a surplus client, a proxy would let it wait.
      maxConnections: 2 * (maxConnections + reservedConnections),
      dependsOn: [members.peers, ...permissions],
    };
    const gateway = createGateway(ensemble, proxies, afterGuard);
    const credentialsChecksum = checksum(pulumi.all([credentials.checksum, password, maxConnections]));
    const spec = setupJob(ensemble, { credentialsChecksum, paths, mounts: internalPassword(ensemble) });
    const dependsOn = [...members.ready, ...gateway, ...credentials.secrets];
    const setup = createSetup(ensemble, { spec, dependsOn }, afterGuard);
    const program = () => readAgentBundle("mysql-backup", () => require("../../dist/agents/mysql-backup.json"));
    const afterSetup = pulumi.mergeOptions(afterGuard, { dependsOn: [setup] });
    const restored = createBackups(ensemble, () => backupInputs(ensemble, program()), afterSetup);
    const more = (application: string) => ({ database: databaseOf(application) });
    const whenFilled = pulumi.mergeOptions(afterGuard, { dependsOn: restored });
    const applications = createApplications(ensemble, credentials, { url, setup, more }, whenFilled);
    const monitored = {
      alerts: mysqlAlerts,
      dashboard: (): unknown => require("../../dist/dashboards/mysql.json"),
    };
    createMonitoring(ensemble, monitored, pulumi.mergeOptions(afterSetup, { dependsOn: restored }));
    this.publish({ url, ports, durability: "fsync", applications });
  }
}
