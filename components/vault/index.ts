/** Vault: 3 or 5 members with integrated storage that open their seal themselves, with TLS, policies, tokens and one name. */
import { StatefulSet } from "@pulumi/kubernetes/apps/v1/statefulSet";
import { CronJob } from "@pulumi/kubernetes/batch/v1/cronJob";
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import { Secret } from "@pulumi/kubernetes/core/v1/secret";
import { Service } from "@pulumi/kubernetes/core/v1/service";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import { PodDisruptionBudget } from "@pulumi/kubernetes/policy/v1/podDisruptionBudget";
import * as pulumi from "@pulumi/pulumi";
import { applicationSecretName } from "../shared/core/names";
import {
  clientService,
  createAccess,
  createAgentConfigMap,
  createCertificates,
  createPreflight,
  digest,
  disruptionBudget,
  type Ensemble,
  type EnsembleArguments,
  EnsembleComponent,
  encoded,
  jobMetadata,
  metadata,
  namesOf,
  networkPolicy,
  peersService,
  readAgentBundle,
  resolveEnsemble,
  serviceHost,
  setupDeadlineSeconds,
} from "../shared/deploy";
import { type Audit, resolveDetails, type Seal, validateVault, vaultKeys } from "./arguments";
import { type Mount, type PolicyRule, paths, ports, scheme, sealName, tokensName } from "./layout";
import {
  memberRules,
  policyPorts,
  profile,
  rolloutSeconds,
  sealJob,
  sealPolicy,
  serverConfig,
  setupJobRules,
  setupSettings,
  statefulSetSpec,
  tokensCronJob,
  tokensRules,
  type VaultDetails,
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
    const ensemble = resolveVault(name, args);
    const bundle = readAgentBundle(ensemble.service);
    super("cells-services:index:VaultCluster", ensemble, args, opts);

    const options: pulumi.CustomResourceOptions = { parent: this };
    const names = namesOf(name);
    const { namespace, tls } = ensemble;
    const host = namespace.apply((known) => serviceHost(name, known));
    const url = pulumi.interpolate`${scheme(tls)}://${host}:${ports.client}`;
    // The key may be made by the same program, so its name may not be known yet.
    const details = resolveDetails(args);
    const settings = details.apply(({ seal }) => vaultSettings(ensemble, seal));

    const agent = createAgentConfigMap(ensemble, bundle, options);

    // Everything else waits for the preflight: a refused change must not alter what the living members read.
    const judged = createPreflight(ensemble, { bundle, agent }, options);

    const memberAccess = createAccess(ensemble, names.server, memberRules(ensemble, args.seal.type), {
      ...judged,
      ...annotated(args.seal),
    });
    const policy = new NetworkPolicy(name, networkPolicy(ensemble, policyPorts), judged);
    const sealEgress = this.createSealPolicy(args.seal, judged);
    const sealed = new Job(
      sealName(name),
      {
        metadata: jobMetadata(ensemble),
        spec: pulumi
          .all([details, settings])
          .apply(([known, forMembers]) => sealJob(ensemble, known, bundle, forMembers)),
      },
      pulumi.mergeOptions(judged, { dependsOn: [agent, policy, ...sealEgress, ...memberAccess.ready] }),
    );
    // What follows alters what the members run with.
    const proven = pulumi.mergeOptions(judged, { dependsOn: [sealed] });

    const secrets = this.createTokenSecrets(args, url, judged);
    const { config, configChecksum } = this.createConfig(details, proven);
    const certificates = createCertificates(
      ensemble,
      // The agent tells the server to read new certificates.
      { bundle, restartOn: "authority", dependsOn: [agent, ...secrets] },
      judged,
    );
    const peers = new Service(
      names.peers,
      peersService(ensemble, [
        { name: "client", port: ports.client },
        { name: "peer", port: ports.peer },
        { name: "metrics", port: ports.metrics },
      ]),
      judged,
    );
    const beforeServers = [agent, config, policy, peers, sealed, ...certificates, ...memberAccess.ready];
    const rollout = `${rolloutSeconds(ensemble.members)}s`;
    const customTimeouts = { create: rollout, update: rollout, delete: "10m" };
    const spec = pulumi
      .all([details, settings])
      .apply(([known, forMembers]) =>
        statefulSetSpec(ensemble, known, { bundle, configChecksum, settings: forMembers }),
      );
    const servers = new StatefulSet(
      name,
      { metadata: metadata(ensemble, name), spec },
      pulumi.mergeOptions(proven, { dependsOn: beforeServers, customTimeouts }),
    );
    // Beside the StatefulSet: Pulumi waits for a ready member behind it, so nothing may wait for the Service.
    const service = new Service(
      names.server,
      clientService(ensemble, [{ name: "client", port: ports.client }]),
      pulumi.mergeOptions(judged, { dependsOn: beforeServers, customTimeouts }),
    );
    new PodDisruptionBudget(name, disruptionBudget(ensemble), judged);

    const setupAccess = createAccess(ensemble, names.setup, setupJobRules(ensemble), judged);
    const jobInputs = pulumi
      .all([namespace, details])
      .apply(([known, own]) => ({ namespace: known, bundle, settings: setupSettings(ensemble, own) }));
    const setup = new Job(
      names.setup,
      {
        metadata: jobMetadata(ensemble),
        spec: jobInputs.apply((inputs) => vaultSetupJob(ensemble, inputs)),
      },
      pulumi.mergeOptions(proven, {
        dependsOn: [servers, service, ...setupAccess.ready, ...secrets],
        customTimeouts: { create: `${setupDeadlineSeconds + 60}s` },
      }),
    );
    const tokensAccess = createAccess(ensemble, tokensName(name), tokensRules(ensemble), judged);
    new CronJob(
      tokensName(name),
      {
        metadata: metadata(ensemble, tokensName(name)),
        spec: jobInputs.apply((inputs) => tokensCronJob(ensemble, inputs).spec),
      },
      pulumi.mergeOptions(proven, { dependsOn: [setup, ...tokensAccess.ready] }),
    );

    this.publish({ url, ports, durability: null, setup, seal: args.seal.type, audit: args.audit ?? ["stdout"] });
  }

  /** The jobs in the cluster add the key `token`, and the certificates agent `ca.crt`, with field managers of their own. */
  private createTokenSecrets(
    args: VaultClusterArguments,
    url: pulumi.Output<string>,
    options: pulumi.CustomResourceOptions,
  ): Secret[] {
    const { name, applications } = this.ensemble;
    const secret = (secretName: string, values: Record<string, pulumi.Input<string>>): Secret =>
      new Secret(
        secretName,
        { metadata: metadata(this.ensemble, secretName), type: "Opaque", data: encoded({ url, ...values }) },
        options,
      );
    return [
      secret(namesOf(name).admin, {}),
      ...applications.map((application) =>
        secret(applicationSecretName(name, application), {
          mounts: mountsOf(args.policies?.[application] ?? []).join(","),
        }),
      ),
    ];
  }

  private createConfig(details: pulumi.Output<VaultDetails>, options: pulumi.CustomResourceOptions) {
    const name = namesOf(this.ensemble.name).config;
    const content = details.apply(({ seal }) => JSON.stringify(serverConfig(this.ensemble, seal), null, 2));
    const config = new ConfigMap(
      name,
      { metadata: metadata(this.ensemble, name), data: { [fileName(paths.configFile)]: content } },
      options,
    );
    return { config, configChecksum: content.apply(digest) };
  }

  private createSealPolicy(seal: Seal, options: pulumi.CustomResourceOptions): NetworkPolicy[] {
    const policy = sealPolicy(this.ensemble, seal);
    return policy === undefined ? [] : [new NetworkPolicy(sealName(this.ensemble.name), policy, options)];
  }
}

/** What AWS wants to read on the service account that it gives a role to. */
function annotated(seal: Seal): pulumi.CustomResourceOptions {
  if (seal.type !== "awskms" || seal.serviceAccountAnnotations === undefined) return {};
  const annotations = seal.serviceAccountAnnotations;
  return {
    transformations: [
      ({ type, props, opts }) => {
        if (type !== "kubernetes:core/v1:ServiceAccount") return undefined;
        const given = props as { metadata: object };
        return { props: { ...given, metadata: { ...given.metadata, annotations } }, opts };
      },
    ],
  };
}

/** The first part of each path. */
function mountsOf(rules: PolicyRule[]): string[] {
  return [...new Set(rules.map(({ path }) => path.split("/")[0] ?? ""))];
}

function fileName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
