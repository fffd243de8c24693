import * as pulumi from "@pulumi/pulumi";
import { awsHost } from "../components/shared/core/aws";
import type { EnsembleArguments } from "../components/shared/deploy";
import type { AwsKmsSeal } from "../components/vault";
import { createAws } from "./aws";
import { awsNames, backupsPrefix } from "./aws/names";
import { vaultForCells } from "./cells";
import { type AwsConfig, type ServiceName, type StackConfig, servicesWithBackups } from "./config";
import type { Environment } from "./services";

/** Of each service of several members. */
const common = {
  members: 3,
  placement: { spread: "required", zones: true },
  applications: ["cells"],
  deletion: "keep",
} satisfies Partial<EnsembleArguments>;

export const environment: Environment = {
  services: {
    etcd: common,
    vault: {
      ...common,
      ...vaultForCells,
    },
    nats: {
      ...common,
      // Acknowledged messages survive the power failure of all members at once.
      durability: "fsync",
    },
    redis: {
      ...common,
      durability: "everysecond",
      // Cells keeps nothing in it that it could not read again.
      eviction: "allkeys-lru",
    },
    mongodb: common,
    mysql: {
      ...common,
      // What Cells asks for: pools of each of its processes.
      maxConnections: 500,
    },
  },
  protect: true,
  refusals,
};

/** Three members on three hosts in different zones, keys and files in AWS; volumes outlive the stack. */
export function prod(config: StackConfig): Environment {
  return config.aws === undefined ? environment : onAws(config, config.aws);
}

/** The services with the key, the roles, the volumes and the bucket that the stack makes for them. */
function onAws(config: StackConfig, aws: AwsConfig): Environment {
  const { storageClass, region, keys, roles, cluster, backups: bucket } = awsNames(aws);
  // Not both: the server would prefer the role of the annotation.
  const login = ({ arn }: { arn: string }) =>
    cluster === undefined
      ? { serviceAccountAnnotations: { "eks.amazonaws.com/role-arn": arn } }
      : { podIdentity: true };
  const seal: Partial<AwsKmsSeal> = {
    type: "awskms",
    region,
    keyId: keys.vault,
    ...(aws.endpoint === undefined ? {} : { endpoint: aws.endpoint }),
    ...login(roles.vault),
  };
  const store = {
    url: aws.endpoint ?? `https://${awsHost("s3", region)}`,
    region,
    bucket,
    prefix: backupsPrefix,
  };
  // A stack file that names a store names all of it: half of each would be a third one.
  const withBackups = servicesWithBackups.filter((service) => {
    const given = config[service];
    return !("backups" in given) || given.backups?.store === undefined;
  });
  const { vault, ...others } = environment.services;
  const services = { ...others, vault: { ...vault, seal } };
  const complete = (Object.entries(services) as [ServiceName, object][]).map(([service, args]) => [
    service,
    {
      ...args,
      storage: { class: storageClass },
      ...(withBackups.includes(service) ? { backups: { store: { ...store, ...login(roles.backups(service)) } } } : {}),
    },
  ]);
  return {
    ...environment,
    services: Object.fromEntries(complete) as Environment["services"],
    surroundings: (kubernetes) => createAws(config, aws, kubernetes),
  };
}

/** The configuration may make prod larger, not weaker. */
function refusals(config: StackConfig, services: readonly ServiceName[]): string[] {
  return [
    ...namespaceRefusals(config),
    ...awsRefusals(config),
    ...services.flatMap((service) => serviceRefusals(config, service)),
  ];
}

function namespaceRefusals({ namespace }: StackConfig): string[] {
  return namespace === "default" || namespace.startsWith("kube-")
    ? [refusal("namespace", "a namespace of the services alone", namespace, 'use a name like "cells"')]
    : [];
}

function awsRefusals({ aws }: StackConfig): string[] {
  if (aws !== undefined) return [];
  const key = `${pulumi.getProject()}:aws`;
  return [
    `${key} is missing in prod, which keeps the key of Vault, files and backups there; give region, prefix, and oidcProvider or cluster`,
  ];
}

function serviceRefusals(config: StackConfig, service: ServiceName): string[] {
  const { placement, storage, storageReason, tls, tlsReason, deletion } = config[service];
  const durability = service === "nats" ? config.nats.durability : undefined;
  const key = (name: string): string => `${service}.${name}`;
  const problems: string[] = [];
  const seal = service === "vault" ? config.vault.seal?.type : undefined;
  if (seal === "shamir") {
    const advice = "give the region and the id of a KMS key, so that no key lies in the cluster";
    problems.push(refusal(key("seal.type"), '"awskms"', seal, advice));
  }
  if (placement?.spread === "preferred") {
    const advice = "remove it, and give the cluster a node for each member";
    problems.push(refusal(key("placement.spread"), '"required"', placement.spread, advice));
  }
  if (placement?.zones === false) {
    const advice = "remove it, and give the cluster nodes in three zones";
    problems.push(refusal(key("placement.zones"), "true", placement.zones, advice));
  }
  // Whether another class encrypts is known to the cluster alone, and nothing is asked there before the update.
  const ownClass = config.aws && awsNames(config.aws).storageClass;
  if (
    storage?.class !== undefined &&
    ownClass !== undefined &&
    storage.class !== ownClass &&
    storageReason === undefined
  ) {
    const advice = `remove it, or say how it encrypts in ${pulumi.getProject()}:${key("storageReason")}`;
    problems.push(
      refusal(key("storage.class"), `${JSON.stringify(ownClass)}, whose volumes are encrypted,`, storage.class, advice),
    );
  }
  if ((tls === "optional" || tls === "off") && tlsReason === undefined) {
    const advice = `remove it, or say why in ${pulumi.getProject()}:${key("tlsReason")}`;
    problems.push(refusal(key("tls"), '"required"', tls, advice));
  }
  if (durability === "replicated") {
    const advice = "remove it, since acknowledged messages must survive a power failure of all members";
    problems.push(refusal(key("durability"), '"fsync"', durability, advice));
  }
  if (deletion === "delete") {
    const advice = "remove it, and delete the volumes by hand after a destroy";
    problems.push(refusal(key("deletion"), '"keep"', deletion, advice));
  }
  return problems;
}

const refusal = (key: string, accepted: string, got: unknown, advice: string): string =>
  `${pulumi.getProject()}:${key} must be ${accepted} in prod, got ${JSON.stringify(got)}; ${advice}`;
