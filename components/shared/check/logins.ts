/** How the checks log in: as the administrator, and as each application. Loads no library. */
import type { CheckEnvironment, CheckTarget } from "../core/check";
import type { Credentials } from "../core/users";
import { type CheckContext, everywhere, type Place } from "./context";

export interface Access {
  /** Trust bundle; undefined for plain text. */
  ca: string | undefined;
  /** undefined: without logging in. */
  auth: Credentials | undefined;
}

/** The step `credentials`: administrator and trust bundle; undefined when the step failed. */
export async function administrator({ target, environment, step }: CheckContext): Promise<Access | undefined> {
  const { adminSecret, trust } = target;
  let access: Access | undefined;
  const remedy = `look at the Secret ${adminSecret}${trust === null ? "" : ` and the ConfigMap ${trust}`}`;
  await step("credentials", remedy, async () => {
    access = await adminAccess(target, environment);
    return `administrator ${access.auth?.username ?? ""}${access.ca === undefined ? "" : " and trust bundle"} found`;
  });
  return access;
}

export async function adminAccess(target: CheckTarget, environment: CheckEnvironment): Promise<Access> {
  return {
    auth: credentialsOf(await environment.secret(target.adminSecret), target.adminSecret),
    ca: await trustOf(target, environment),
  };
}

export async function trustOf({ trust }: CheckTarget, environment: CheckEnvironment): Promise<string | undefined> {
  if (trust === null) return undefined;
  const bundle = (await environment.configMap(trust))["ca.crt"];
  if (!bundle) throw new Error(`ca.crt in the ConfigMap ${trust} is missing`);
  return bundle;
}

/** An application's credentials and trust, from its own Secret alone. The Secret must also hold the values `expected`. */
export async function applicationAccess(
  target: CheckTarget,
  environment: CheckEnvironment,
  application: string,
  expected: (values: Record<string, string>) => Record<string, string> = () => ({}),
): Promise<{ access: Access; values: Record<string, string> }> {
  const { values, ca, secret } = await applicationValues(target, environment, application, expected);
  return { access: { auth: credentialsOf(values, secret), ca }, values };
}

/** The same for an application that logs in with something other than a password. */
export async function applicationValues(
  target: CheckTarget,
  environment: CheckEnvironment,
  application: string,
  expected: (values: Record<string, string>) => Record<string, string>,
): Promise<{ values: Record<string, string>; ca: string | undefined; secret: string }> {
  const secret = target.applications[application] ?? "";
  const values = await environment.secret(secret);
  for (const [key, value] of Object.entries(expected(values))) expectValue(secret, key, values[key], value);
  const ca = values["ca.crt"];
  if (target.tls !== "off" && !ca) throw new Error(`ca.crt in the Secret ${secret} is missing`);
  return { values, ca: target.tls === "off" ? undefined : ca, secret };
}

/** The step `application ...`: it logs in everywhere with its own Secret alone. undefined when the step failed. */
export async function enterAsApplication(
  { target, environment, step }: CheckContext,
  application: string,
  {
    places,
    expected,
    enter,
  }: {
    places: Place[];
    /** What the Secret must say, beside user, password and trust. */
    expected: (values: Record<string, string>) => Record<string, string>;
    enter: (place: Place, access: Access) => Promise<unknown>;
  },
): Promise<Access | undefined> {
  const secret = target.applications[application] ?? "";
  let granted: Access | undefined;
  await step(`application ${application}`, `look at the Secret ${secret} and the log of the setup job`, async () => {
    const { access } = await applicationAccess(target, environment, application, expected);
    const entered = await everywhere(places, async (place) => {
      await enter(place, access);
      return `${application} is let in with the Secret ${secret}`;
    });
    granted = access;
    return entered;
  });
  return granted;
}

function expectValue(secret: string, key: string, found: string | undefined, expected: string): void {
  if (found === expected) return;
  // The Secret of an object store repeats user and password under the names of AWS.
  const [seen, wanted] = /key/i.test(key) ? ["another one", "that of the user"] : [found, expected];
  throw new Error(`${key} in the Secret ${secret} is ${found ? (seen ?? "") : "missing"}, expected ${wanted ?? ""}`);
}

function credentialsOf(secret: Record<string, string>, name: string): Credentials {
  const { username, password } = secret;
  if (!username || !password) throw new Error(`username or password in the Secret ${name} is missing`);
  return { username, password };
}
