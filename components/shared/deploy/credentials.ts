/** Passwords and the Secrets that hold them: one for the administrator and one for each application. */
import { Secret } from "@pulumi/kubernetes/core/v1/secret";
import * as pulumi from "@pulumi/pulumi";
import { RandomPassword } from "@pulumi/random/randomPassword";
import { applicationSecretName, namesOf } from "../core/names";
import type { Ensemble } from "./arguments";
import { digest } from "./bundle";
import { metadata } from "./network";

export interface Credentials {
  admin: Secret;
  applications: Record<string, Secret>;
  /** Of the applications, secret. */
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
  const admin = createCredential(ensemble, adminName, () => ({ username: details.adminUsername }), options);
  const applications = ensemble.applications.map((application) => {
    const name = applicationSecretName(ensemble.name, application);
    return [
      application,
      createCredential(
        ensemble,
        name,
        (password) => ({ username: application, url: details.url, ...details.application?.(application, password) }),
        options,
      ),
    ] as const;
  });
  const passwords = [admin, ...applications.map(([, credential]) => credential)].map(({ password }) => password.result);
  return {
    admin: admin.secret,
    applications: Object.fromEntries(applications.map(([application, { secret }]) => [application, secret])),
    passwords: Object.fromEntries(applications.map(([application, { password }]) => [application, password.result])),
    checksum: checksum(pulumi.all(passwords).apply((all) => [ensemble.applications, all])),
  };
}

function createCredential(
  ensemble: Ensemble,
  name: string,
  others: (password: pulumi.Output<string>) => Record<string, pulumi.Input<string>>,
  options: pulumi.CustomResourceOptions,
) {
  const password = createPassword(name, options);
  const secret = new Secret(
    name,
    {
      metadata: metadata(ensemble, name),
      type: "Opaque",
      data: encoded({ ...others(password.result), password: password.result }),
    },
    options,
  );
  return { password, secret };
}

/** Alphanumeric, because it must pass unchanged through URLs, DSNs and configuration files: 32 characters are 190 bits. */
export function createPassword(name: string, options: pulumi.CustomResourceOptions): RandomPassword {
  return new RandomPassword(name, { length: 32, special: false }, options);
}

/** Values of a Secret's `data`. */
export function encoded(values: Record<string, pulumi.Input<string>>): Record<string, pulumi.Output<string>> {
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
