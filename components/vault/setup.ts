/** What setup, preflight and the job of the tokens do in Vault. Every step reads before it writes: a run may be killed and repeated. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { keepMarker } from "../shared/agent/guard";
import { core, decoded, encoded, type KubernetesApi, type Secret } from "../shared/agent/kubernetes";
import { readTrust } from "../shared/agent/logins";
import { log } from "../shared/core/log";
import { applicationSecretName, memberNames, namesOf, serviceHost } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import { type Attempt, waitFor } from "../shared/core/wait";
import { isTokenRefused, observeServer, type Server, type VaultClient, VaultError, vaultClient } from "./client";
import { memberUrl, paths, peerAddress, ports, rootName, type SetupSettings, scheme } from "./layout";
import { describeServer, isOpen } from "./membership";
import { nextStep } from "./peers";
import {
  applicationRole,
  leftovers,
  loginRoles,
  monitorRole,
  mountContradictions,
  policies,
  policyText,
  preflightRole,
  setupRole,
  tokenRoles,
  tokensRole,
} from "./policies";
import { decideToken, type TokenState } from "./tokens";

/** The members are ready when the setup starts; what remains is the time of one election or one restart. */
const formationDeadlineSeconds = 240;
/** A new key-value mount takes a moment until it can be configured. */
const mountDeadlineSeconds = 60;
/** Stabilisation (10 s), the rounds in which autopilot looks, and an election. */
const peersDeadlineSeconds = 120;
/** Several elections on a busy machine. Every request of the setup may be sent twice. */
const electionSeconds = 60;
/** By then every member has received a role that was written through another member. */
const loginDeadlineSeconds = 60;

/** Field manager of the key `token` in the Secrets that Pulumi made, and of the emptied root token. */
const tokenManager = "cells-services-tokens";
const rootManager = "cells-services-initialisation";

interface Cluster {
  settings: EnsembleSettings;
  namespace: string;
}

export interface Context extends Cluster {
  settings: SetupSettings;
  api: KubernetesApi;
}

export async function setup(context: Context): Promise<void> {
  const clusterId = await waitForFormation(context);
  const whenRefused = await bootstrapIfNeeded(context);
  await loggedIn(context, setupRole, whenRefused, async (login) => {
    const client = await login();
    // Before any application has a token: without a marker there is nothing of a user in Vault.
    await keepMarker(context.settings, context.namespace, context.api, clusterId);
    await keepAuthentication(context, client);
    await forgetRoot(context);
    await keepAutopilot(client);
    await keepAudit(context.settings.audit, client);
    await keepMounts(context, client);
    await keepTokens(context, login);
    await keepPeers(context, client, []);
  });
}

/** For the preflight: removes the peers of `leaving`, whether or not their servers run or ever joined. */
export async function release(leaving: string[], settings: EnsembleSettings, namespace: string): Promise<void> {
  const cluster = { settings, namespace };
  const { members } = settings;
  const withoutRole =
    "the setup of an earlier release made no role for the preflight; " +
    `run pulumi up with members ${members + leaving.length} once, and then with ${members}`;
  await loggedIn(cluster, preflightRole, withoutRole, async (login) => keepPeers(cluster, await login(), leaving));
}

/** The job that keeps the tokens: renews long before the end, and replaces what was revoked. */
export function renewTokens(context: Context): Promise<void> {
  return loggedIn(context, tokensRole, undefined, (login) => keepTokens(context, login));
}

/** At the name that clients use: standbys forward what only the active member can do. */
async function clientWith({ settings, namespace }: Cluster, token?: string): Promise<VaultClient> {
  const url = `${scheme(settings.tls)}://${serviceHost(settings.name, namespace)}:${ports.client}`;
  return vaultClient({ url, ca: await readTrust(settings.tls, paths.trust), token, electionSeconds });
}

