/**
 * What must run in the cluster for the object store, beside what all services have in common:
 *
 *   preflight    a Job before the first start, and when what it judges changes: refuses what a living store cannot do
 *   member       the init container: decides whether the server may start, and makes its directories
 *   setup        a Job after the server is ready: users, buckets, their owners and policies, marker, proof
 */
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { commonCommands } from "../shared/agent/commands";
import { absent } from "../shared/agent/files";
import { keepMarker, readMarker } from "../shared/agent/guard";
import type { KubernetesApi } from "../shared/agent/kubernetes";
import { readTrust, readUsers } from "../shared/agent/logins";
import type { Commands, Pod } from "../shared/agent/main";
import { examineReadiness } from "../shared/agent/roll";
import { log } from "../shared/core/log";
import { memberHost, memberName, serviceHost } from "../shared/core/names";
import type { EnsembleSettings, SetupSettings } from "../shared/core/settings";
import { waitFor } from "../shared/core/wait";
import { type Admin, type Buckets, type Credentials, type Endpoint, openAdmin, openBuckets } from "./api";
import { paths, ports, type Store, scheme, storeId } from "./layout";
import { decide, type Identity } from "./member";
import {
  type Bucket,
  type BucketAction,
  type BucketPolicy,
  decideBuckets,
  decideUsers,
  role,
  type User,
  type UserAction,
} from "./rights";

/** Only a person can bring a lost volume back. The container asks again for this time, and then starts anew. */
const memberDeadlineSeconds = 300;
/** The server is ready when the setup starts; what remains is the time of one restart. */
const serverDeadlineSeconds = 180;

export const commands: Commands = commonCommands({
  volume: paths.volume,
  start: startMember,
  setup,
  examine: examineReadiness,
});

// --- member

async function startMember(settings: EnsembleSettings, pod: Pod, api: KubernetesApi): Promise<void> {
  const self: Identity = { name: pod.name, storeId: storeId(settings.name, pod.namespace), tls: settings.tls };
  await waitFor(
    `a safe way to start ${self.name}`,
    async () => {
      const data = await observeData();
      // With data the marker does not matter, and the server restarts even while the API server is away.
      const marker = data === "present" ? undefined : await readMarker(settings.name, pod.namespace, api);
      const action = decide({ data, marker }, self);
      log(`decision: ${action.kind}: ${action.reason}`);
      return action.kind === "start" ? { done: true } : { waiting: action.reason };
    },
    { deadlineSeconds: memberDeadlineSeconds, intervalSeconds: 5 },
  );
  await mkdir(paths.buckets, { recursive: true });
  await mkdir(paths.users, { recursive: true, mode: 0o700 });
}

/** Buckets are folders; names of the server's own files begin with a dot. */
export async function observeData(buckets: string = paths.buckets): Promise<"present" | "empty"> {
  const entries = (await readdir(buckets, { withFileTypes: true }).catch(absent)) ?? [];
  return entries.some((entry) => entry.isDirectory() && !entry.name.startsWith(".")) ? "present" : "empty";
}

// --- setup

async function setup(settings: SetupSettings, namespace: string, api: KubernetesApi): Promise<void> {
  const store = JSON.parse(await readFile(join(paths.config, paths.storeFile), "utf8")) as Store;
  const { admin: administrators, applications } = await readUsers();
  // The server knows one password of a user, and the current one is the first.
  const [admin, ...users] = [administrators, ...Object.values(applications)]
    .flatMap((logins) => logins.slice(0, 1))
    .map(({ username, password }): User => ({ accessKeyId: username, secretAccessKey: password, role }));
  if (admin === undefined) throw new Error("the Secret of the setup names no administrator; run pulumi up");
  const ca = await readTrust(settings.tls, paths.trust);
  const { region } = store;
  const at = (host: string, port: number, credentials: Credentials): Endpoint => {
    return { url: `${scheme(settings.tls)}://${host}:${port}`, region, credentials, ca };
  };
  const bucketsAs = (user: Credentials) => openBuckets(at(serviceHost(settings.name, namespace), ports.client, user));
  const buckets = bucketsAs(admin);
  await waitFor("the object store", async () => ({ done: await buckets.list() }), {
    deadlineSeconds: serverDeadlineSeconds,
    intervalSeconds: 2,
    onError: "wait",
  });
  // The Service has no port for the admin API, so the agent calls it at the pod.
  const member = memberHost(settings.name, namespace, memberName(settings.name, 0));
  await establish({ admin: openAdmin(at(member, ports.admin, admin)), buckets, store, users, root: admin.accessKeyId });
  // From here on an empty volume is a lost one.
  await keepMarker(settings, namespace, api, storeId(settings.name, namespace));
  for (const user of users) {
    const seen = await bucketsAs(user).list();
    const own = store.applicationBuckets[user.accessKeyId] ?? [];
    const missing = own.filter((bucket) => !seen.includes(bucket));
    if (missing.length > 0) throw new Error(`${user.accessKeyId} does not see its buckets ${missing.join(", ")}`);
  }
  log(`all applications see their buckets: ${settings.applications.join(", ") || "there are none"}`);
}

interface Establishment {
  admin: Admin;
  buckets: Buckets;
  store: Store;
  users: User[];
  /** Access key of the root account. */
  root: string;
}

/** Reads before it writes, so it may be killed at any point and repeated at any time. Deletes no data. */
export async function establish({ admin, buckets, store, users, root }: Establishment): Promise<void> {
  for (const action of decideUsers(await admin.users(), users)) await apply(admin, buckets, action);
  const existing = await observeBuckets(admin, buckets);
  for (const action of decideBuckets(existing, store, root)) await apply(admin, buckets, action);
  const kept = existing.filter(({ name }) => !store.buckets.includes(name)).map(({ name }) => name);
  if (kept.length > 0) log(`kept as they are, though no longer asked for: ${kept.join(", ")}`);
}

async function observeBuckets(admin: Admin, buckets: Buckets): Promise<Bucket[]> {
  const observed: Bucket[] = [];
  for (const [name, owner] of await admin.owners()) {
    // A bucket without an owner has no policy: the server was killed while it made the bucket.
    const text = owner === "" ? undefined : await buckets.policy(name);
    observed.push({ name, owner, policy: text === undefined ? undefined : (JSON.parse(text) as BucketPolicy) });
  }
  return observed;
}

async function apply(admin: Admin, buckets: Buckets, action: UserAction | BucketAction): Promise<void> {
  switch (action.kind) {
    case "create-user":
      await admin.createUser(action.user);
      return log(`user ${action.user.accessKeyId} created`);
    case "update-user":
      await admin.updateUser(action.user);
      return log(`user ${action.user.accessKeyId} brought up to date`);
    case "delete-user":
      await admin.deleteUser(action.accessKeyId);
      return log(`user ${action.accessKeyId} deleted: it is no application any more`);
    case "create-bucket":
      await buckets.create(action.bucket);
      return log(`bucket ${action.bucket} created`);
    case "change-owner":
      await admin.changeOwner(action.bucket, action.owner);
      return log(`bucket ${action.bucket} given to ${action.owner}`);
    case "put-policy":
      await buckets.putPolicy(action.bucket, JSON.stringify(action.policy));
      return log(`policy of bucket ${action.bucket} set`);
  }
}
