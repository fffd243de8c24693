import * as pulumi from "@pulumi/pulumi";
import { readConfig, report } from "./config";
import { dev } from "./dev";
import { prod } from "./prod";
import { deployServices, problemsOf, type StackOutputs } from "./services";

const environments = { dev, prod };

/** The environment that the configuration of the running stack asks for, unless something is wrong with the configuration. */
export function deployStack(): StackOutputs {
  const { config, problems, wrong } = readConfig();
  const environment = config && environments[config.environment](config);
  report(pulumi.getStack(), [...problems, ...(config && environment ? problemsOf(config, environment, wrong) : [])]);
  // Without both there is a problem, and `report` has thrown.
  return deployServices(config as NonNullable<typeof config>, environment as NonNullable<typeof environment>);
}
