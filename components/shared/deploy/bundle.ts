/** The bundle of the in-cluster agent, as a ConfigMap. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
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

/** Reads `dist/agents/<service>.js` of this package, and what it is compressed to, which `npm run build` makes. */
export function readAgentBundle(service: ServiceKind, directory: string = bundleDirectory()): AgentBundle {
  const source = join(directory, `${service}.js`);
  const compressed = `${source}.br`;
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

export function createAgentConfigMap(
  ensemble: Ensemble,
  bundle: AgentBundle,
  options: pulumi.CustomResourceOptions,
): ConfigMap {
  const name = namesOf(ensemble.name).agent;
  return new ConfigMap(
    name,
    { metadata: metadata(ensemble, name), binaryData: { "agent.js.br": bundle.content } },
    options,
  );
}

/** 16 hexadecimal characters: enough to notice any change, short enough to read. */
export function digest(content: string | Buffer): string {
  return createHash("sha256").update(content).digest("hex").slice(0, 16);
}
