import type { CheckTarget } from "../components/shared/check";
import type { Profile } from "./workload";

/** Loaded when needed: each brings the client of its database with it. */
export async function profileOf(service: CheckTarget["service"]): Promise<Profile> {
  switch (service) {
    case "etcd":
      return (await import("./etcd.js")).etcdProfile;
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
