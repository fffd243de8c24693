/** The calls of Vault's API that agent and check need, over plain HTTPS. */
import { type HttpResponse, http } from "../shared/agent/http";
import { waitFor } from "../shared/core/wait";
import type { Mount } from "./layout";

export interface Endpoint {
  /** Such as https://vault-0.vault-peers.cells.svc:8200 */
  url: string;
  /** Trust bundle, PEM; undefined without TLS. */
  ca?: string | undefined;
  /** The name that the certificate must carry, default: the host of the URL. */
  servername?: string | undefined;
  /** As in `HttpRequest`. */
  unverified?: boolean;
  token?: string | undefined;
  timeoutSeconds?: number;
  /** How long a request that meets an election is repeated; every one that is sent must bear that. Default: not at all. */
  electionSeconds?: number;
}

/** An answer that is an error. The messages are Vault's own and name no token and no value. */
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

/** What a member says about itself without a token. */
export interface Health {
  initialised: boolean;
  sealed: boolean;
  standby: boolean;
  /** It was a member, and the others have removed it. */
  removed: boolean;
  /** Of a standby: whether the active member answers it. Undefined until the first answer. */
  following: boolean | undefined;
  clusterId: string | undefined;
  version: string;
}

export interface SealStatus {
  type: string;
  initialised: boolean;
  sealed: boolean;
  progress: number;
  /** It was initialised with another kind of seal. */
  migration: boolean;
}

export interface Peer {
  id: string;
  /** Host and port. */
  address: string;
  leader: boolean;
  voter: boolean;
}

export interface AutopilotState {
  healthy: boolean;
  failureTolerance: number;
  servers: { address: string; healthy: boolean; status: string; lastIndex: number }[];
}

export interface InitAnswer {
  keys: string[];
  rootToken: string;
}

export interface TokenInfo {
  ttlSeconds: number;
  policies: string[];
  renewable: boolean;
  orphan: boolean;
  role: string | undefined;
  /** For which `passwords.rotation` it was made. */
  rotation: number;
}

const defaultTimeoutSeconds = 10;
/** Making keys and, with a key service, asking it. */
const initTimeoutSeconds = 60;

export interface VaultClient {
  url: string;
  /** Any status of the health page is an answer. */
  health(): Promise<Health & { status: number }>;
  sealStatus(): Promise<SealStatus>;
  init(body: object): Promise<InitAnswer>;
  join(leader: { url: string; ca: string | undefined }): Promise<void>;
  unseal(share: string): Promise<SealStatus>;
  forgetProgress(): Promise<void>;
  login(role: string, jwt: string): Promise<string>;
  /** undefined when there is no such thing. */
  read<T>(path: string): Promise<T | undefined>;
  list(path: string): Promise<string[]>;
  write<T = unknown>(path: string, body: object): Promise<T | undefined>;
  remove(path: string): Promise<void>;
  lookupSelf(): Promise<TokenInfo>;
  renewSelf(): Promise<number>;
  revokeSelf(): Promise<void>;
  createToken(role: string, rotation: number): Promise<string>;
  mounts(): Promise<Record<string, { type: string; version: string | undefined }>>;
  peers(): Promise<Peer[]>;
  autopilotState(): Promise<AutopilotState>;
}

type Method = "GET" | "POST" | "DELETE";

/** A standby that knows no active member sends the client elsewhere; one that has just lost its leadership cannot persist. */
function meetsElection({ status, body }: HttpResponse): boolean {
  return status === 307 || (status === 500 && /not the leader|active cluster node not found/.test(body));
}

