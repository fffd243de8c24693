/** The calls of Vault's API that the agent and the check need, over plain HTTPS. */
import type { Readable } from "node:stream";
import { beginningOf, type HttpRequest, type HttpResponse, http, openHttp } from "../shared/agent/http";
import { messageOf } from "../shared/core/errors";
import { waitFor } from "../shared/core/wait";

export interface Endpoint extends Pick<HttpRequest, "ca" | "servername" | "unverified"> {
  /** Such as https://vault-0.vault-peers.cells.svc:8200 */
  url: string;
  token?: string | undefined;
  /** Default: 10. */
  timeoutSeconds?: number;
  /** How long a request that meets an election is repeated. Every request must then be safe to send twice. Default: not at all. */
  electionSeconds?: number;
}

/** An error that Vault answered. The messages are Vault's own and name no token and no value. */
export class VaultError extends Error {
  readonly status: number;

  constructor(path: string, status: number, messages: string[]) {
    super(`vault refused ${path}: ${messages.map(oneLine).join("; ") || `status ${status}`}`);
    this.status = status;
  }
}

/** Vault writes lists over several lines, with their length before them. */
function oneLine(message: string): string {
  return message
    .replace(/[0-9]+ errors? occurred:/g, "")
    .replace(/\s*\*\s*/g, " ")
    .replace(/\s+/g, " ")
    .trim();
}

/** Vault does not know the token, or the token has no right to ask. A sealed or absent server says nothing about a token. */
export function isTokenRefused(error: unknown): boolean {
  return error instanceof VaultError && error.status === 403;
}

export type VaultClient = ReturnType<typeof vaultClient>;
export type Health = ReturnType<typeof toHealth>;
export type TokenInfo = ReturnType<typeof toTokenInfo>;
export type Peer = Awaited<ReturnType<VaultClient["peers"]>>[number];
export type SealStatus = ReturnType<typeof toSealStatus>;
export type Server = ({ state: "up" } & Health) | { state: "away"; reason: string };

/** Making keys and, with a key service, asking it. */
const initTimeoutSeconds = 60;
const refusalBytes = 64 * 2 ** 10;

export function vaultClient(endpoint: Endpoint) {
  const { url, token, ca, servername, unverified, electionSeconds } = endpoint;
  const requestOf = (method: "GET" | "POST" | "DELETE", path: string) => ({
    url: `${url}/v1/${path}`,
    method,
    // Vault can be configured to refuse requests without the first header, which a web page cannot forge.
    headers: { "x-vault-request": "true", ...(token === undefined ? {} : { "x-vault-token": token }) },
    ca,
    servername,
    unverified,
  });
  const send = async (
    method: "GET" | "POST" | "DELETE",
    path: string,
    body?: object,
    timeoutSeconds = endpoint.timeoutSeconds ?? 10,
  ): Promise<HttpResponse> => {
    const attempt = () => http({ ...requestOf(method, path), body: body && JSON.stringify(body), timeoutSeconds });
    if (electionSeconds === undefined) return attempt();
    return waitFor(
      "an active member",
      async () => {
        const response = await attempt();
        const { status } = response;
        return meetsElection(response) ? { waiting: `${path} was refused with status ${status}` } : { done: response };
      },
      { deadlineSeconds: electionSeconds, intervalSeconds: 0.25 },
    );
  };
  const write = async <T = unknown>(path: string, body: object, timeoutSeconds?: number): Promise<T | undefined> =>
    parse<T>(path, await send("POST", path, body, timeoutSeconds));
  /** undefined: Vault has nothing at this path. */
  const read = async <T>(path: string): Promise<T | undefined> => {
    const response = await send("GET", path);
    return response.status === 404 ? undefined : parse<{ data: T }>(path, response)?.data;
  };
  const must = async <T>(path: string): Promise<T> => {
    const found = await read<T>(path);
    if (found === undefined) throw new VaultError(path, 404, ["there is nothing"]);
    return found;
  };
  return {
    read,
    write,
    list: async (path: string) => (await read<{ keys?: string[] }>(`${path}/?list=true`))?.keys ?? [],
    async remove(path: string): Promise<void> {
      const response = await send("DELETE", path);
      if (response.status !== 404) parse(path, response);
    },
    /** Any status of the health page is an answer. */
    health: async () => toHealth(await send("GET", "sys/health")),
    sealStatus: async () => toSealStatus(parse("sys/seal-status", await send("GET", "sys/seal-status"))),
    /** Of the log of raft, which all changes go through. */
    async appliedIndex(): Promise<number> {
      const path = "sys/leader";
      return parse<{ raft_applied_index?: number }>(path, await send("GET", path))?.raft_applied_index ?? 0;
    },
    /** In Vault's own format. Standbys refuse: they would only redirect to the active member. `timeoutSeconds`: without any part. */
    async snapshot(timeoutSeconds: number): Promise<AsyncIterable<Buffer>> {
      const path = "sys/storage/raft/snapshot";
      const response = await openHttp({ ...requestOf("GET", path), timeoutSeconds });
      const { statusCode: status = 0 } = response;
      if (status !== 200) parse(path, { status, body: await beginningOf(response, refusalBytes) });
      return response;
    },
    /** Replaces all data, and what opens it, with that of a snapshot. The server goes on with it after the answer. */
    async restore(body: Readable, timeoutSeconds: number): Promise<void> {
      const path = "sys/storage/raft/snapshot-force";
      parse(path, await http({ ...requestOf("POST", path), body, timeoutSeconds }));
    },
    async init(body: object) {
      const raw = await write<{ keys_base64?: string[]; recovery_keys_base64?: string[]; root_token?: string }>(
        "sys/init",
        body,
        initTimeoutSeconds,
      );
      return { keys: raw?.recovery_keys_base64 ?? raw?.keys_base64 ?? [], rootToken: raw?.root_token ?? "" };
    },
    async join(leader: { url: string; ca: string | undefined }): Promise<void> {
      const body = { leader_api_addr: leader.url, retry: false, leader_ca_cert: leader.ca };
      await write("sys/storage/raft/join", body, initTimeoutSeconds);
    },
    unseal: async (key: string) => toSealStatus(await write("sys/unseal", { key }, initTimeoutSeconds)),
    forgetProgress: async () => void (await write("sys/unseal", { reset: true })),
    login: async (role: string, jwt: string) =>
      (await write<RawAuth>("auth/jwt/login", { role, jwt }))?.auth?.client_token ?? "",
    lookupSelf: async () => toTokenInfo(await must<RawToken>("auth/token/lookup-self")),
    /** Seconds that the token lives now. */
    renewSelf: async () => (await write<RawAuth>("auth/token/renew-self", {}))?.auth?.lease_duration ?? 0,
    revokeSelf: async () => void (await write("auth/token/revoke-self", {})),
    async createToken(role: string, rotation: number): Promise<string> {
      const request = { meta: { rotation: String(rotation) } };
      const made = (await write<RawAuth>(`auth/token/create/${role}`, request))?.auth?.client_token;
      if (!made) throw new Error(`vault made no token for the role ${role}`);
      return made;
    },
    async mounts() {
      const raw = await must<Record<string, { type?: string; options?: { version?: string } | null }>>("sys/mounts");
      const mounts = Object.entries(raw).map(
        ([path, { type = "", options }]) => [path.replace(/\/$/, ""), { type, version: options?.version }] as const,
      );
      return Object.fromEntries(mounts);
    },
    async peers() {
      type RawPeer = { node_id: string; address: string; leader: boolean; voter: boolean };
      const { config } = await must<{ config: { servers: RawPeer[] } }>("sys/storage/raft/configuration");
      /** `address`: host and port. */
      return config.servers.map(({ node_id: id, ...peer }) => ({ id, ...peer }));
    },
    async autopilotState() {
      type RawServer = { address: string; healthy: boolean; last_index?: number };
      type RawState = { healthy: boolean; failure_tolerance: number; servers?: Record<string, RawServer> | null };
      const raw = await must<RawState>("sys/storage/raft/autopilot/state");
      const known = Object.values(raw.servers ?? {});
      const servers = known.map(({ last_index: lastIndex = 0, ...server }) => ({ ...server, lastIndex }));
      return { healthy: raw.healthy, failureTolerance: raw.failure_tolerance, servers };
    },
  };
}