async function waitForFormation({ settings, namespace }: Cluster): Promise<string> {
  const clientOf = async (member: string) => {
    const ca = await readTrust(settings.tls, paths.trust);
    return vaultClient({ url: memberUrl(settings, namespace, member), ca, timeoutSeconds: 5 });
  };
  const observe = async (member: string): Promise<[string, Server]> => [member, await observeServer(clientOf(member))];
  return waitFor(
    `${settings.members} unsealed members of one cluster`,
    async () => formedCluster(await Promise.all(memberNames(settings.name, settings.members).map(observe))),
    { deadlineSeconds: formationDeadlineSeconds, intervalSeconds: 2 },
  );
}

/** Done when all are unsealed members of one cluster, and one of them is active. */
export function formedCluster(servers: [string, Server][]): Attempt<string> {
  const clusters = new Set<string>();
  const active: string[] = [];
  for (const [member, server] of servers) {
    if (server.state === "away") return { waiting: `${member} does not answer: ${server.reason}` };
    if (!isOpen(server)) return { waiting: `${member} ${describeServer(server)}` };
    if (server.clusterId === undefined) return { waiting: `${member} does not know its cluster yet` };
    clusters.add(server.clusterId);
    if (!server.standby) active.push(member);
  }
  const [cluster = "", ...others] = clusters;
  if (others.length > 0) return { waiting: `the members belong to different clusters: ${[...clusters].join(", ")}` };
  if (active.length > 1) return { waiting: `${active.join(" and ")} are active` };
  return active.length === 0 ? { waiting: "no member is active" } : { done: cluster };
}

// --- logging in

/** `use` gets a function whose first call logs in. The login ends with `use`. */
async function loggedIn(
  context: Cluster,
  role: string,
  whenRefused: string | undefined,
  use: (login: Maker) => Promise<void>,
): Promise<void> {
  let client: VaultClient | undefined;
  try {
    await use(async () => (client ??= await login(context, role, whenRefused)));
  } finally {
    await client?.revokeSelf().catch(() => undefined);
  }
}

/** The token of this pod's service account, which Vault alone accepts. */
export async function readLogin(): Promise<string> {
  return (await readFile(join(paths.login, "token"), "utf8")).trim();
}

/** With the token of this pod's service account. `whenRefused` ends the error of a refused login. */
export async function login(
  context: Cluster,
  role: string,
  whenRefused = "nobody can change Vault any more but with its recovery keys",
): Promise<VaultClient> {
  const jwt = await readLogin();
  const token = await waitFor(
    `a login as ${role}`,
    async () => {
      try {
        return { done: await (await clientWith(context)).login(role, jwt) };
      } catch (error) {
        const { message } = error as Error;
        const refused = error instanceof VaultError && [400, 403, 404].includes(error.status);
        // A member that cannot reach the agent beside it does not know the keys of Kubernetes for a moment.
        if (!refused || /fetching keys/.test(message)) return { waiting: message };
        throw new Error(`${message}; ${whenRefused}`, { cause: error });
      }
    },
    { deadlineSeconds: loginDeadlineSeconds },
  );
  return clientWith(context, token);
}

/** With the root token, makes the roles that every later run logs in with. Returns what to say when that login is refused. */
async function bootstrapIfNeeded(context: Context): Promise<string | undefined> {
  const token = await rootToken(context);
  if (token === undefined) {
    return (
      `the Secret ${rootName(context.settings.name)} has no root token either: make one with the recovery keys or the ` +
      'key shares ("vault operator generate-root"), put it into the key "token" of that Secret, and run this again'
    );
  }
  const client = await clientWith(context, token);
  try {
    await client.lookupSelf();
  } catch (error) {
    // An earlier run revoked it and was killed before it emptied the Secret.
    if (isTokenRefused(error)) return "the root token in the Secret is no longer valid";
    throw error;
  }
  await keepAuthentication(context, client);
  return undefined;
}

async function rootToken({ settings, namespace, api }: Context): Promise<string | undefined> {
  const secret = await api.get<Secret>(core(namespace, "secrets", rootName(settings.name)));
  return decoded(secret?.data)["token"] || undefined;
}

