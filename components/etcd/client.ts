/**
 * The etcd calls of the agent, over the JSON gateway: the gRPC client would bring its .proto files and four times the code
 * into the bundle. Numbers of 64 bits arrive as strings and stay strings.
 */
import { type HttpResponse, http } from "../shared/agent/http";
import type { Credentials } from "../shared/core/users";

export interface Member {
  id: string;
  /** Empty until the member has started for the first time. */
  name: string;
  peerUrls: string[];
  clientUrls: string[];
  learner: boolean;
}

interface MemberList {
  clusterId: string;
  members: Member[];
}

export interface Status {
  clusterId: string;
  memberId: string;
  leader: string;
  learner: boolean;
  dbSize: number;
  dbSizeInUse: number;
  revision: string;
  errors: string[];
}

export interface Alarm {
  memberId: string;
  alarm: string;
}

export interface Endpoint {
  /** Such as https://etcd-0.etcd-peers.cells.svc:2379 */
  url: string;
  /** Trust bundle, PEM; undefined without TLS. */
  ca?: string | undefined;
  /** The name that the certificate must carry, default: the host of the URL. */
  servername?: string;
  /** The first that etcd accepts counts. */
  credentials?: Credentials[];
  timeoutSeconds?: number;
}

/** An answer of etcd that is an error. The message is etcd's own and names no password. */
export class EtcdError extends Error {
  readonly status: number;

  constructor(path: string, status: number, message: string) {
    super(`etcd refused ${path}: ${message}`);
    this.status = status;
  }
}

export interface EtcdClient {
  url: string;
  /** Asks a majority, so the answer is true for the cluster. */
  memberList(): Promise<MemberList>;
  memberAddLearner(peerUrl: string): Promise<{ id: string; list: MemberList }>;
  memberUpdate(id: string, peerUrls: string[]): Promise<void>;
  memberRemove(id: string): Promise<void>;
  memberPromote(id: string): Promise<void>;
  /** Only the leader does it. */
  moveLeader(id: string): Promise<void>;
  status(): Promise<Status>;
  alarms(): Promise<Alarm[]>;
  disarm(alarm: Alarm): Promise<void>;
  compact(revision: string): Promise<void>;
  defragment(): Promise<void>;
  /** Whether passwords are asked for. */
  authEnabled(): Promise<boolean>;
  authEnable(): Promise<void>;
  /** false when etcd does not accept this user with this password. */
  authenticates(username: string, password: string): Promise<boolean>;
  userList(): Promise<string[]>;
  userAdd(username: string, password: string): Promise<void>;
  userDelete(username: string): Promise<void>;
  userRoles(username: string): Promise<string[]>;
  userChangePassword(username: string, password: string): Promise<void>;
  userGrantRole(username: string, role: string): Promise<void>;
  roleList(): Promise<string[]>;
  roleAdd(role: string): Promise<void>;
  roleDelete(role: string): Promise<void>;
  rolePermissions(role: string): Promise<Permission[]>;
  roleGrant(role: string, permission: Permission): Promise<void>;
}

export interface Permission {
  permType: string;
  /** Base64. */
  key: string;
  /** Base64; empty for a single key. */
  rangeEnd: string;
}

/** Read and write on every key: from the zero byte up to the end. */
export const everyKey: Permission = { permType: "READWRITE", key: "AA==", rangeEnd: "AA==" };

/** In the answer of etcd to a user that it does not know, or whose password is another one. */
export const refusedPassword = "invalid user ID or password";

const defaultTimeoutSeconds = 10;
/** Defragmentation copies the database: 8 GiB at 50 MB/s. */
const defragmentSeconds = 180;

