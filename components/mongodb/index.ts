/** MongoDB: a replica set of 3 or 5 members that elect their primary, with TLS and a database for each application. */
import * as pulumi from "@pulumi/pulumi";
import {
  adminLogin,
  agentPorts,
  claimNames,
  createApplications,
  createBackups,
  createCertificates,
  createConfig,
  createCredentials,
  createGuard,
  createMembers,
  createMonitoring,
  createPassword,
  createPermissions,
  createSecret,
  createSetup,
  digest,
  EnsembleComponent,
  readAgentBundle,
  seeBackups,
} from "../shared/deploy";
import { mongodbAlerts } from "./alerts";
import { type MongodbClusterArguments, resolveMongodb } from "./arguments";
import { address, adminUsername, databaseOf, keyName, paths, ports } from "./layout";
import { backupInputs, mongodbSetupJob, pace, policyPorts, serverConfig, statefulSet } from "./manifest";

export { type MongodbClusterArguments, mongodbProfile, mongodbSchema, resolveMongodb } from "./arguments";

export class MongodbCluster extends EnsembleComponent {
  constructor(name: string, args: MongodbClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = claimNames(resolveMongodb(name, args), args.namespace);
    super("cells-services:index:MongodbCluster", ensemble, args, opts);

    const addressOf = (database?: string): pulumi.Output<string> =>
      ensemble.namespace.apply((namespace) => address({ ...ensemble, namespace, database }));
    const url = addressOf();

    const login = adminLogin(ensemble, paths);
    const afterGuard = createGuard(this, ensemble, { network: policyPorts, login });
    const credentials = createCredentials(ensemble, { adminUsername, takeTurns: ["applications"] }, afterGuard);
    // The key of the set: every process that has it can join as a member.
    const key = createPassword(keyName(name), afterGuard);
    const memberKey = createSecret(ensemble, keyName(name), { key }, afterGuard);
    // JSON is valid YAML.
    const content = JSON.stringify(serverConfig(ensemble), null, 2);
    const config = createConfig(ensemble, { [paths.configFile]: content }, afterGuard);
    // The agents make running servers read renewed certificates.
    const certificates = createCertificates(ensemble, { dependsOn: [credentials.admin] }, afterGuard);
    const permissions = createPermissions(ensemble, afterGuard, { rules: [seeBackups(ensemble)] });
    const servers = {
      statefulSet: statefulSet(ensemble, digest(content)),
      pace,
      peers: { client: ports.client, metrics: agentPorts.http },
      // A Service for clients that need one name. Drivers take the members from `url`.
      client: ports.client,
      dependsOn: [config, memberKey, credentials.admin, ...certificates, ...permissions],
    };
    const members = createMembers(ensemble, servers, afterGuard);
    const spec = mongodbSetupJob(ensemble, credentials.checksum);
    const setup = createSetup(ensemble, { spec, dependsOn: [...members.ready, ...credentials.secrets] }, afterGuard);
    const program = () => readAgentBundle("mongodb-backup", () => require("../../dist/agents/mongodb-backup.json"));
    const afterSetup = pulumi.mergeOptions(afterGuard, { dependsOn: [setup] });
    const restored = createBackups(ensemble, () => backupInputs(ensemble, program()), afterSetup);
    // An application learns its password when the data of a copy are there.
    const whenFilled = pulumi.mergeOptions(afterGuard, { dependsOn: restored });
    const more = (each: string) => ({ database: databaseOf(each), url: addressOf(databaseOf(each)) });
    const applications = createApplications(ensemble, credentials, { url, setup, more }, whenFilled);
    const monitored = {
      alerts: mongodbAlerts,
      dashboard: (): unknown => require("../../dist/dashboards/mongodb.json"),
    };
    createMonitoring(ensemble, monitored, pulumi.mergeOptions(afterSetup, { dependsOn: restored }));
    this.publish({ url, ports: { client: ports.client, metrics: agentPorts.http }, durability: null, applications });
  }
}
