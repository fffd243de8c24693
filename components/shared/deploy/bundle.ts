/** The bundle of the agent, as a ConfigMap that never changes. */
import { createHash } from "node:crypto";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import * as pulumi from "@pulumi/pulumi";
import type { ServiceKind } from "../core/names";
import type { Ensemble } from "./arguments";
import { metadata } from "./network";

export interface AgentBundle {
  /** Base64 of the compressed bundle, for `binaryData`. */
  content: string;
  /** Of the bundle before compression, so that it does not depend on the version of the compressor. */
  checksum: string;
}

export function readAgentBundle(
  service: ServiceKind | `${ServiceKind}-backup` | "gateway",
  load: () => unknown,
): AgentBundle {
  return built<AgentBundle>(`the agent bundle of ${service}`, `agents/${service}.json`, load);
}

/**
 * What `npm run build` made. `load` requires the file by a literal path, so that a program that is itself bundled contains it,
 * and runs only when a component is created, so that a program loads what belongs to the services that it uses.
 */
export function built<T>(what: string, file: string, load: () => unknown): T {
  try {
    return load() as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    throw new pulumi.RunError(
      `${what} is missing: the package cells-services has no file dist/${file}; ` +
        `in a checkout of its sources run "npm run build", elsewhere install the package again`,
    );
  }
}

/** `program` is `namesOf(name).agent`, `.backup` or `.gateway`. */
export function bundleName(program: string, bundle: AgentBundle): string {
  return `${program}-${bundle.checksum}`;
}

/**
 * Another bundle is another ConfigMap. Members, Jobs and CronJobs mount the new one only when their own definition changes, which
 * waits for the guard: a change that the guard refuses does not reach them.
 *
 * A pod that restarts must find the ConfigMap that it mounts. Pulumi deletes the former one in the last step of `up`, when
 * everything else has succeeded: all pods have the new definition then, because `up` waits for the roll of the members. When
 * `up` fails, nothing is deleted. The checksum is in the logical name too: with the logical name of the former ConfigMap, a
 * failed `up` would leave it pending deletion, and the `up` that sets the change back would delete the ConfigMap in use.
 */
export function createBundle(
  ensemble: Ensemble,
  program: string,
  bundle: AgentBundle,
  options: pulumi.CustomResourceOptions,
): ConfigMap {
  const name = bundleName(program, bundle);
  const binaryData = { "agent.js.br": bundle.content };
  // Another version of Node.js may compress the same bundle to other bytes.
  const unchanging = pulumi.mergeOptions(options, { ignoreChanges: ["binaryData"] });
  return new ConfigMap(name, { metadata: metadata(ensemble, name), immutable: true, binaryData }, unchanging);
}

/** 16 hexadecimal characters: enough to notice any change, short enough to read. */
export function digest(content: string | Buffer): string {
  return createHash("sha256").update(content).digest("hex").slice(0, 16);
}