export function etcdClient(endpoint: Endpoint): EtcdClient {
  let token: string | undefined;

  const send = (path: string, body: object, timeoutSeconds = endpoint.timeoutSeconds ?? defaultTimeoutSeconds) =>
    http({
      url: `${endpoint.url}/v3/${path}`,
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json", ...(token === undefined ? {} : { authorization: token }) },
      timeoutSeconds,
      ...(endpoint.ca === undefined ? {} : { ca: endpoint.ca }),
      ...(endpoint.servername === undefined ? {} : { servername: endpoint.servername }),
    });

  /** The token is asked for when etcd wants one, and again when it has expired or users have changed since. */
  const call = async <T>(path: string, body: object, timeoutSeconds?: number): Promise<T> => {
    let response = await send(path, body, timeoutSeconds);
    if (endpoint.credentials !== undefined && needsToken(response)) {
      token = undefined;
      token = await authenticate(endpoint.credentials);
      response = await send(path, body, timeoutSeconds);
    }
    return parse<T>(path, response);
  };

  const authenticate = async (credentials: Credentials[]): Promise<string | undefined> => {
    let answer: HttpResponse | undefined;
    for (const each of credentials) {
      answer = await send("auth/authenticate", authentication(each));
      if (!answer.body.includes(refusedPassword)) break;
    }
    return answer && parse<{ token?: string }>("auth/authenticate", answer).token;
  };

  return {
    url: endpoint.url,
    memberList: async () => toMemberList(await call<RawMemberList>("cluster/member/list", { linearizable: true })),
    memberAddLearner: async (peerUrl) => {
      const raw = await call<RawMemberList & { member?: RawMember }>("cluster/member/add", {
        peerURLs: [peerUrl],
        isLearner: true,
      });
      return { id: raw.member?.ID ?? "", list: toMemberList(raw) };
    },
    memberUpdate: async (id, peerURLs) => void (await call("cluster/member/update", { ID: id, peerURLs })),
    memberRemove: async (id) => void (await call("cluster/member/remove", { ID: id })),
    memberPromote: async (id) => void (await call("cluster/member/promote", { ID: id })),
    moveLeader: async (id) => void (await call("maintenance/transfer-leadership", { targetID: id })),
    status: async () => toStatus(await call<RawStatus>("maintenance/status", {})),
    alarms: async () => {
      const raw = await call<{ alarms?: { memberID?: string; alarm?: string }[] }>("maintenance/alarm", {
        action: "GET",
      });
      return (raw.alarms ?? []).map(({ memberID = "0", alarm = "NONE" }) => ({ memberId: memberID, alarm }));
    },
    disarm: async ({ memberId, alarm }) =>
      void (await call("maintenance/alarm", { action: "DEACTIVATE", memberID: memberId, alarm })),
    compact: async (revision) => void (await call("kv/compaction", { revision, physical: true }, defragmentSeconds)),
    defragment: async () => void (await call("maintenance/defragment", {}, defragmentSeconds)),
    authEnabled: async () => (await call<{ enabled?: boolean }>("auth/status", {})).enabled ?? false,
    authEnable: async () => void (await call("auth/enable", {})),
    authenticates: async (username, password) => {
      const response = await send("auth/authenticate", authentication({ username, password }));
      if (response.body.includes(refusedPassword)) return false;
      parse("auth/authenticate", response);
      return true;
    },
    userList: async () => (await call<{ users?: string[] }>("auth/user/list", {})).users ?? [],
    userAdd: async (name, password) => void (await call("auth/user/add", { name, password })),
    userDelete: async (name) => void (await call("auth/user/delete", { name })),
    userRoles: async (name) => (await call<{ roles?: string[] }>("auth/user/get", { name })).roles ?? [],
    userChangePassword: async (name, password) => void (await call("auth/user/changepw", { name, password })),
    userGrantRole: async (user, role) => void (await call("auth/user/grant", { user, role })),
    roleList: async () => (await call<{ roles?: string[] }>("auth/role/list", {})).roles ?? [],
    roleAdd: async (name) => void (await call("auth/role/add", { name })),
    roleDelete: async (role) => void (await call("auth/role/delete", { role })),
    rolePermissions: async (role) => {
      const raw = await call<{ perm?: { permType?: string; key?: string; range_end?: string }[] }>("auth/role/get", {
        role,
      });
      // Fields with the zero value are left out: READ is 0.
      return (raw.perm ?? []).map(({ permType = "READ", key = "", range_end = "" }) => ({
        permType,
        key,
        rangeEnd: range_end,
      }));
    },
    roleGrant: async (name, { permType, key, rangeEnd }) =>
      void (await call("auth/role/grant", { name, perm: { permType, key, range_end: rangeEnd } })),
  };
}

interface RawMember {
  ID?: string;
  name?: string;
  peerURLs?: string[];
  clientURLs?: string[];
  isLearner?: boolean;
}

interface RawMemberList {
  header?: { cluster_id?: string };
  members?: RawMember[];
}

interface RawStatus {
  header?: { cluster_id?: string; member_id?: string; revision?: string };
  leader?: string;
  isLearner?: boolean;
  dbSize?: string;
  dbSizeInUse?: string;
  errors?: string[];
}

function toMemberList(raw: RawMemberList): MemberList {
  return {
    clusterId: raw.header?.cluster_id ?? "",
    members: (raw.members ?? []).map(({ ID = "", name = "", peerURLs = [], clientURLs = [], isLearner = false }) => ({
      id: ID,
      name,
      peerUrls: peerURLs,
      clientUrls: clientURLs,
      learner: isLearner,
    })),
  };
}

function toStatus(raw: RawStatus): Status {
  return {
    clusterId: raw.header?.cluster_id ?? "",
    memberId: raw.header?.member_id ?? "",
    leader: raw.leader ?? "0",
    learner: raw.isLearner ?? false,
    dbSize: Number(raw.dbSize ?? 0),
    dbSizeInUse: Number(raw.dbSizeInUse ?? 0),
    revision: raw.header?.revision ?? "0",
    errors: raw.errors ?? [],
  };
}

function authentication({ username, password }: Credentials): object {
  return { name: username, password };
}

function needsToken({ status, body }: HttpResponse): boolean {
  if (status < 400) return false;
  return ["invalid auth token", "user name is empty", "auth store is old", "permission denied"].some((reason) =>
    body.includes(reason),
  );
}

function parse<T>(path: string, { status, body }: HttpResponse): T {
  if (status >= 200 && status < 300) return JSON.parse(body) as T;
  let message = `status ${status}`;
  try {
    message = (JSON.parse(body) as { message?: string }).message ?? message;
  } catch {
    // Not an answer of the gateway; its text is not repeated, since it could be anything.
  }
  throw new EtcdError(path, status, message);
}