async function forgetRoot(context: Context): Promise<void> {
  const { settings, namespace, api } = context;
  const token = await rootToken(context);
  if (token === undefined) return;
  await revoke(await clientWith(context, token));
  const name = rootName(settings.name);
  const emptied: Secret = { apiVersion: "v1", kind: "Secret", metadata: { name }, data: { token: "" } };
  await api.apply(core(namespace, "secrets", name), emptied, rootManager);
  log("the root token is revoked");
}

/** Unless the token is no longer valid. Before it is removed from its Secret: a token that nobody knows cannot be revoked. */
async function revoke(client: VaultClient): Promise<void> {
  await client.revokeSelf().catch((error: unknown) => {
    if (!isTokenRefused(error)) throw error;
  });
}

// --- what Vault must have

async function keepAuthentication({ settings, namespace }: Context, client: VaultClient): Promise<void> {
  const methods = (await client.read<Record<string, { type?: string }>>("sys/auth")) ?? {};
  if (methods["jwt/"] === undefined) await client.write("sys/auth/jwt", { type: "jwt" });
  // The agent beside each member serves the keys of Kubernetes, so a new key works at once and needs no right in Vault.
  await client.write("auth/jwt/config", { jwks_url: `http://127.0.0.1:${ports.keys}/` });
  for (const [name, policy] of Object.entries(policies(settings))) {
    await client.write(`sys/policies/acl/${name}`, { policy: policyText(policy) });
  }
  for (const [name, role] of Object.entries(loginRoles(settings.name, namespace))) {
    await client.write(`auth/jwt/role/${name}`, role);
  }
  for (const [name, role] of Object.entries(tokenRoles(settings))) await client.write(`auth/token/roles/${name}`, role);
  const known = [...(await client.list("auth/token/roles")), ...(await client.list("sys/policies/acl"))];
  for (const name of leftovers([...new Set(known)], settings)) {
    // The policy goes first: a run that is killed in between leaves a token without rights.
    await client.remove(`sys/policies/acl/${name}`);
    await client.remove(`auth/token/roles/${name}`);
    log(`${name} is no longer wanted: its tokens open nothing any more`);
  }
}

/** Autopilot removes no dead server: a member that is away for long could not come back. */
async function keepAutopilot(client: VaultClient): Promise<void> {
  await client.write("sys/storage/raft/autopilot/configuration", {
    cleanup_dead_servers: false,
    server_stabilization_time: "10s",
  });
}

async function keepAudit(wanted: SetupSettings["audit"], client: VaultClient): Promise<void> {
  type Devices = Record<string, { options?: { file_path?: string } } | undefined>;
  const existing = (await client.read<Devices>("sys/audit")) ?? {};
  if (wanted === "stdout" && existing["stdout/"] === undefined) {
    await client.write("sys/audit/stdout", { type: "file", options: { file_path: "stdout" } });
    log("requests are recorded: stdout");
  }
  const unwanted = [
    // The last release could record to this file on the volume, which nothing rotates any more.
    ...(existing["file/"]?.options?.file_path === "/data/audit/audit.log" ? ["file"] : []),
    ...(wanted === "off" && existing["stdout/"] !== undefined ? ["stdout"] : []),
  ];
  for (const device of unwanted) {
    await client.remove(`sys/audit/${device}`);
    log(`requests are no longer recorded: ${device}`);
  }
}

async function keepMounts({ settings }: Context, client: VaultClient): Promise<void> {
  const existing = await client.mounts();
  const reasons = mountContradictions(Object.keys(settings.mounts), existing);
  if (reasons.length > 0) throw new Error(reasons.join("; "));
  for (const [path, { maxVersions = 0, casRequired = false }] of Object.entries(settings.mounts)) {
    if (existing[path] === undefined) {
      await client.write(`sys/mounts/${path}`, { type: "kv", options: { version: "2" } });
      log(`enabled the mount ${path}`);
    }
    const config = { max_versions: maxVersions, cas_required: casRequired };
    await waitFor(`the mount ${path}`, async () => ({ done: await client.write(`${path}/config`, config) }), {
      deadlineSeconds: mountDeadlineSeconds,
      // A new mount says for a moment that it is being made ready.
      onError: (error) => (error instanceof VaultError && error.status === 400 ? "wait" : "fail"),
    });
  }
}

