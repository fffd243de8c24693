import type { CheckTarget } from "../../../components/shared/core/check";
import { targetOf } from "../../support/check";

export const target = (name: string): CheckTarget =>
  targetOf(name === "nats" ? "nats" : "etcd", { name, clientPort: 2379, metricsPort: 2381 });
