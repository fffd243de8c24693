/** Property values on the wire: secrets, unknown values, assets and references are objects or strings with a signature. */
import { createHash } from "node:crypto";
import { runtime } from "@pulumi/pulumi";

export type Properties = Record<string, unknown>;

export const redacted = "[secret]";
export const unknown = "[unknown]";

/** The value for a reader: secrets redacted leaf by leaf so that their keys stay visible. */
export function readable(value: unknown, secret = false): unknown {
  if (value === runtime.unknownValue) return unknown;
  if (Array.isArray(value)) return value.map((each) => readable(each, secret));
  if (!isObject(value)) return secret && value !== null ? redacted : value;
  switch (value[runtime.specialSigKey]) {
    case runtime.specialSecretSig:
      return readable(value["value"], true);
    case runtime.specialResourceSig:
      return value["urn"];
    case runtime.specialAssetSig:
    case runtime.specialArchiveSig:
      return { asset: secret ? redacted : fingerprint(JSON.stringify(value)) };
    default:
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, readable(each, secret)]));
  }
}

/** The value without the wrapping of secrets. */
export function revealed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(revealed);
  if (!isObject(value)) return value;
  if (value[runtime.specialSigKey] === runtime.specialSecretSig) return revealed(value["value"]);
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, revealed(each)]));
}

/** All strings below the secrets of a value. */
export function secretStrings(value: unknown, secret = false): string[] {
  if (typeof value === "string") return secret && value !== runtime.unknownValue ? [value] : [];
  if (Array.isArray(value)) return value.flatMap((each) => secretStrings(each, secret));
  if (!isObject(value)) return [];
  if (value[runtime.specialSigKey] === runtime.specialSecretSig) return secretStrings(value["value"], true);
  return Object.values(value).flatMap((each) => secretStrings(each, secret));
}

export function asSecret(value: unknown): unknown {
  if (isObject(value) && value[runtime.specialSigKey] === runtime.specialSecretSig) return value;
  return { [runtime.specialSigKey]: runtime.specialSecretSig, value };
}

export function fingerprint(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

export function isObject(value: unknown): value is Properties {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
