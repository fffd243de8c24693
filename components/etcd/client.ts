/**
 * The etcd calls of the agent, over the JSON gateway: the gRPC client would bring its .proto files and four times the code
 * into the bundle. Numbers of 64 bits arrive as strings and stay strings, and fields with the zero value are left out.
 */
import { type HttpRequest, type HttpResponse, http } from "../shared/agent/http";
import type { Credentials } from "../shared/core/users";

export type EtcdClient = ReturnType<typeof etcdClient>;
export type Member = Awaited<ReturnType<EtcdClient["memberList"]>>["members"][number];
export type Status = Awaited<ReturnType<EtcdClient["status"]>>;

export interface Alarm {
  memberId: string;
  alarm: string;
}

/** On the keys from `key` to `rangeEnd`, which are base64; on one key when `rangeEnd` is empty. */
export interface Permission {
  permType: string;
  key: string;
  rangeEnd: string;
}

interface Endpoint {
  /** Such as https://etcd-0.etcd-peers.cells.svc:2379 */
  url: string;
  /** Trust bundle, PEM; undefined without TLS. */
  ca: string | undefined;
  /** The first that etcd accepts counts. */
  credentials: Credentials[];
  /** Until etcd wants another one. */
  token?: string;
}

/** Read and write on every key: from the zero byte up to the end. */
export const everyKey: Permission = { permType: "READWRITE", key: "AA==", rangeEnd: "AA==" };

/** In the answer of etcd to a user that it does not know, or whose password is another one. */
export const refusedPassword = "invalid user ID or password";

const usualSeconds = 10;
/** Defragmentation copies the database: 8 GiB at 50 MB/s. */
const defragmentSeconds = 180;

