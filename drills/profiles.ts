import type { KubeConfig } from "@kubernetes/client-node";
import { type createRedaction, openEnvironment, patient, waitFor } from "../checks";
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

const leaderSeconds = 30;

/** The member that leads now. */
export async function leaderOf(
  config: KubeConfig,
  target: CheckTarget,
  profile: Pick<Profile, "open">,
  redaction: ReturnType<typeof createRedaction>,
): Promise<string> {
  const environment = openEnvironment(config, target, redaction, new AbortController().signal);
  try {
    const workload = await profile.open(target, environment, `leader${Date.now().toString(36)}`);
    try {
      // NATS has no leader before there is a stream that could have one.
      const leader = async () => ({ done: await workload.prepare().then(() => workload.leader()) });
      const found = await waitFor(`the leader of ${target.name}`, leader, {
        ...patient,
        deadlineSeconds: leaderSeconds,
      });
      return found.member;
    } finally {
      await workload.close();
    }
  } finally {
    await environment.close();
  }
}
