/** Redis as a cache: 3 members with Sentinel, and one address that follows the master. */
import { RedisCluster } from "cells-services/redis";
import { exampleNamespace } from "../namespace";

const { namespace, provider } = exampleNamespace("example-redis");
const redis = new RedisCluster(
  "redis",
  {
    namespace: namespace.metadata.name,
    eviction: "allkeys-lru",
    applications: ["shop"],
    deletion: "delete",
  },
  { provider },
);

export const { url, certificateAuthority } = redis;
export const { secret } = redis.application("shop");
/** For `npx cells-services check`. */
export const checks = [redis.checkTarget];
