/** The bundle of the in-cluster agent, as a ConfigMap that never changes. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
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

/** Reads `dist/agents/<service>.js` of this package, and what it is compressed to, which `npm run build` makes. */
export function readAgentBundle(service: ServiceKind | "gateway", directory: string = bundleDirectory()): AgentBundle {
  const source = join(directory, `${service}.js`);
  const compressed = `${source}.gz`;
  for (const file of [source, compressed]) {
    if (existsSync(file)) continue;
    throw new pulumi.RunError(`the agent bundle of ${service} is missing, looked for ${file}; run "npm run build"`);
  }
  return { content: readFileSync(compressed).toString("base64"), checksum: digest(readFileSync(source)) };
}

/** `dist/agents` beside the package.json above this file, whether this runs from sources or compiled. */
function bundleDirectory(): string {
  let directory = __dirname;
  while (!existsSync(join(directory, "package.json")) && dirname(directory) !== directory) {
    directory = dirname(directory);
  }
  return join(directory, "dist", "agents");
}

/** `program` is `namesOf(name).agent` or `.gateway`. */
export function bundleName(program: string, bundle: AgentBundle): string {
  return `${program}-${bundle.checksum}`;
}

/**
 * Another program is another ConfigMap, so a change that the guard refuses does not reach the members, Jobs and CronJobs that
 * mount the former one: only their own definition, which waits for the guard, names the new one.
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
  return new ConfigMap(
    name,
    { metadata: metadata(ensemble, name), immutable: true, binaryData: { "agent.js.gz": bundle.content } },
    // The same program may be compressed to other bytes by another version of Node.js.
    pulumi.mergeOptions(options, { ignoreChanges: ["binaryData"] }),
  );
}

/** 16 hexadecimal characters: enough to notice any change, short enough to read. */
export function digest(content: string | Buffer): string {
  return createHash("sha256").update(content).digest("hex").slice(0, 16);
}
