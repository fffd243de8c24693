/** The entry point of `pulumi up`. */
import { requirePulumiVersion } from "@pulumi/pulumi";
import { deployStack } from "./stack";

// The version that is tested: older engines do not know all options that the components set.
void requirePulumiVersion(">=3.255.0");

export const { checks, kubeContext, kubeconfig, urls, services, cellsValues, cellsPatches, cellsEnv, cellsInstall } =
  deployStack();