export function vaultClient(endpoint: Endpoint): VaultClient {
  const sendOnce = (
    method: Method,
    path: string,
    body?: object,
    timeoutSeconds = endpoint.timeoutSeconds ?? defaultTimeoutSeconds,
  ): Promise<HttpResponse> =>
    http({
      url: `${endpoint.url}/v1/${path}`,
      method,
      headers: {
        // Vault answers requests without it only from where no web page can send them.
        "x-vault-request": "true",
        ...(endpoint.token === undefined ? {} : { "x-vault-token": endpoint.token }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      timeoutSeconds,
      ...(endpoint.ca === undefined ? {} : { ca: endpoint.ca }),
      ...(endpoint.servername === undefined ? {} : { servername: endpoint.servername }),
      ...(endpoint.unverified ? { unverified: true } : {}),
    });
  const { electionSeconds } = endpoint;
  const send = (...request: Parameters<typeof sendOnce>): Promise<HttpResponse> =>
    electionSeconds === undefined
      ? sendOnce(...request)
      : waitFor(
          "an active member",
          async () => {
            const response = await sendOnce(...request);
            return meetsElection(response)
              ? { waiting: `${request[1]} was refused with status ${response.status}` }
              : { done: response };
          },
          { deadlineSeconds: electionSeconds, intervalSeconds: 0.25 },
        );
  const write = async <T>(path: string, body: object, timeoutSeconds?: number): Promise<T | undefined> =>
    parse<T>(path, await send("POST", path, body, timeoutSeconds));
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
    url: endpoint.url,
    async health() {
      const response = await send("GET", "sys/health");
      return { ...toHealth(response), status: response.status };
    },
    sealStatus: async () => toSealStatus(parse<RawSeal>("sys/seal-status", await send("GET", "sys/seal-status")) ?? {}),
    async init(body) {
      const raw = await write<RawInit>("sys/init", body, initTimeoutSeconds);
      const keys = raw?.recovery_keys_base64 ?? raw?.keys_base64 ?? [];
      return { keys, rootToken: raw?.root_token ?? "" };
    },
    async join({ url, ca }) {
      const body = { leader_api_addr: url, retry: false, ...(ca === undefined ? {} : { leader_ca_cert: ca }) };
      await write("sys/storage/raft/join", body, initTimeoutSeconds);
    },
    unseal: async (key) => toSealStatus((await write<RawSeal>("sys/unseal", { key }, initTimeoutSeconds)) ?? {}),
    forgetProgress: async () => void (await write("sys/unseal", { reset: true })),
    async login(role, jwt) {
      const raw = await write<RawAuth>("auth/jwt/login", { role, jwt });
      return raw?.auth?.client_token ?? "";
    },
    read,
    async list(path) {
      return (await read<{ keys?: string[] }>(`${path}/?list=true`))?.keys ?? [];
    },
    write,
    async remove(path) {
      const response = await send("DELETE", path);
      if (response.status !== 404) parse(path, response);
    },
    lookupSelf: async () => toTokenInfo(await must<RawToken>("auth/token/lookup-self")),
    async renewSelf() {
      return (await write<RawAuth>("auth/token/renew-self", {}))?.auth?.lease_duration ?? 0;
    },
    revokeSelf: async () => void (await write("auth/token/revoke-self", {})),
    async createToken(role, rotation) {
      const request = { meta: { rotation: String(rotation) } };
      const token = (await write<RawAuth>(`auth/token/create/${role}`, request))?.auth?.client_token;
      if (!token) throw new Error(`vault made no token for the role ${role}`);
      return token;
    },
    async mounts() {
      const raw = await must<Record<string, { type?: string; options?: { version?: string } | null }>>("sys/mounts");
      return Object.fromEntries(
        Object.entries(raw).map(([path, { type = "", options }]) => [
          path.replace(/\/$/, ""),
          { type, version: options?.version },
        ]),
      );
    },
    async peers() {
      const raw = await must<{ config: { servers: RawPeer[] } }>("sys/storage/raft/configuration");
      return raw.config.servers.map(({ node_id: id, address, leader, voter }) => ({ id, address, leader, voter }));
    },
    async autopilotState() {
      const raw = await must<RawAutopilot>("sys/storage/raft/autopilot/state");
      return {
        healthy: raw.healthy,
        failureTolerance: raw.failure_tolerance,
        servers: Object.values(raw.servers ?? {}).map(({ address, healthy, status, last_index: lastIndex = 0 }) => ({
          address,
          healthy,
          status,
          lastIndex,
        })),
      };
    },
  };
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

interface RawSeal {
  type?: string;
  initialized?: boolean;
  sealed?: boolean;
  progress?: number;
  migration?: boolean;
}

interface RawInit {
  keys_base64?: string[];
  recovery_keys_base64?: string[];
  root_token?: string;
}

interface RawAuth {
  auth?: { client_token?: string; lease_duration?: number };
}

interface RawToken {
  ttl: number;
  policies?: string[];
  renewable?: boolean;
  orphan?: boolean;
  role?: string;
  meta?: Record<string, string> | null;
}

interface RawPeer {
  node_id: string;
  address: string;
  leader: boolean;
  voter: boolean;
}

interface RawAutopilot {
  healthy: boolean;
  failure_tolerance: number;
  servers?: Record<string, { address: string; healthy: boolean; status: string; last_index?: number }>;
}

function toHealth({ status, body }: HttpResponse): Health {
  const raw = parseJson<RawHealth>(body);
  if (raw?.initialized === undefined) throw new Error(`no health page, status ${status}`);
  return {
    initialised: raw.initialized,
    sealed: raw.sealed ?? true,
    standby: raw.standby ?? true,
    removed: raw.removed_from_cluster ?? false,
    following: raw.ha_connection_healthy,
    clusterId: raw.cluster_id,
    version: raw.version ?? "unknown",
  };
}

function toSealStatus(raw: RawSeal): SealStatus {
  return {
    type: raw.type ?? "unknown",
    initialised: raw.initialized ?? false,
    sealed: raw.sealed ?? true,
    progress: raw.progress ?? 0,
    migration: raw.migration ?? false,
  };
}

function toTokenInfo(raw: RawToken): TokenInfo {
  return {
    ttlSeconds: raw.ttl,
    policies: raw.policies ?? [],
    renewable: raw.renewable ?? false,
    orphan: raw.orphan ?? false,
    role: raw.role,
    rotation: Number(raw.meta?.["rotation"] ?? 0),
  };
}

/** Options of a mount, as the engine names them. */
export function mountConfig({ maxVersions = 0, casRequired = false }: Mount): {
  max_versions: number;
  cas_required: boolean;
} {
  return { max_versions: maxVersions, cas_required: casRequired };
}

function parse<T>(path: string, { status, body }: HttpResponse): T | undefined {
  if (status === 204) return undefined;
  if (status >= 200 && status < 300) return parseJson<T>(body);
  throw new VaultError(path, status, parseJson<{ errors?: string[] }>(body)?.errors ?? []);
}

function parseJson<T>(body: string): T | undefined {
  try {
    return JSON.parse(body) as T;
  } catch {
    // Not an answer of Vault; its text is not repeated, since it could be anything.
    return undefined;
  }
}