export async function observeServer(client: Promise<Pick<VaultClient, "health">>): Promise<Server> {
  try {
    return { state: "up", ...(await (await client).health()) };
  } catch (error) {
    return { state: "away", reason: messageOf(error) };
  }
}

interface RawAuth {
  auth?: { client_token?: string; lease_duration?: number };
}

interface RawToken {
  ttl: number;
  policies?: string[];
  renewable?: boolean;
  orphan?: boolean;
  role?: string | undefined;
  meta?: Record<string, string> | null;
}

interface RawHealth {
  initialized?: boolean;
  sealed?: boolean;
  standby?: boolean;
  removed_from_cluster?: boolean;
  ha_connection_healthy?: boolean;
  cluster_id?: string;
  version?: string;
}

/** What a member says about itself without a token. */
function toHealth({ status, body }: HttpResponse) {
  const raw = parseJson<RawHealth>(body);
  if (raw?.initialized === undefined) throw new Error(`no health page, status ${status}`);
  return {
    initialised: raw.initialized,
    sealed: raw.sealed ?? true,
    standby: raw.standby ?? true,
    /** The other members have removed it from the cluster. */
    removed: raw.removed_from_cluster ?? false,
    /** Of a standby: whether the active member answers it. undefined until the first answer. */
    following: raw.ha_connection_healthy,
    clusterId: raw.cluster_id,
    version: raw.version ?? "unknown",
  };
}

/** `migration`: the data were initialised with another kind of seal. */
function toSealStatus(raw: object = {}) {
  return { type: "unknown", sealed: true, progress: 0, migration: false, ...raw };
}

function toTokenInfo({ ttl, policies = [], renewable = false, orphan = false, role, meta }: RawToken) {
  /** `rotation`: the value of `passwords.rotation` that the token was made for. */
  return { ttlSeconds: ttl, policies, renewable, orphan, role, rotation: Number(meta?.["rotation"] ?? 0) };
}

/** A standby that knows no active member redirects the client. A member that has just lost its leadership cannot persist. */
function meetsElection({ status, body }: HttpResponse): boolean {
  return status === 307 || (status === 500 && /not the leader|active cluster node not found/.test(body));
}

function parse<T>(path: string, { status, body }: HttpResponse): T | undefined {
  if (status === 204) return undefined;
  if (status >= 200 && status < 300) return parseJson<T>(body);
  throw new VaultError(path, status, parseJson<{ errors?: string[] }>(body)?.errors ?? []);
}

/** undefined for an answer that is not Vault's. Its text is not repeated, since it could be anything. */
export function parseJson<T>(body: string): T | undefined {
  try {
    return JSON.parse(body) as T;
  } catch {
    return undefined;
  }
}
