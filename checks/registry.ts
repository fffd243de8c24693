import type { Check, CheckTarget } from "../components/shared/core/check";

/** Loaded when needed: database clients cost a tenth of a second each, and one service needs one of them. */
export async function checkOf(service: CheckTarget["service"]): Promise<Check> {
  switch (service) {
    case "etcd":
      return (await import("../components/etcd/check.js")).check;
    case "vault":
      return (await import("../components/vault/check.js")).check;
    case "nats":
      return (await import("../components/nats/check.js")).check;
    case "redis":
      return (await import("../components/redis/check.js")).check;
    case "mongodb":
      return (await import("../components/mongodb/check.js")).check;
    case "mysql":
      return (await import("../components/mysql/check.js")).check;
    case "objectstore":
      return (await import("../components/objectstore/check.js")).check;
  }
}
