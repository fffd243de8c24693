/** What the providers of a program would answer: names and identities of Kubernetes, values of random. */
import { createHash } from "node:crypto";
import { runtime } from "@pulumi/pulumi";
import { asSecret, fingerprint, isObject, type Properties, revealed } from "./values";

export interface ProviderState {
  /** None when only the provider can know it. */
  id: string | undefined;
  state: Properties;
}

export interface ProviderRequest {
  urn: string;
  type: string;
  name: string;
  inputs: Properties;
  preview: boolean;
}

export function createResource(request: ProviderRequest): ProviderState {
  const { type, name, inputs, preview } = request;
  if (type.startsWith("kubernetes:")) return kubernetesObject(request);
  if (type.startsWith("random:")) return randomValue(request);
  return { id: preview ? undefined : `${name}-id`, state: inputs };
}

const clusterScoped = /:(Namespace|Node|PersistentVolume|StorageClass|ClusterRole|ClusterRoleBinding|PriorityClass)$/;

/** The official provider names an object that has no name itself, already in a preview; its uid only the server knows. */
function kubernetesObject({ urn, type, name, inputs, preview }: ProviderRequest): ProviderState {
  const metadata = inputs["metadata"] ?? {};
  if (!isObject(metadata)) return { id: undefined, state: inputs };
  const objectName = metadata["name"] ?? `${name}-${fingerprint(urn).slice(0, 8)}`;
  const namespace = clusterScoped.test(type) ? undefined : (metadata["namespace"] ?? "default");
  const path = [namespace, objectName].filter((each) => typeof each === "string" && each !== runtime.unknownValue);
  return {
    id: preview ? undefined : path.map(String).join("/"),
    state: {
      ...inputs,
      metadata: {
        ...metadata,
        name: objectName,
        ...(namespace === undefined ? {} : { namespace }),
        uid: preview ? runtime.unknownValue : `uid-${fingerprint(urn)}`,
      },
    },
  };
}

/** The same value in each run, another one for each URN and each set of keepers. */
function randomValue({ urn, type, inputs, preview }: ProviderRequest): ProviderState {
  if (preview) return { id: undefined, state: inputs };
  const plain = revealed(inputs) as { length?: number; byteLength?: number };
  const seed = `${urn}:${JSON.stringify(revealed(inputs["keepers"] ?? {}))}`;
  switch (type) {
    case "random:index/randomPassword:RandomPassword":
      return { id: "none", state: { ...inputs, result: asSecret(characters(seed, plain.length ?? 32)) } };
    case "random:index/randomString:RandomString":
      return { id: "none", state: { ...inputs, result: characters(seed, plain.length ?? 32) } };
    case "random:index/randomBytes:RandomBytes": {
      const bytes = Buffer.from(characters(seed, plain.length ?? 32));
      const state = { base64: asSecret(bytes.toString("base64")), hex: asSecret(bytes.toString("hex")) };
      return { id: "none", state: { ...inputs, ...state } };
    }
    case "random:index/randomId:RandomId": {
      const bytes = Buffer.from(characters(seed, plain.byteLength ?? 8));
      return { id: bytes.toString("base64url"), state: { ...inputs, hex: bytes.toString("hex") } };
    }
    case "random:index/randomUuid:RandomUuid": {
      const hex = createHash("sha256").update(seed).digest("hex");
      const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)];
      const result = parts.join("-");
      return { id: result, state: { ...inputs, result } };
    }
    default:
      throw new Error(`the recorder knows no values for ${type}; add them to tests/support/providers.ts`);
  }
}

function characters(seed: string, length: number): string {
  let text = "";
  for (let block = 0; text.length < length; block += 1) {
    text += createHash("sha256")
      .update(`${seed}:${block}`)
      .digest("base64")
      .replace(/[^A-Za-z0-9]/g, "");
  }
  return text.slice(0, length);
}
