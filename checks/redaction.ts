export interface Redaction {
  /** Remembers a value that must never be printed. */
  add(value: string): void;
  redact(text: string): string;
}

/** Keys of a Secret that are no secrets: what they hold appears in messages and elsewhere on purpose. */
export const publicKeys: readonly string[] = [
  ...["username", "database", "host", "port"],
  ...["ca.crt", "other.crt", "tls.crt"],
  // The phase of a rotation of the authority and its date; which rotation of passwords.
  ...["state.json", "rotation"],
  // Of an application of the object store.
  ...["accessKeyId", "endpoint", "region"],
  // The same in the words of the chart of Cells.
  "root-user",
  // Of an application of Vault; which initialisation it was, and how many of the shares open it.
  ...["mounts", "attempt", "threshold"],
];

/** Shorter values would blank out ordinary words; generated passwords are much longer. */
const shortestSecret = 6;
const mark = "[secret]";

/**
 * The last line of defence: checks are written so that they print no secrets, and an error text of a client library may
 * still contain one.
 */
export function createRedaction(): Redaction {
  const forms = new Set<string>();
  return {
    add(value) {
      // A key or certificate may be quoted line by line.
      for (const line of [value, ...value.split("\n")]) {
        const text = line.trim();
        if (text.length < shortestSecret || text.startsWith("-----")) continue;
        forms.add(text);
        forms.add(encodeURIComponent(text));
        forms.add(Buffer.from(text).toString("base64"));
        forms.add(JSON.stringify(text).slice(1, -1));
      }
    },
    redact(text) {
      // The longest first: one secret may contain another.
      const ordered = [...forms].sort((a, b) => b.length - a.length);
      return ordered.reduce((clean, form) => clean.replaceAll(form, mark), text);
    },
  };
}

/** Applies the redaction to every text in a value that is going to be printed as JSON. */
export function redactDeep<T>(value: T, redaction: Redaction): T {
  if (typeof value === "string") return redaction.redact(value) as T;
  if (Array.isArray(value)) return value.map((each: unknown) => redactDeep(each, redaction)) as T;
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, redactDeep(each, redaction)])) as T;
  }
  return value;
}
