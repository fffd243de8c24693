/** Redis with Sentinel: 3 or 5 members of which one is master, with TLS, a user for each application and one address. */
import * as pulumi from "@pulumi/pulumi";
import {
  adminLogin,
  agentPorts,
  checksum,
  claimNames,
  createApplications,
  createCertificates,
  createConfig,
  createCredentials,
  createGateway,
  createGuard,
  createLogins,
  createMembers,
  createMonitoring,
  createPermissions,
  createSecret,
  createSetup,
  EnsembleComponent,
  type EnsembleUsers,
  listed,
  seeBackups,
  setupJob,
  urlOf,
} from "../shared/deploy";
import { redisAlerts } from "./alerts";
import { type RedisClusterArguments, resolveRedis } from "./arguments";
import {
  adminUsername,
  formerKey,
  internalName,
  internalUsers,
  paths,
  ports,
  rotationKey,
  scheme,
  usersName,
} from "./layout";
import { pace, policyPorts, serverConfig, statefulSet, usersConfig } from "./manifest";

export {
  type Durability,
  type Eviction,
  type RedisClusterArguments,
  redisProfile,
  redisSchema,
  resolveRedis,
} from "./arguments";

export class RedisCluster extends EnsembleComponent {
  constructor(name: string, args: RedisClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = claimNames(resolveRedis(name, args), args.namespace);
    const { durability, eviction } = ensemble;
    super("cells-services:index:RedisCluster", ensemble, args, opts);

    const url = urlOf(ensemble, scheme(ensemble.tls), ports.client);

    const login = adminLogin(ensemble, paths);
    const afterGuard = createGuard(this, ensemble, { network: policyPorts, login });
    const credentials = createCredentials(ensemble, { adminUsername }, afterGuard);
    const { internal, users } = this.createUsers(credentials, afterGuard);
    const content = serverConfig(ensemble, durability, eviction);
    const config = createConfig(ensemble, { [paths.configFile]: content }, afterGuard);
    // The agents make running servers and Sentinels read renewed certificates.
    const certificates = createCertificates(ensemble, { dependsOn: [credentials.admin] }, afterGuard);
    const permissions = createPermissions(ensemble, afterGuard, { rules: [seeBackups(ensemble)] });
    const servers = {
      // The agents give changed users and passwords to running members, so the checksum leaves them out.
      statefulSet: statefulSet(ensemble, checksum(pulumi.output(content))),
      pace,
      peers: { ...ports, metrics: agentPorts.http, gateway: agentPorts.gateway },
      dependsOn: [config, users, internal, ...certificates, ...permissions],
    };
    const members = createMembers(ensemble, servers, afterGuard);
    // Created beside the StatefulSet: the proxies are ready without members too.
    const proxies = { port: ports.client, dependsOn: [members.peers, ...permissions] };
    const gateway = createGateway(ensemble, proxies, afterGuard);
    const spec = setupJob(ensemble, { credentialsChecksum: credentials.checksum, paths });
    const dependsOn = [...members.ready, ...gateway, ...credentials.secrets];
    const setup = createSetup(ensemble, { spec, dependsOn }, afterGuard);
    const applications = createApplications(ensemble, credentials, { url, setup }, afterGuard);
    const monitored = {
      alerts: redisAlerts,
      dashboard: (): unknown => require("../../dist/dashboards/redis.json"),
    };
    createMonitoring(ensemble, monitored, pulumi.mergeOptions(afterGuard, { dependsOn: [setup] }));
    this.publish({ url, ports: { client: ports.client, metrics: agentPorts.http }, durability, applications });
  }

  private createUsers({ accepted }: EnsembleUsers, options: pulumi.CustomResourceOptions) {
    const { name, passwords } = this.ensemble;
    // Members, Sentinels and agents log in to each other with these.
    const internal = internalUsers.map((user) => ({
      user,
      ...createLogins(`${internalName(name)}-${user}`, user, false, passwords.rotation, options),
    }));
    const shown: Record<string, pulumi.Input<string>> = {};
    for (const { user, current, former } of internal) {
      shown[user] = current.password;
      if (former !== undefined) shown[formerKey(user)] = former.password;
    }
    shown[rotationKey] = String(passwords.rotation);
    const content = pulumi
      .all([accepted, pulumi.all(internal.map(listed))])
      .apply(([known, own]) => usersConfig({ ...known, internal: own }));
    return {
      internal: createSecret(this.ensemble, internalName(name), shown, options),
      users: createSecret(this.ensemble, usersName(name), { [paths.usersFile]: content }, options),
    };
  }
}