/**
 * Waits until all members vote and none of `leaving` is a peer. A member that joined gets its vote some seconds later; until then the
 * death of another member may stop all writes. A peer whose server is gone still counts for the majority.
 */
async function keepPeers({ settings, namespace }: Cluster, client: VaultClient, leaving: string[]): Promise<void> {
  const addresses = (members: string[]) => members.map((member) => peerAddress(settings, namespace, member));
  const staying = addresses(memberNames(settings.name, settings.members));
  await waitFor(
    `the votes of ${settings.members} members`,
    async () => {
      const step = nextStep(await client.peers(), staying, addresses(leaving));
      if (step === undefined) return { done: true };
      if (step.kind === "wait") return { waiting: step.reason };
      const { id, address } = step.peer;
      if (step.kind === "remove") await client.write("sys/storage/raft/remove-peer", { server_id: id });
      else await client.write("sys/step-down", {});
      return { waiting: `${address} leaves: ${step.kind}` };
    },
    // The Service leads to a member that was removed until its pod is no longer ready.
    { deadlineSeconds: peersDeadlineSeconds, onError: "wait" },
  );
}

// --- tokens

/** A client that may create tokens. */
type Maker = () => Promise<VaultClient>;

/** A token that fails does not stop the renewal of the others. */
async function keepTokens(context: Context, maker: Maker): Promise<void> {
  const { name, applications, applicationNamespaces = {} } = context.settings;
  const held = [
    { secret: namesOf(name).admin, role: monitorRole, elsewhere: undefined },
    ...applications.map((each) => ({
      secret: applicationSecretName(name, each),
      role: applicationRole(each),
      elsewhere: applicationNamespaces[each],
    })),
  ];
  const failures: string[] = [];
  for (const { secret, role, elsewhere } of held) {
    try {
      const token = await keepToken(context, secret, role, maker);
      if (elsewhere !== undefined) await writeToken(context.api, elsewhere, secret, { token });
    } catch (error) {
      failures.push(`${secret}: ${(error as Error).message}`);
    }
  }
  if (failures.length > 0) throw new Error(failures.join("; "));
}

/** Returns the token that is in the Secret now. */
async function keepToken(context: Context, name: string, role: string, maker: Maker): Promise<string | undefined> {
  const { api, namespace } = context;
  const secret = await api.get<Secret>(core(namespace, "secrets", name));
  if (secret === undefined) throw new Error("the Secret is missing; run pulumi up");
  const { token, former } = decoded(secret.data);
  const client = await clientWith(context, token);
  const action = decideToken(await tokenState(token, client), role, context.settings);
  if (action.kind === "keep") {
    log(`${name}: the token lives for ${action.days} more days`);
    return token;
  }
  if (action.kind === "renew") {
    log(`${name}: renewed for ${Math.floor((await client.renewSelf()) / 86_400)} days`);
    return token;
  }
  const rotates = action.kind === "rotate";
  if (rotates && former) await revoke(await clientWith(context, former));
  const fresh = await (await maker()).createToken(role, context.settings.passwords.rotation);
  await writeToken(api, namespace, name, { token: fresh, former: (rotates ? token : former) || undefined });
  log(`${name}: a new token: ${action.reason}${rotates ? "; the former one is accepted until the next rotation" : ""}`);
  return fresh;
}

function writeToken(
  api: KubernetesApi,
  namespace: string,
  name: string,
  values: Record<string, string | undefined>,
): Promise<void> {
  const object = { apiVersion: "v1", kind: "Secret", metadata: { name }, data: encoded(values) };
  return api.apply(core(namespace, "secrets", name), object, tokenManager);
}

async function tokenState(token: string | undefined, client: VaultClient): Promise<TokenState> {
  if (!token) return "none";
  return client.lookupSelf().catch((error: unknown) => {
    if (isTokenRefused(error)) return "refused";
    throw error;
  });
}
