/** Redis as a cache: 3 members with Sentinel, and one address that follows the master. */
import { RedisCluster } from "../../components/redis";
import { exampleNamespace } from "../namespace";

const namespace = exampleNamespace("example-redis");
const redis = new RedisCluster("redis", {
  namespace: namespace.metadata.name,
  eviction: "allkeys-lru",
  applications: ["shop"],
  deletion: "delete",
});

export const { url, certificateAuthority } = redis;
export const { secret } = redis.application("shop");
/** For `checks/cli.ts`. */
export const checks = [redis.checkTarget];
