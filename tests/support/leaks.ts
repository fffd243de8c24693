/** Finds the values of Secrets where they must not be. */
import { publicKeys } from "../../checks/redaction";

export interface SecretObject {
  metadata: { name: string };
  /** base64 */
  data?: Record<string, string>;
}

export interface SecretValue {
  /** Secret and key: an error must never show the value itself. */
  where: string;
  /** As in the Secret: base64 of every byte. */
  data: string;
  text: string;
}

/** Every value of every Secret that is not public. */
export function secretValues(secrets: readonly SecretObject[]): SecretValue[] {
  return secrets.flatMap(({ metadata, data }) =>
    Object.entries(data ?? {})
      .map(([key, value]) => ({ key, data: value, text: Buffer.from(value, "base64").toString() }))
      .filter(({ text }) => text !== "")
      .filter(({ key, text }) => (key === "url" ? passwordOfUrl(text) !== undefined : !publicKeys.includes(key)))
      .map(({ key, ...value }) => ({ where: `${metadata.name}/${key}`, ...value })),
  );
}

/** One line for each value and place that holds it, without the value. */
export function leaks(values: readonly SecretValue[], places: Record<string, string>): string[] {
  return values.flatMap((value) => {
    const forms = formsOf(value);
    return Object.entries(places)
      .filter(([, content]) => forms.some((form) => content.includes(form)))
      .map(([place]) => `${value.where} is in ${place}`);
  });
}

/** How a value may look elsewhere: as it is, without its last line end, in part, as base64, inside JSON. */
function formsOf({ data, text }: SecretValue): string[] {
  const parts = [text, text.trim(), ...linesOfPem(text), ...passwordsIn(text)];
  return [...new Set([data, ...parts.flatMap((each) => [each, base64(each), inJson(each)])])];
}

/** The first line holds the beginning of the key itself; the last ones may be its public half, which a certificate shows. */
function linesOfPem(text: string): string[] {
  const [begin = "", first = ""] = text.trim().split("\n");
  return begin.startsWith("-----BEGIN") && first.length >= 32 ? [first] : [];
}

function passwordsIn(text: string): string[] {
  const quoted = [...text.matchAll(/password: "([^"]+)"/g)].map(([, password = ""]) => password);
  const ofUrl = passwordOfUrl(text);
  return ofUrl === undefined ? quoted : [...quoted, ofUrl];
}

const passwordOfUrl = (text: string): string | undefined => /:\/\/[^:@/\s]*:([^@/\s]+)@/.exec(text)?.[1];

const base64 = (text: string): string => Buffer.from(text).toString("base64");

const inJson = (text: string): string => JSON.stringify(text).slice(1, -1);
