import * as pulumi from "@pulumi/pulumi";
import type { StackConfig } from "./config";
import { deployServices, type Environment, type StackOutputs } from "./services";

const environment: Environment = {
  etcd: {
    members: 3,
    placement: { spread: "required", zones: true },
    tls: "required",
    applications: ["cells"],
    deletion: "keep",
  },
  nats: {
    members: 3,
    placement: { spread: "required", zones: true },
    tls: "required",
    applications: ["cells"],
    // Acknowledged messages survive the power failure of all members at once.
    durability: "fsync",
    deletion: "keep",
  },
  protect: true,
  refusals: (config) =>
    config.services
      .filter((service) => config[service].deletion === "delete")
      .map(
        (service) =>
          `${pulumi.getProject()}:${service}.deletion must be "keep" in prod, got "delete"; remove it, ` +
          "and delete the volumes by hand after a destroy",
      ),
};

/** Three members on three hosts in different zones; volumes outlive the stack. */
export function prod(config: StackConfig): StackOutputs {
  return deployServices(config, environment);
}
