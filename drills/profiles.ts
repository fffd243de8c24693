import type { CheckTarget } from "../components/shared/core/check";
import type { Profile } from "./workload";

type Service = CheckTarget["service"];
export type DrilledService = Exclude<Service, "objectstore">;

/** What a drill proves is that other members take over: a single server has none. */
export function isDrilled<T extends { service: Service }>(target: T): target is T & { service: DrilledService } {
  return target.service !== "objectstore";
}

/** Loaded when needed: each brings the client of its database with it. */
export async function profileOf(service: DrilledService): Promise<Profile> {
  switch (service) {
    case "etcd":
      return (await import("./etcd.js")).etcdProfile;
    case "vault":
      return (await import("./vault.js")).vaultProfile;
    case "nats":
      return (await import("./nats.js")).natsProfile;
    case "redis":
      return (await import("./redis.js")).redisProfile;
    case "mongodb":
      return (await import("./mongodb.js")).mongodbProfile;
    case "mysql":
      return (await import("./mysql.js")).mysqlProfile;
  }
}
