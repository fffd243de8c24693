/** Passwords and the Secrets that hold them: one for the administrator, one for each application, one for the setup. */
import { Secret } from "@pulumi/kubernetes/core/v1/secret";
import * as pulumi from "@pulumi/pulumi";
import { RandomPassword } from "@pulumi/random/randomPassword";
import { alternateName, applicationSecretName, namesOf } from "../core/names";
import { setupUsers } from "../core/settings";
import type { Users } from "../core/users";
import type { Ensemble } from "./arguments";
import { digest } from "./bundle";
import type { Application } from "./component";
import { metadata } from "./network";
import { protectable } from "./protection";

export interface Login {
  username: string;
  password: pulumi.Output<string>;
}

/** The login in the Secret, and the one before the last rotation. Servers accept both until the next rotation. */
export interface Logins {
  current: Login;
  former: Login | undefined;
}

export interface EnsembleUsers {
  /** Secret of the administrator. */
  admin: Secret;
  /** The administrator's Secret, and that of the setup with all that servers must accept. */
  secrets: Secret[];
  /** Of the applications. */
  logins: Record<string, Logins>;
  /** The administrator and the applications, each with every login that servers must accept. */
  accepted: pulumi.Output<Users>;
  /** Of all user names and passwords. On a pod template another checksum runs the setup again. */
  checksum: pulumi.Output<string>;
}

/**
 * `takeTurns`: users to which the server allows one password only. Two users take turns then, as in the "alternating users" strategy
 * of AWS Secrets Manager. Other users keep their name, and have two passwords until the next rotation.
 */
export function createCredentials(
  ensemble: Ensemble,
  details: { adminUsername: string; takeTurns?: readonly ("admin" | "applications")[] },
  options: pulumi.CustomResourceOptions,
): EnsembleUsers {
  const { name, applications, passwords } = ensemble;
  const { adminUsername, takeTurns = [] } = details;
  const names = namesOf(name);
  const loginsOf = (resource: string, username: string, who: "admin" | "applications"): Logins =>
    createLogins(resource, username, takeTurns.includes(who), passwords.rotation, options);
  const administrator = loginsOf(names.admin, adminUsername, "admin");
  const logins = Object.fromEntries(
    applications.map((each) => [each, loginsOf(applicationSecretName(name, each), each, "applications")]),
  );
  const known = Object.fromEntries(Object.entries(logins).map(([each, own]) => [each, listed(own)]));
  const accepted = pulumi
    .all([listed(administrator), pulumi.all(known)])
    .apply(([first, others]): Users => ({ admin: first, applications: others }));
  const content = accepted.apply((users) => JSON.stringify(users));
  const admin = createSecret(ensemble, names.admin, { ...administrator.current }, options);
  const users = createSecret(ensemble, names.setup, { [setupUsers.file]: content }, options);
  return { admin, secrets: [admin, users], logins, accepted, checksum: checksum(content) };
}

/** The current login comes first. */
export function listed({ current, former }: Logins): pulumi.Output<pulumi.Unwrap<Login>[]> {
  return pulumi.all(former === undefined ? [current] : [current, former]);
}

/**
 * Secrets with `username`, `password` and `url`. They change only after the setup has succeeded: they never hold a password that a server
 * does not accept. With TLS the certificates agent adds `ca.crt` with its own field manager, so neither side overwrites the other.
 */
export function createApplications(
  ensemble: Ensemble,
  { logins }: EnsembleUsers,
  details: {
    url: pulumi.Input<string>;
    setup: pulumi.Resource;
    /** Further keys of an application's Secret; a `url` of its own replaces the common one. */
    more?: (application: string, login: Login) => SecretValues;
  },
  options: pulumi.CustomResourceOptions,
): Record<string, Application> {
  const { url, setup, more = () => ({}) } = details;
  const whenAccepted = pulumi.mergeOptions(options, { dependsOn: [setup] });
  return Object.fromEntries(
    Object.entries(logins).map(([application, { current }]) => {
      const values = { url, ...more(application, current), ...current };
      const secrets = createApplicationSecrets(ensemble, application, values, whenAccepted);
      const there = pulumi.all(secrets.map(({ id }) => id));
      const accepted = <T>(value: pulumi.Input<T>) => pulumi.all([value, there]).apply(([known]) => known as T);
      const { username, password } = current;
      const name = applicationSecretName(ensemble.name, application);
      return [application, { secret: accepted(name), username: accepted(username), password: accepted(password) }];
    }),
  );
}

/** Two passwords take turns: a rotation replaces the former one, which becomes current. `rotation` alone decides which is current. */
export function createLogins(
  resource: string,
  username: string,
  takeTurns: boolean,
  rotation: number,
  options: pulumi.CustomResourceOptions,
): Logins {
  const login = (turn: number): Login => {
    const odd = turn % 2 === 1;
    return {
      username: odd && takeTurns ? alternateName(username) : username,
      password: createPassword(odd ? alternateName(resource) : resource, options, turn),
    };
  };
  return { current: login(rotation), former: rotation === 0 ? undefined : login(rotation - 1) };
}

/** Alphanumeric, to pass unchanged through URLs, DSNs and files: 32 characters are 190 bits. Another `turn` replaces the password. */
export function createPassword(name: string, options: pulumi.CustomResourceOptions, turn = 0): pulumi.Output<string> {
  const keepers = turn === 0 ? {} : { keepers: { rotation: String(turn) } };
  return new RandomPassword(name, { length: 32, special: false, ...keepers }, options).result;
}

/** A Secret that members, or the administrator, need to open the data: it is protected together with the data. */
export function createSecret(
  ensemble: Ensemble,
  name: string,
  values: SecretValues,
  options: pulumi.CustomResourceOptions,
): Secret {
  return new Secret(name, secretOf(ensemble, name, values), protectable(options));
}

/** In the namespaces of ensemble and application. They go when the application is removed from the arguments, so they are not protected. */
export function createApplicationSecrets(
  ensemble: Ensemble,
  application: string,
  values: SecretValues,
  options: pulumi.CustomResourceOptions,
): Secret[] {
  const name = applicationSecretName(ensemble.name, application);
  const content = secretOf(ensemble, name, values);
  const own = new Secret(name, content, options);
  const namespace = ensemble.applicationNamespaces[application];
  if (namespace === undefined) return [own];
  const elsewhere = { ...content, metadata: { ...content.metadata, namespace } };
  return [own, new Secret(`${namespace}/${name}`, elsewhere, options)];
}

type SecretValues = Record<string, pulumi.Input<string>>;

function secretOf(ensemble: Ensemble, name: string, values: SecretValues) {
  return { metadata: metadata(ensemble, name), type: "Opaque", data: encoded(values) };
}

/** Values of a Secret's `data`. */
export function encoded(values: SecretValues): Record<string, pulumi.Output<string>> {
  const base64 = (text: string): string => Buffer.from(text, "utf8").toString("base64");
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, pulumi.output(value).apply(base64)]));
}

/** A digest of secret values that may appear in annotations: the values are long and random, so it does not reveal them. */
export function checksum(value: pulumi.Output<unknown>): pulumi.Output<string> {
  return pulumi.unsecret(value.apply((known) => digest(JSON.stringify(known))));
}
