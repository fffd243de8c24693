/** Vault: 3 or 5 members with integrated storage that open their seal themselves, with TLS, policies, tokens and one name. */
import { basename } from "node:path";
import { CronJob } from "@pulumi/kubernetes/batch/v1/cronJob";
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import * as pulumi from "@pulumi/pulumi";
import {
  applicationSecretName,
  claimNames,
  createAccess,
  createAccessElsewhere,
  createApplicationSecrets,
  createBackups,
  createCertificates,
  createConfig,
  createGuard,
  createMembers,
  createMonitoring,
  createPermissions,
  createSecret,
  createSetup,
  digest,
  EnsembleComponent,
  jobMetadata,
  namesOf,
  readAgentBundle,
  seeBackups,
  urlOf,
} from "../shared/deploy";
import { vaultAlerts } from "./alerts";
import { resolveVault, type VaultClusterArguments } from "./arguments";
import { paths, ports, rootName, scheme, sealName, tokensName } from "./layout";
import {
  backupInputs,
  injectedLogin,
  login,
  memberRules,
  mountsOf,
  pace,
  policyPorts,
  sealJob,
  sealPolicy,
  serverConfig,
  serverPorts,
  statefulSet,
  telemetryEndpoint,
  tokensCronJob,
  tokensRules,
  vaultSetupJob,
} from "./manifest";

export {
  type AwsKmsSeal,
  resolveVault,
  type Seal,
  type ShamirSeal,
  type VaultClusterArguments,
  vaultProfile,
  vaultSchema,
} from "./arguments";
export type { Capability, Mount, PolicyRule } from "./layout";

export class VaultCluster extends EnsembleComponent {
  constructor(name: string, args: VaultClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = claimNames(resolveVault(name, args), args.namespace);
    super("cells-services:index:VaultCluster", ensemble, args, opts);

    const url = urlOf(ensemble, scheme(ensemble.tls), ports.client);
    const afterGuard = createGuard(this, ensemble, { network: policyPorts, login: login(ensemble) });
    const annotations = ensemble.seal.type === "awskms" ? ensemble.seal.serviceAccountAnnotations : undefined;
    const rights = { rules: [seeBackups(ensemble), ...memberRules(ensemble)], annotations };
    const permissions = createPermissions(ensemble, afterGuard, rights);
    const policy = sealPolicy(ensemble);
    const keyService = policy === undefined ? [] : [new NetworkPolicy(sealName(name), policy, afterGuard)];
    const sealSpec = pulumi.output(ensemble.image).apply((image) => sealJob(ensemble, image));
    const sealed = new Job(
      sealName(name),
      { metadata: jobMetadata(ensemble), spec: sealSpec },
      pulumi.mergeOptions(afterGuard, { dependsOn: [...permissions, ...keyService] }),
    );
    // A change of what the members read waits for the proof that they can open their seal.
    const afterSeal = pulumi.mergeOptions(afterGuard, { dependsOn: [sealed] });
    // The jobs setup and tokens add the key `token`, the certificates agent adds `ca.crt`, each with its own field manager.
    const secrets = [
      createSecret(ensemble, namesOf(name).admin, { url }, afterGuard),
      ...ensemble.applications.flatMap((each) =>
        createApplicationSecrets(ensemble, each, { url, mounts: mountsOf(ensemble, each) }, afterGuard),
      ),
    ];
    const content = JSON.stringify(serverConfig(ensemble), null, 2);
    const config = createConfig(ensemble, { [basename(paths.configFile)]: content }, afterSeal);
    const configChecksum = digest([content, ...injectedLogin(ensemble)].join("\n"));
    // The agent makes the running server read renewed certificates.
    const certificates = createCertificates(ensemble, { dependsOn: secrets }, afterGuard);
    const members = createMembers(
      ensemble,
      {
        statefulSet: statefulSet(ensemble, configChecksum),
        pace,
        peers: serverPorts,
        client: ports.client,
        dependsOn: [config, sealed, ...certificates, ...permissions],
      },
      afterGuard,
    );
    const spec = vaultSetupJob(ensemble);
    const rules = tokensRules(ensemble, [rootName(name)]);
    const elsewhere = createAccessElsewhere(ensemble, namesOf(name).setup, afterGuard);
    const dependsOn = [...members.ready, ...secrets, ...elsewhere];
    const setup = createSetup(ensemble, { spec, rules, dependsOn }, afterGuard);
    const tokensAccess = [
      ...createAccess(ensemble, tokensName(name), tokensRules(ensemble), afterGuard),
      ...createAccessElsewhere(ensemble, tokensName(name), afterGuard),
    ];
    const afterSetup = pulumi.mergeOptions(afterGuard, { dependsOn: [setup, ...tokensAccess] });
    new CronJob(tokensName(name), tokensCronJob(ensemble), afterSetup);
    const program = () => readAgentBundle("vault-backup", () => require("../../dist/agents/vault-backup.json"));
    const restored = createBackups(ensemble, () => backupInputs(ensemble, program()), afterSetup);

    const applications = Object.fromEntries(
      ensemble.applications.map((application) => {
        // The name of the Secret resolves after the setup, which makes the token, and after a restore.
        const filled = pulumi.all([setup.id, ...restored.map(({ urn }) => urn)]);
        const secret = filled.apply(() => applicationSecretName(name, application));
        return [application, { secret, username: undefined, password: undefined }];
      }),
    );
    const monitored = {
      alerts: vaultAlerts,
      dashboard: (): unknown => require("../../dist/dashboards/vault.json"),
      endpoint: (known: string) => telemetryEndpoint(ensemble, known),
    };
    createMonitoring(ensemble, monitored, pulumi.mergeOptions(afterSetup, { dependsOn: restored }));
    this.publish({ url, ports, durability: null, applications, seal: ensemble.seal.type, audit: ensemble.audit });
  }
}
