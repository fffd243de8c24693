/** What the servers say about themselves on `$SYS.REQ.SERVER.PING.*`, and what that means: pure. */

/** A replica of a raft group: of the meta group, of a stream or of a consumer. */
export interface Replica {
  name: string;
  current: boolean;
  offline?: boolean;
  lag?: number;
}

export interface MetaPeer extends Replica {
  /** Its id. */
  peer: string;
}

export type JetStreamState = ReturnType<typeof toJetStreamState>;

interface RawAnswer {
  server?: { name?: string; cluster?: string };
  data?: {
    disabled?: boolean;
    config?: { sync_always?: boolean };
    meta_cluster?: { name?: string; leader?: string; cluster_size?: number; replicas?: MetaPeer[] };
  };
}

/** Of one answer to JSZ. */
export function toJetStreamState(json: unknown) {
  const { server, data } = json as RawAnswer;
  const meta = data?.meta_cluster;
  return {
    server: server?.name ?? "",
    cluster: meta?.name ?? server?.cluster ?? "",
    disabled: data?.disabled ?? false,
    /** Of the meta group; empty while there is none. */
    leader: meta?.leader ?? "",
    /** Size of the meta group that this server knows. */
    size: meta?.cluster_size ?? 0,
    /** Of the meta group; complete only in the answer of its leader. */
    peers: meta?.replicas ?? [],
    syncAlways: data?.config?.sync_always ?? false,
  };
}

/** undefined when all members are in one meta group, follow one leader and are current. */
export function whyNotFormed(states: JetStreamState[], members: string[]): string | undefined {
  const missing = members.filter((member) => !states.some(({ server }) => server === member));
  if (missing.length > 0) return `${missing.join(", ")} ${missing.length === 1 ? "does" : "do"} not answer`;
  const strangers = states.filter(({ server }) => !members.includes(server)).map(({ server }) => server);
  if (strangers.length > 0) return `${strangers.join(", ")} answered too, expected only ${members.join(", ")}`;
  const disabled = states.find((state) => state.disabled);
  if (disabled !== undefined) return `JetStream is switched off on ${disabled.server}; look at its log and its volume`;
  const leaderless = states.find(({ leader }) => leader === "");
  if (leaderless !== undefined) return `${leaderless.server} knows no leader of the meta group`;
  const leaders = [...new Set(states.map(({ leader }) => leader))];
  if (leaders.length > 1) return `the members follow different leaders: ${leaders.join(", ")}`;
  const leader = states.find(({ server }) => server === leaders[0]);
  if (leader === undefined) return `the leader ${leaders[0] ?? ""} is none of the members`;
  if (leader.size !== members.length) return `the meta group has ${leader.size} members, expected ${members.length}`;
  const behind = leader.peers.filter(isBehind);
  if (behind.length > 0) return behind.map(describePeer).join("; ");
  const absent = members.filter(
    (member) => member !== leader.server && !leader.peers.some(({ name }) => name === member),
  );
  return absent.length > 0 ? `${absent.join(", ")} is not in the meta group of ${leader.server}` : undefined;
}

export function isBehind({ current, offline }: Replica): boolean {
  return offline === true || !current;
}

/** A replica in words. */
export function describePeer({ name, current, offline, lag }: Replica): string {
  if (offline === true) return `${name} is offline`;
  if (current) return `${name} is current`;
  return lag === undefined || lag === 0 ? `${name} is not current` : `${name} is ${lag} operations behind`;
}

/** Of `/healthz?details=true`. */
export interface Health {
  status: string;
  error?: string;
  errors?: { type: string; error: string }[];
}

/**
 * undefined: the server, its streams and its consumers are healthy. The streams of a removed application stay on the
 * volumes, and each server then reports that their account is missing: that is no reason to wait.
 */
export function whyNotHealthy({ status, error, errors = [] }: Health): string | undefined {
  if (status === "ok") return undefined;
  const missed = /can not lookup account|could not be resolved/;
  const others = errors.filter((each) => each.type !== "ACCOUNT" || !missed.test(each.error));
  if (errors.length > 0 && others.length === 0) return undefined;
  return others.map((each) => each.error).join("; ") || error || status;
}
