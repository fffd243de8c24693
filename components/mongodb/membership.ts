/** What the agent beside a server says of it and does for it: pure. */
import { beginAnew, type MarkerAnswer } from "../shared/core/marker";

/** What one server says of itself. */
export type Server =
  | { state: "away"; reason: string }
  /** It runs and belongs to no replica set. */
  | { state: "unconfigured" }
  | { state: "configured"; set: string; role: "primary" | "secondary" | "other"; primary: string | undefined };

export interface Observed {
  self: string;
  /** As the set knows this member. */
  host: string;
  /** On the volume of this member, undefined when it has none. */
  config: SetConfig | undefined;
  /** The server has looked for itself in that configuration, and not found itself. */
  lost: boolean;
  /** The name of this member leads to it. Only asked while the server is lost. */
  resolves: boolean;
  /** By ordinal; all members are in it. Others are only asked while the own server is unconfigured. */
  servers: Record<string, Server>;
  /** Only asked while the own server follows no primary. */
  marker: MarkerAnswer | undefined;
  /** Only asked of a primary. */
  administrator: "usable" | "unusable" | undefined;
  /** Digests of the certificate files, and of what the server has read: when they differ, it must read them again. */
  certificate: {
    file: string;
    loaded: string | undefined;
    /** The last try to make it read these files. */
    failed: { reason: string; secondsAgo: number } | undefined;
  };
  /** Gauges. */
  metrics: Record<string, number>;
}

export type Action =
  /** At most one member decides so, once in the life of the set. */
  | { kind: "initiate"; reason: string }
  | { kind: "restart"; reason: string }
  | { kind: "administrator"; reason: string }
  | { kind: "vote"; reason: string }
  | { kind: "reload"; certificate: string; reason: string };

export type Decision =
  | Action
  | { kind: "none" }
  | { kind: "wait"; reason: string }
  /** Needs a person. */
  | { kind: "refuse"; reason: string };

/** Certificates are renewed weeks before they expire: a minute loses nothing, and leaves the server and its log alone. */
const reloadPauseSeconds = 60;

export function decide(observed: Observed): Decision {
  const own = observed.servers[observed.self];
  if (own === undefined || own.state === "away") return { kind: "none" };
  const contradiction = volumeContradiction(observed);
  if (contradiction !== undefined) return { kind: "refuse", reason: contradiction };
  if (own.state === "unconfigured") return decideUnconfigured(observed);
  if (own.role === "primary" && observed.administrator === "unusable") {
    return { kind: "administrator", reason: "the administrator cannot log in with its password" };
  }
  if (own.role === "secondary" && votesOf(observed) === 0) {
    return { kind: "vote", reason: "the member has all data again" };
  }
  // Last: what fails again and again must not keep the others from their turn.
  const { loaded, file, failed } = observed.certificate;
  if (loaded === file) return { kind: "none" };
  if (failed === undefined) {
    return { kind: "reload", certificate: file, reason: "its certificates may have been renewed" };
  }
  const reason = `its server has not read its renewed certificates: ${failed.reason}`;
  return failed.secondsAgo < reloadPauseSeconds
    ? { kind: "wait", reason }
    : { kind: "reload", certificate: file, reason };
}

/** Why the volume of this member has no place in the set as it is now, which only a person can change. */
function volumeContradiction({ self, host, config, marker }: Observed): string | undefined {
  if (config === undefined) return undefined;
  const hosts = config.members.map((member) => member.host);
  const volume = `the volume of ${self} is of the replica set ${config._id} ${identity(config)} with ${hosts.join(", ")}`;
  const discard = `delete the volume claim data-${self} and then the pod`;
  if (marker !== undefined && "clusterId" in marker && marker.clusterId !== identity(config)) {
    return (
      `${volume}; the cluster is ${marker.clusterId}, as its marker says; bring back the volume that belongs here, or, ` +
      `when the others have all data, ${discard}: it is filled by the others`
    );
  }
  if (hosts.includes(host)) return undefined;
  if (marker !== undefined && "clusterId" in marker) {
    return `${volume}, and not this member, although the set is the one of the marker; ${takeIn(host)}`;
  }
  return marker !== undefined && "reason" in marker
    ? `${volume}, and not this member; whether the set is this cluster's is unknown: ${marker.reason}`
    : `${volume}, and not this member; there is no marker; when these are the data of this cluster, bring the marker back; ` +
        `when nobody wants them, ${discard}`;
}

