/** The bundle of the in-cluster agent, as a ConfigMap. */
import { createHash } from "node:crypto";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import * as pulumi from "@pulumi/pulumi";
import { namesOf, type ServiceKind } from "../core/names";
import type { Ensemble } from "./arguments";
import { metadata } from "./network";

export interface AgentBundle {
  /** Base64 of the compressed bundle, for `binaryData`. */
  content: string;
  /** Of the bundle before compression, so that it does not depend on the version of the compressor. */
  checksum: string;
}

/**
 * The bundle that `npm run build` made. `load` requires the file by a literal path, so that a program that is itself bundled contains the
 * bundle, and runs only when a component is created, so that nobody loads the bundle of a service that he does not use.
 */
export function readAgentBundle(service: ServiceKind, load: () => unknown): AgentBundle {
  try {
    return load() as AgentBundle;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    const file = `dist/agents/${service}.json`;
    throw new pulumi.RunError(
      `the agent bundle of ${service} is missing: the package cells-services has no file ${file}; ` +
        `in a checkout of its sources run "npm run build", elsewhere install the package again`,
    );
  }
}

export function createAgentConfigMap(
  ensemble: Ensemble,
  bundle: AgentBundle,
  options: pulumi.CustomResourceOptions,
): ConfigMap {
  const name = namesOf(ensemble.name).agent;
  return new ConfigMap(
    name,
    { metadata: metadata(ensemble, name), binaryData: { "agent.js.gz": bundle.content } },
    options,
  );
}

/** 16 hexadecimal characters: enough to notice any change, short enough to read. */
export function digest(content: string | Buffer): string {
  return createHash("sha256").update(content).digest("hex").slice(0, 16);
}
