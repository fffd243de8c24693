/** Vault: 3 or 5 members with integrated storage that open their seal themselves, with TLS, policies, tokens and one name. */
import { basename } from "node:path";
import { CronJob } from "@pulumi/kubernetes/batch/v1/cronJob";
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import { Secret } from "@pulumi/kubernetes/core/v1/secret";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import * as pulumi from "@pulumi/pulumi";
import {
  childOptions,
  claimNames,
  createAccess,
  createApplicationSecret,
  createCertificates,
  createConfig,
  createGuard,
  createMembers,
  createPermissions,
  createSecret,
  createSetup,
  digest,
  type Ensemble,
  type EnsembleArguments,
  EnsembleComponent,
  jobMetadata,
  metadata,
  namesOf,
  readAgentBundle,
  resolveEnsemble,
  serverMetadata,
  urlOf,
} from "../shared/deploy";
import { type Audit, resolveDetails, type Seal, validateVault, vaultKeys } from "./arguments";
import { type Mount, type PolicyRule, paths, ports, scheme, sealName, tokensName } from "./layout";
import {
  memberRules,
  pace,
  policyPorts,
  profile,
  sealJob,
  sealPolicy,
  serverConfig,
  setupJobRules,
  setupSettings,
  statefulSet,
  tokensCronJob,
  tokensRules,
  vaultSettings,
  vaultSetupJob,
} from "./manifest";

export type { Audit, AwsKmsSeal, Seal, ShamirSeal } from "./arguments";
export type { Capability, Mount, PolicyRule } from "./layout";

export type VaultClusterArguments = EnsembleArguments & {
  /**
   * What opens Vault after a restart. "shamir": key shares in a Secret, for development. "awskms": a key of AWS KMS, and
   * nothing in the cluster.
   */
  seal: Seal;
  /** Mounts of the key-value engine, version 2, by path. Default: none. One that is left out later stays, with its data. */
  mounts?: Record<string, Mount>;
  /** What each application may do, by application. */
  policies?: Record<string, PolicyRule[]>;
  /** Where requests are recorded. Default: ["stdout"], the log of the server. */
  audit?: Audit;
  tokens?: {
    /**
     * How long a token lives after its last renewal, default 30: renewed daily, so a month without the job passes
     * unnoticed. Vault allows 32 at most.
     */
    periodDays?: number;
  };
};

/** The arguments with all defaults; throws one error that lists every mistake. Creates nothing. */
export function resolveVault(name: string, args: VaultClusterArguments): Ensemble {
  return resolveEnsemble(profile, name, args, {
    keys: vaultKeys,
    validate: (problem) => validateVault(args, problem),
  });
}

export class VaultCluster extends EnsembleComponent {
  constructor(name: string, args: VaultClusterArguments, opts: pulumi.ComponentResourceOptions = {}) {
    const ensemble = claimNames(resolveVault(name, args), args.namespace);
    const bundle = readAgentBundle("vault", () => require("../../dist/agents/vault.json"));
    super("cells-services:index:VaultCluster", ensemble, args, opts);

    const url = urlOf(ensemble, scheme(ensemble.tls), ports.client);
    // The key may be made by the same program, so its name may not be known yet.
    const details = resolveDetails(args);
    const settings = details.apply(({ seal }) => vaultSettings(ensemble, seal));

    const afterGuard = createGuard(ensemble, bundle, childOptions(this));
    const permissions = createPermissions(
      ensemble,
      {
        network: policyPorts,
        rules: memberRules(ensemble, args.seal.type),
        annotations: args.seal.type === "awskms" ? args.seal.serviceAccountAnnotations : undefined,
      },
      afterGuard,
    );
    const sealed = new Job(
      sealName(name),
      {
        metadata: jobMetadata(ensemble),
        spec: pulumi
          .all([details, settings])
          .apply(([known, forMembers]) => sealJob(ensemble, known, bundle, forMembers)),
      },
      pulumi.mergeOptions(afterGuard, { dependsOn: [...permissions, ...this.createSealPolicy(args.seal, afterGuard)] }),
    );
    // What alters what the members run with waits for the proof that they can open their seal.
    const afterSeal = pulumi.mergeOptions(afterGuard, { dependsOn: [sealed] });
    const secrets = this.createTokenSecrets(args, url, afterGuard);
    const content = details.apply(({ seal }) => JSON.stringify(serverConfig(ensemble, seal), null, 2));
    const config = createConfig(ensemble, { [basename(paths.configFile)]: content }, afterSeal);
    const certificates = createCertificates(
      ensemble,
      // The agent tells the server to read new certificates.
      { bundle, restartOn: "authority", dependsOn: secrets },
      afterGuard,
    );
    const configChecksum = content.apply(digest);
    const spec = pulumi
      .all([details, settings])
      .apply(
        ([known, forMembers]) => statefulSet(ensemble, known, { bundle, configChecksum, settings: forMembers }).spec,
      );
    const members = createMembers(
      ensemble,
      {
        statefulSet: { metadata: serverMetadata(ensemble), spec },
        pace,
        peers: [
          { name: "client", port: ports.client },
          { name: "peer", port: ports.peer },
          { name: "metrics", port: ports.metrics },
        ],
        client: ports.client,
        dependsOn: [config, sealed, ...certificates, ...permissions],
      },
      afterGuard,
    );
    const jobInputs = pulumi
      .all([ensemble.namespace, details])
      .apply(([known, own]) => ({ namespace: known, bundle, settings: setupSettings(ensemble, own) }));
    const setup = createSetup(
      ensemble,
      {
        spec: jobInputs.apply((inputs) => vaultSetupJob(ensemble, inputs)),
        rules: setupJobRules(ensemble),
        dependsOn: [...members.ready, ...secrets],
      },
      afterGuard,
    );
    const tokensAccess = createAccess(ensemble, tokensName(name), tokensRules(ensemble), afterGuard);
    new CronJob(
      tokensName(name),
      {
        metadata: metadata(ensemble, tokensName(name)),
        spec: jobInputs.apply((inputs) => tokensCronJob(ensemble, inputs).spec),
      },
      pulumi.mergeOptions(afterGuard, { dependsOn: [setup, ...tokensAccess] }),
    );

    this.publish({ url, ports, durability: null, setup, seal: args.seal.type, audit: args.audit ?? ["stdout"] });
  }

  /** The jobs in the cluster add the key `token`, and the certificates agent `ca.crt`, with field managers of their own. */
  private createTokenSecrets(
    args: VaultClusterArguments,
    url: pulumi.Output<string>,
    options: pulumi.CustomResourceOptions,
  ): Secret[] {
    return [
      createSecret(this.ensemble, namesOf(this.ensemble.name).admin, { url }, options),
      ...this.ensemble.applications.map((application) => {
        const mounts = mountsOf(args.policies?.[application] ?? []).join(",");
        return createApplicationSecret(this.ensemble, application, { url, mounts }, options);
      }),
    ];
  }

  private createSealPolicy(seal: Seal, options: pulumi.CustomResourceOptions): NetworkPolicy[] {
    const policy = sealPolicy(this.ensemble, seal);
    return policy === undefined ? [] : [new NetworkPolicy(sealName(this.ensemble.name), policy, options)];
  }
}

/** The first part of each path. */
function mountsOf(rules: PolicyRule[]): string[] {
  return [...new Set(rules.map(({ path }) => path.split("/")[0] ?? ""))];
}