/** What a person types at the primary. Without a vote, which the member gets when it has all data. */
function takeIn(host: string): string {
  return `at the primary, rs.add({ host: "${host}", votes: 0, priority: 0 })`;
}

export function votesOf({ host, config }: Pick<Observed, "host" | "config">): number | undefined {
  return config?.members.find((member) => member.host === host)?.votes;
}

function decideUnconfigured(observed: Observed): Decision {
  const { self, config, servers, marker } = observed;
  const members = Object.keys(servers);
  const configured = members.filter((member) => servers[member]?.state === "configured");
  if (config !== undefined) return decideLost(observed, configured);
  if (configured.length > 0) {
    return {
      kind: "wait",
      reason: `the replica set exists (${configured.join(", ")}), and is about to take this member in`,
    };
  }
  if (marker === undefined || "reason" in marker) {
    return { kind: "wait", reason: `whether the set was formed is unknown: ${marker?.reason ?? "not asked yet"}` };
  }
  if (marker.formed) {
    return {
      kind: "refuse",
      reason:
        "no member that answers knows the replica set, but it was formed before, so volumes are lost; bring members with " +
        `data back, or, when all volumes are lost, ${beginAnew}`,
    };
  }
  const away = members.flatMap((member) => {
    const server = servers[member];
    return server?.state === "away" ? [`${member}: ${server.reason}`] : [];
  });
  if (away.length > 0)
    return { kind: "wait", reason: `the set is formed when all members answer (${away.join("; ")})` };
  return self === members[0]
    ? { kind: "initiate", reason: "all members answer and are empty, and the set was never formed" }
    : { kind: "wait", reason: `${members[0] ?? "nobody"} forms the set` };
}

/**
 * A server looks for itself among the names of its set when it starts, and again only when a heartbeat of another member
 * comes. When all start while DNS is away, or still has their former addresses, none ever does (seen with 6.0.27).
 */
function decideLost({ host, lost, resolves }: Observed, configured: string[]): Decision {
  const reason = `the volume has the set, in which its server has not found itself as ${host}`;
  if (!lost || configured.length > 0) return { kind: "wait", reason: `${reason} yet` };
  return resolves
    ? { kind: "restart", reason: `${reason}, and no other member makes it look again` }
    : { kind: "wait", reason: `${reason}: the name does not lead to this pod` };
}

/** Of the server's own status document. */
export interface SetStatus {
  members: { self?: boolean; health: number; stateStr: string; optimeDate?: Date }[];
}

/**
 * How the set looks from here. What is known of others is as old as their last heartbeat (2 s), so the lag is 0 or some
 * seconds in a quiet set, and only one that grows means something.
 */
export function gauges({ members }: SetStatus): Record<string, number> {
  const healthy = members.filter(({ health, stateStr }) => health === 1 && ["PRIMARY", "SECONDARY"].includes(stateStr));
  const own = members.find(({ self }) => self === true)?.optimeDate?.getTime();
  const primary = members.find(({ stateStr }) => stateStr === "PRIMARY")?.optimeDate?.getTime();
  return {
    members_healthy: healthy.length,
    ...(own === undefined || primary === undefined ? {} : { lag_seconds: Math.max(0, (primary - own) / 1000) }),
  };
}

export interface View {
  ready: boolean;
  primary: boolean;
  detail: string;
  metrics: Record<string, number>;
}