export function etcdClient({ url, ca, credentials, token: first }: Endpoint) {
  let token = first;

  const requestOf = (path: string, body: object, timeoutSeconds = usualSeconds): HttpRequest => ({
    url: `${url}/v3/${path}`,
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...(token === undefined ? {} : { authorization: token }) },
    timeoutSeconds,
    ca,
  });
  const send = (path: string, body: object, timeoutSeconds?: number) => http(requestOf(path, body, timeoutSeconds));

  /** The token is asked for when etcd wants one, and again when it has expired or users have changed since. */
  const call = async <T>(path: string, body: object, timeoutSeconds?: number): Promise<T> => {
    let response = await send(path, body, timeoutSeconds);
    if (needsToken(response)) {
      token = undefined;
      token = await logIn();
      response = await send(path, body, timeoutSeconds);
    }
    return parse<T>(path, response);
  };
  const change = async (path: string, body: object, timeoutSeconds?: number): Promise<void> => {
    await call(path, body, timeoutSeconds);
  };

  const authenticate = (login: Credentials) => send("auth/authenticate", userOf(login));
  const logIn = async (): Promise<string | undefined> => {
    let answer: HttpResponse | undefined;
    for (const each of credentials) {
      answer = await authenticate(each);
      if (!answer.body.includes(refusedPassword)) break;
    }
    return answer && parse<{ token?: string }>("auth/authenticate", answer).token;
  };

  return {
    /** For what only backups ask: any call, and the request of one with the token of the last call. */
    call,
    requestOf,
    /** Asks a majority, so the answer is true for the cluster. */
    async memberList() {
      const { header, members = [] } = await call<{
        header?: { cluster_id?: string };
        members?: { ID?: string; name?: string; peerURLs?: string[]; clientURLs?: string[]; isLearner?: boolean }[];
      }>("cluster/member/list", { linearizable: true });
      return {
        clusterId: header?.cluster_id ?? "",
        members: members.map(({ ID = "", name = "", peerURLs = [], clientURLs = [], isLearner = false }) => ({
          id: ID,
          /** Empty until the member has started for the first time, as are its client URLs. */
          name,
          peerUrls: peerURLs,
          clientUrls: clientURLs,
          learner: isLearner,
        })),
      };
    },
    memberAddLearner: (peerUrl: string) => change("cluster/member/add", { peerURLs: [peerUrl], isLearner: true }),
    memberUpdate: (id: string, peerURLs: string[]) => change("cluster/member/update", { ID: id, peerURLs }),
    memberRemove: (id: string) => change("cluster/member/remove", { ID: id }),
    memberPromote: (id: string) => change("cluster/member/promote", { ID: id }),
    /** Only the leader does it. */
    moveLeader: (id: string) => change("maintenance/transfer-leadership", { targetID: id }),
    async status() {
      const { header, version, leader, isLearner, dbSize, dbSizeInUse } = await call<{
        header?: { cluster_id?: string; member_id?: string; revision?: string };
        version?: string;
        leader?: string;
        isLearner?: boolean;
        dbSize?: string;
        dbSizeInUse?: string;
      }>("maintenance/status", {});
      return {
        clusterId: header?.cluster_id ?? "",
        memberId: header?.member_id ?? "",
        version: version ?? "",
        leader: leader ?? "0",
        learner: isLearner ?? false,
        dbSize: Number(dbSize ?? 0),
        dbSizeInUse: Number(dbSizeInUse ?? 0),
        revision: header?.revision ?? "0",
      };
    },
    async alarms(): Promise<Alarm[]> {
      type Raised = { alarms?: { memberID?: string; alarm?: string }[] };
      const { alarms = [] } = await call<Raised>("maintenance/alarm", { action: "GET" });
      return alarms.map(({ memberID = "0", alarm = "NONE" }) => ({ memberId: memberID, alarm }));
    },
    disarm: ({ memberId, alarm }: Alarm) =>
      change("maintenance/alarm", { action: "DEACTIVATE", memberID: memberId, alarm }),
    compact: (revision: string) => change("kv/compaction", { revision, physical: true }, defragmentSeconds),
    defragment: () => change("maintenance/defragment", {}, defragmentSeconds),
    /** Whether passwords are asked for. */
    authEnabled: async () => (await call<{ enabled?: boolean }>("auth/status", {})).enabled ?? false,
    authEnable: () => change("auth/enable", {}),
    /** false when etcd does not accept this user with this password. */
    async authenticates(login: Credentials) {
      const response = await authenticate(login);
      if (response.body.includes(refusedPassword)) return false;
      parse("auth/authenticate", response);
      return true;
    },
    userList: async () => (await call<{ users?: string[] }>("auth/user/list", {})).users ?? [],
    userAdd: (login: Credentials) => change("auth/user/add", userOf(login)),
    userDelete: (name: string) => change("auth/user/delete", { name }),
    userRoles: async (name: string) => (await call<{ roles?: string[] }>("auth/user/get", { name })).roles ?? [],
    userChangePassword: (login: Credentials) => change("auth/user/changepw", userOf(login)),
    userGrantRole: (user: string, role: string) => change("auth/user/grant", { user, role }),
    roleList: async () => (await call<{ roles?: string[] }>("auth/role/list", {})).roles ?? [],
    roleAdd: (name: string) => change("auth/role/add", { name }),
    roleDelete: (role: string) => change("auth/role/delete", { role }),
    async rolePermissions(role: string): Promise<Permission[]> {
      type Role = { perm?: { permType?: string; key?: string; range_end?: string }[] };
      const { perm = [] } = await call<Role>("auth/role/get", { role });
      return perm.map(({ permType = "READ", key = "", range_end: rangeEnd = "" }) => ({ permType, key, rangeEnd }));
    },
    roleGrant: (name: string, { permType, key, rangeEnd }: Permission) =>
      change("auth/role/grant", { name, perm: { permType, key, range_end: rangeEnd } }),
  };
}

function userOf({ username, password }: Credentials): object {
  return { name: username, password };
}

function needsToken({ status, body }: HttpResponse): boolean {
  return status >= 400 && /invalid auth token|user name is empty|auth store is old|permission denied/.test(body);
}

/** An answer that is an error throws in etcd's own words, which name no password. */
export function parse<T>(path: string, { status, body }: HttpResponse): T {
  if (status >= 200 && status < 300) return JSON.parse(body) as T;
  let message = `status ${status}`;
  try {
    message = (JSON.parse(body) as { message?: string }).message ?? message;
  } catch {
    // Not an answer of the gateway; its text is not repeated, since it could be anything.
  }
  throw new Error(`etcd refused ${path}: ${message}`);
}
