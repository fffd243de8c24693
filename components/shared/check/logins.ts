/** How the checks come in, and how they prove that others do not: the same for all services. Loads no library. */
import type { CheckEnvironment, CheckTarget } from "../core/check";

export interface Credentials {
  username: string;
  password: string;
}

export interface Access {
  /** Trust bundle; undefined for plain text. */
  ca: string | undefined;
  /** undefined: without logging in. */
  auth: Credentials | undefined;
}

/** What a person should look at when `adminAccess` fails. */
export function adminAccessRemedy(target: CheckTarget): string {
  return `look at the Secret ${target.adminSecret}${target.trust === null ? "" : ` and the ConfigMap ${target.trust}`}`;
}

/** The administrator's, with the trust bundle that is published for everybody. */
export async function adminAccess(target: CheckTarget, environment: CheckEnvironment): Promise<Required<Access>> {
  return {
    auth: credentialsOf(await environment.secret(target.adminSecret), target.adminSecret),
    ca: target.trust === null ? undefined : await trustOf(environment, target.trust),
  };
}

/** An application's, with nothing but what its own Secret says, as the application will do it. */
export async function applicationAccess(
  target: CheckTarget,
  environment: CheckEnvironment,
  application: string,
): Promise<{ access: Required<Access>; values: Record<string, string> }> {
  const secret = target.applications[application] ?? "";
  const values = await environment.secret(secret);
  const auth = credentialsOf(values, secret);
  const ca = values["ca.crt"];
  if (target.tls !== "off" && !ca) throw new Error(`ca.crt in the Secret ${secret} is missing`);
  return { access: { auth, ca: target.tls === "off" ? undefined : ca }, values };
}

export function expectUrl(values: Record<string, string>, expected: string): void {
  if (values["url"] !== expected) {
    throw new Error(`url in the Secret is ${values["url"] ?? "missing"}, expected ${expected}`);
  }
}

/** The promise must be rejected for the right reason: a broken connection is no refusal. */
export async function refusal(promise: Promise<unknown>, reason: RegExp, who: string): Promise<string> {
  try {
    await promise;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (reason.test(message)) return `${who} is refused`;
    throw new Error(`${who} got neither in nor a refusal: ${message}`);
  }
  throw new Error(`${who} was let in`);
}

/** What OpenSSL says of a certificate that is signed by nobody it knows. */
export const untrusted = /certificate|self.signed|unable to verify/i;

/** The certificate of an authority that has signed nothing. */
export async function unrelatedAuthority(): Promise<string> {
  const { createAuthority } = await import("../agent/issue.js");
  const now = Date.now();
  return (await createAuthority("unrelated", { notBefore: now - 60_000, notAfter: now + 3_600_000 })).certificate;
}

function credentialsOf(secret: Record<string, string>, name: string): Credentials {
  const { username, password } = secret;
  if (!username || !password) throw new Error(`username or password in the Secret ${name} is missing`);
  return { username, password };
}

async function trustOf(environment: CheckEnvironment, name: string): Promise<string> {
  const trust = (await environment.configMap(name))["ca.crt"];
  if (!trust) throw new Error(`ca.crt in the ConfigMap ${name} is missing`);
  return trust;
}
