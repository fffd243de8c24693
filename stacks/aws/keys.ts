import { Alias } from "@pulumi/aws/kms/alias";
import { Key } from "@pulumi/aws/kms/key";
import type * as pulumi from "@pulumi/pulumi";

/** The longest that AWS offers: whoever deletes the key of Vault by mistake has a month to notice. */
const deletionWindowInDays = 30;

/** A symmetric key that is known by its alias. Who may use it is said by the policies of roles, as in AWS's own default. */
export function createKey(
  name: string,
  alias: string,
  description: string,
  options: pulumi.CustomResourceOptions,
): Key {
  const key = new Key(name, { description, deletionWindowInDays, enableKeyRotation: true }, options);
  new Alias(name, { name: alias, targetKeyId: key.keyId }, options);
  return key;
}