export function describe(observed: Observed): View {
  const own = observed.servers[observed.self];
  const votes = votesOf(observed);
  const metrics = {
    ...observed.metrics,
    ...(votes === undefined ? {} : { votes }),
    certificate_reload_failed: Number(observed.certificate.failed !== undefined),
  };
  const decision = decide(observed);
  const news = decision.kind === "none" ? "" : `; ${decision.reason}`;
  if (own === undefined || own.state === "away") {
    const reason = own === undefined ? "it was not asked" : own.reason;
    return { ready: false, primary: false, detail: `the server does not answer: ${reason}`, metrics };
  }
  if (own.state === "unconfigured") {
    return { ready: false, primary: false, detail: `in no replica set${news}`, metrics };
  }
  const primary = own.role === "primary";
  // A secondary without a primary has everything that was acknowledged to it, and is needed for the election. One without
  // a vote counts for nothing yet: another member must not be taken away for its sake.
  const voter = votes !== 0;
  const ready = (primary || (own.role === "secondary" && voter)) && decision.kind !== "refuse";
  const role = own.role === "other" ? "neither primary nor secondary, it may be filled or recover" : own.role;
  const silent = voter ? "" : ", without a vote";
  const follows = primary ? "" : `, primary ${own.primary ?? "unknown"}`;
  return { ready, primary, detail: `${role}${silent}${follows}${news}`, metrics };
}

// --- the configuration of the set

/** One field of the server's own configuration document; the others pass through unchanged. */
export interface SetMember {
  _id: number;
  host: string;
  votes: number;
  priority: number;
}

export interface SetConfig {
  _id: string;
  version: number;
  members: SetMember[];
  settings?: { replicaSetId?: unknown };
}

/** Made once, when the set is formed; a set of the same name that is formed again has another. */
export function identity({ settings }: SetConfig): string {
  return String(settings?.replicaSetId);
}

/**
 * A primary that does not answer is replaced after this time; the server's default of 10 s is for networks that lose packets
 * for longer than one cluster's does. Measured with 6.0.27: 5.3 to 7.0 s without writes after a SIGKILL of the primary.
 */
const electionTimeoutMilliseconds = 5_000;

export function initialConfig(name: string, hosts: string[]) {
  return {
    _id: name,
    members: hosts.map((host, ordinal) => ({ _id: ordinal, host })),
    settings: { electionTimeoutMillis: electionTimeoutMilliseconds },
  };
}

/** Without a vote a member must not be elected either, which is its priority. */
export function withVotes(config: SetConfig, host: string, votes: 0 | 1): SetConfig {
  return {
    ...config,
    version: config.version + 1,
    members: config.members.map((member) => (member.host === host ? { ...member, votes, priority: votes } : member)),
  };
}

/** Without a vote: one that has no data yet must neither acknowledge writes nor be elected. */
export function withMember(config: SetConfig, host: string): SetConfig {
  const _id = 1 + Math.max(...config.members.map((member) => member._id));
  return {
    ...config,
    version: config.version + 1,
    members: [...config.members, { _id, host, votes: 0, priority: 0 }],
  };
}

function withoutMember(config: SetConfig, host: string): SetConfig {
  return { ...config, version: config.version + 1, members: config.members.filter((member) => member.host !== host) };
}

type ReleaseStep = { kind: "stepDown" } | { kind: "remove"; host: string; config: SetConfig };

/**
 * What `primary` does next so that the set forgets the hosts `leaving`; undefined: it has forgotten them. One at a time: any
 * majority of a configuration then shares a member with any majority of the next one. The server refuses anything else.
 */
export function nextRelease(config: SetConfig, primary: string, leaving: string[]): ReleaseStep | undefined {
  const hosts = config.members.map(({ host }) => host).filter((host) => leaving.includes(host));
  // The primary last, because it cannot remove itself: only members that stay can succeed it by then.
  const host = hosts.find((each) => each !== primary) ?? hosts[0];
  if (host === undefined) return undefined;
  return host === primary ? { kind: "stepDown" } : { kind: "remove", host, config: withoutMember(config, host) };
}
