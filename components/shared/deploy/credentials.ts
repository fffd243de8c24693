/** Passwords and the Secrets that hold them: one for the administrator and one for each application. */
import { Secret } from "@pulumi/kubernetes/core/v1/secret";
import * as pulumi from "@pulumi/pulumi";
import { RandomPassword } from "@pulumi/random/randomPassword";
import { applicationSecretName, namesOf } from "../core/names";
import type { Ensemble } from "./arguments";
import { digest } from "./bundle";
import { metadata } from "./network";
import { protectable } from "./protection";

export interface Credentials {
  admin: Secret;
  /** Of the administrator and of all applications. */
  secrets: Secret[];
  adminPassword: pulumi.Output<string>;
  /** Of the applications. */
  passwords: Record<string, pulumi.Output<string>>;
  /** Of all user names and passwords: where it is on a pod template, a changed password starts the setup again. */
  checksum: pulumi.Output<string>;
}

/**
 * Secrets with `username`, `password` and, for applications, `url`. With TLS the certificates agent adds `ca.crt` with a
 * field manager of its own, so neither side overwrites the other.
 */
export function createCredentials(
  ensemble: Ensemble,
  details: {
    adminUsername: string;
    url: pulumi.Input<string>;
    /** Further keys of an application's Secret; a `url` of its own replaces the common one. */
    application?: (application: string, password: pulumi.Output<string>) => Record<string, pulumi.Input<string>>;
  },
  options: pulumi.CustomResourceOptions,
): Credentials {
  const { admin: adminName } = namesOf(ensemble.name);
  const adminPassword = createPassword(adminName, options);
  const username = details.adminUsername;
  const created = ensemble.applications.map((application) => {
    const password = createPassword(applicationSecretName(ensemble.name, application), options);
    const others = details.application?.(application, password);
    const values = { username: application, url: details.url, ...others, password };
    return { application, password, secret: createApplicationSecret(ensemble, application, values, options) };
  });
  const passwords = [adminPassword, ...created.map(({ password }) => password)];
  const admin = createSecret(ensemble, adminName, { username, password: adminPassword }, options);
  return {
    admin,
    secrets: [admin, ...created.map(({ secret }) => secret)],
    adminPassword,
    passwords: Object.fromEntries(created.map(({ application, password }) => [application, password])),
    checksum: checksum(pulumi.all(passwords).apply((all) => [ensemble.applications, all])),
  };
}

/** Alphanumeric, because it must pass unchanged through URLs, DSNs and configuration files: 32 characters are 190 bits. */
export function createPassword(name: string, options: pulumi.CustomResourceOptions): pulumi.Output<string> {
  return new RandomPassword(name, { length: 32, special: false }, options).result;
}

/** What the members, or the administrator, open the data with: it is protected together with them. */
export function createSecret(
  ensemble: Ensemble,
  name: string,
  values: SecretValues,
  options: pulumi.CustomResourceOptions,
): Secret {
  return new Secret(name, secretOf(ensemble, name, values), protectable(options));
}

/** Goes when the application is removed from the arguments, so it is not protected. */
export function createApplicationSecret(
  ensemble: Ensemble,
  application: string,
  values: SecretValues,
  options: pulumi.CustomResourceOptions,
): Secret {
  const name = applicationSecretName(ensemble.name, application);
  return new Secret(name, secretOf(ensemble, name, values), options);
}

type SecretValues = Record<string, pulumi.Input<string>>;

function secretOf(ensemble: Ensemble, name: string, values: SecretValues) {
  return { metadata: metadata(ensemble, name), type: "Opaque", data: encoded(values) };
}

/** Values of a Secret's `data`. */
export function encoded(values: SecretValues): Record<string, pulumi.Output<string>> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, pulumi.output(value).apply(base64)]));
}

function base64(text: string): string {
  return Buffer.from(text, "utf8").toString("base64");
}

/**
 * A digest of secret values that may appear in annotations: without the values it says nothing about them, since they are
 * long and random.
 */
export function checksum(value: pulumi.Output<unknown>): pulumi.Output<string> {
  return pulumi.unsecret(value.apply((known) => digest(JSON.stringify(known))));
}
