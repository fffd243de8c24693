/** etcd: 3 or 5 voters that elect their leader, with TLS, passwords and one name. */
import { Deployment } from "@pulumi/kubernetes/apps/v1/deployment";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import * as pulumi from "@pulumi/pulumi";
import { RandomId } from "@pulumi/random/randomId";
import {
  agentPorts,
  allow,
  claimNames,
  clientPolicy,
  copyLeases,
  createAccess,
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
  holdLeases,
  readAgentBundle,
  seeBackups,
  setupJob,
  urlOf,
} from "../shared/deploy";
import { etcdAlerts } from "./alerts";
import { type EtcdClusterArguments, resolveEtcd } from "./arguments";
import { adminUsername, keptName, maintenanceName, paths, ports, scheme, tokenName } from "./layout";
import { backupInputs, baseConfig, login, maintenanceDeployment, ownFiles, pace, statefulSet } from "./manifest";

export { type EtcdClusterArguments, etcdProfile, etcdSchema, resolveEtcd } from "./arguments";

export class EtcdCluster extends EnsembleComponent {
  constructor(name: string, args: EtcdClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = claimNames(resolveEtcd(name, args), args.namespace);
    super("cells-services:index:EtcdCluster", ensemble, args, opts);

    const url = urlOf(ensemble, scheme(ensemble.tls), ports.client);

    // The members still have TLS when `tls` becomes "off", so the guard mounts their trust bundle in any case.
    const guardLogin = login({ ...ensemble, tls: "required" });
    const network = {
      client: ports.client,
      peer: [ports.peer],
      metrics: [ports.metrics, agentPorts.http],
      clientsLater: true,
    };
    const afterGuard = createGuard(this, ensemble, { network, login: guardLogin });
    const credentials = createCredentials(ensemble, { adminUsername, takeTurns: ["applications"] }, afterGuard);
    // The key that signs the tokens of clients: all members accept them.
    const key = createPassword(tokenName(name), afterGuard);
    const authToken = createSecret(ensemble, tokenName(name), { key }, afterGuard);
    const id = new RandomId(`${name}-cluster`, { byteLength: 8 }, afterGuard);
    const content = id.hex.apply((hex) => JSON.stringify(baseConfig(ensemble, `${name}-${hex}`), null, 2));
    const config = createConfig(ensemble, { [paths.baseFile]: content }, afterGuard);
    const certificates = createCertificates(ensemble, { dependsOn: [credentials.admin] }, afterGuard);
    const permissions = createPermissions(ensemble, afterGuard);
    const members = createMembers(
      ensemble,
      {
        statefulSet: statefulSet(ensemble, content.apply(digest)),
        pace,
        login: login(ensemble),
        peers: ports,
        client: ports.client,
        dependsOn: [config, authToken, credentials.admin, ...certificates, ...permissions],
      },
      afterGuard,
    );
    const setup = createSetup(
      ensemble,
      {
        spec: setupJob(ensemble, {
          credentialsChecksum: credentials.checksum,
          paths,
          mounts: ownFiles(ensemble),
        }),
        rules: [allow("", "secrets", ["create", "patch"], [keptName(name)])],
        dependsOn: [...members.ready, ...credentials.secrets],
      },
      afterGuard,
    );
    const access = createAccess(
      ensemble,
      maintenanceName(name),
      [seeBackups(ensemble), ...(ensemble.backups === undefined ? [] : holdLeases(copyLeases(ensemble)))],
      afterGuard,
    );
    const afterSetup = pulumi.mergeOptions(afterGuard, { dependsOn: [setup, ...access] });
    const maintenance = new Deployment(maintenanceName(name), maintenanceDeployment(ensemble), afterSetup);
    const program = () => readAgentBundle("etcd-backup", () => require("../../dist/agents/etcd-backup.json"));
    const restored = createBackups(ensemble, () => backupInputs(ensemble, program()), afterSetup);
    // Members of a new cluster ask for no password until the setup enables authentication, and a watch from before goes on
    // afterwards. So clients reach the members only when the setup is done.
    const whenFilled = pulumi.mergeOptions(afterSetup, { dependsOn: restored });
    const admission = new NetworkPolicy(name, clientPolicy(ensemble, ports.client), whenFilled);
    const whenAdmitted = pulumi.mergeOptions(afterGuard, { dependsOn: [admission] });
    const applications = createApplications(ensemble, credentials, { url, setup }, whenAdmitted);
    const monitored = {
      alerts: etcdAlerts,
      dashboard: (): unknown => require("../../dist/dashboards/etcd.json"),
      agent: maintenanceName(name),
    };
    createMonitoring(ensemble, monitored, pulumi.mergeOptions(whenAdmitted, { dependsOn: [maintenance] }));
    this.publish({ url, ports, durability: null, applications });
  }
}
