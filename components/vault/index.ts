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
  EnsembleComponent,
  encoded,
  jobMetadata,
  metadata,
  namesOf,
  networkPolicy,
  peersService,
  readAgentBundle,
  serviceHost,
  setupDeadlineSeconds,
} from "../shared/deploy";
import { resolveVault, type VaultClusterArguments, type VaultEnsemble } from "./arguments";
import { type PolicyRule, paths, ports, scheme, sealName, tokensName } from "./layout";
import {
  memberRules,
  policyPorts,
  rolloutSeconds,
  sealJob,
  sealPolicy,
  serverConfig,
  setupJobRules,
  statefulSetSpec,
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
    const ensemble = resolveVault(name, args);
    const bundle = readAgentBundle(ensemble.service);
    super("cells-services:index:VaultCluster", ensemble, args, opts);

    const options: pulumi.CustomResourceOptions = { parent: this };
    const names = namesOf(name);
    const { namespace, tls } = ensemble;
    const host = namespace.apply((known) => serviceHost(name, known));
    const url = pulumi.interpolate`${scheme(tls)}://${host}:${ports.client}`;

    const agent = createAgentConfigMap(ensemble, bundle, options);

    // Everything else waits for the preflight: a refused change must not alter what the living members read.
    const judged = createPreflight(ensemble, { bundle, agent }, options);

    const memberAccess = createAccess(ensemble, names.server, memberRules(ensemble), {
      ...judged,
      ...annotated(ensemble.seal),
    });
    const policy = new NetworkPolicy(name, networkPolicy(ensemble, policyPorts), judged);
    const sealEgress = this.createSealPolicy(ensemble, judged);
    const sealed = new Job(
      sealName(name),
      {
        metadata: jobMetadata(ensemble),
        spec: pulumi.output(ensemble.image).apply((image) => sealJob(ensemble, image, bundle)),
      },
      pulumi.mergeOptions(judged, { dependsOn: [agent, policy, ...sealEgress, ...memberAccess.ready] }),
    );
    // What follows alters what the members run with.
    const proven = pulumi.mergeOptions(judged, { dependsOn: [sealed] });

    const secrets = this.createTokenSecrets(ensemble, url, judged);
    const { config, configChecksum } = this.createConfig(ensemble, proven);
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
    const servers = new StatefulSet(
      name,
      { metadata: metadata(ensemble, name), spec: statefulSetSpec(ensemble, { bundle, configChecksum }) },
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
    const setup = new Job(
      names.setup,
      {
        metadata: jobMetadata(ensemble),
        spec: namespace.apply((known) => vaultSetupJob(ensemble, known, bundle)),
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
        spec: namespace.apply((known) => tokensCronJob(ensemble, known, bundle).spec),
      },
      pulumi.mergeOptions(proven, { dependsOn: [setup, ...tokensAccess.ready] }),
    );

    this.publish({ url, ports, durability: null, setup });
  }

  /** The jobs in the cluster add the key `token`, and the certificates agent `ca.crt`, with field managers of their own. */
  private createTokenSecrets(
    { name, applications, policies }: VaultEnsemble,
    url: pulumi.Output<string>,
    options: pulumi.CustomResourceOptions,
  ): Secret[] {
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
          mounts: mountsOf(policies[application] ?? []).join(","),
        }),
      ),
    ];
  }

  private createConfig(ensemble: VaultEnsemble, options: pulumi.CustomResourceOptions) {
    const name = namesOf(ensemble.name).config;
    const content = JSON.stringify(serverConfig(ensemble), null, 2);
    const config = new ConfigMap(
      name,
      { metadata: metadata(ensemble, name), data: { [fileName(paths.configFile)]: content } },
      options,
    );
    return { config, configChecksum: digest(content) };
  }

  private createSealPolicy(ensemble: VaultEnsemble, options: pulumi.CustomResourceOptions): NetworkPolicy[] {
    const policy = sealPolicy(ensemble);
    return policy === undefined ? [] : [new NetworkPolicy(sealName(ensemble.name), policy, options)];
  }
}

/** What AWS wants to read on the service account that it gives a role to. */
function annotated(seal: VaultEnsemble["seal"]): pulumi.CustomResourceOptions {
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
