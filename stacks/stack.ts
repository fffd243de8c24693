import { readConfig } from "./config";
import { dev } from "./dev";
import { prod } from "./prod";
import type { StackOutputs } from "./services";

const environments = { dev, prod };

/** The environment that the configuration of the running stack asks for. */
export function deployStack(): StackOutputs {
  const config = readConfig();
  return environments[config.environment](config);
}
