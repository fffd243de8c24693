/** What the option `protect` of a component means. */
import type * as pulumi from "@pulumi/pulumi";

/**
 * The options of the resources of a component. `protect` must not reach all of them: an update replaces Jobs and deletes
 * bundles, and a rotation replaces passwords.
 */
export function childOptions(component: pulumi.ComponentResource): pulumi.CustomResourceOptions {
  return { parent: component, protect: false };
}

/** For resources that hold data, or are needed to open it: they are protected when the component is. */
export function protectable(options: pulumi.CustomResourceOptions): pulumi.CustomResourceOptions {
  const inherited = { ...options };
  delete inherited.protect;
  return inherited;
}
