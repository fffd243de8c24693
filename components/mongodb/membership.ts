/** What the agent beside a server says of it and does for it: pure. */
import type { Status } from "../shared/agent/sidecar";
import { type DecisionOf, refuse, wait } from "../shared/core/decision";
import { beginAnew, type MarkerAnswer } from "../shared/core/marker";
import type { Gauges } from "./metrics";

export type Server =
  | { state: "away"; reason: string }
  /** It runs and belongs to no replica set. */
  | { state: "unconfigured" }
  | { state: "configured"; set: string; role: "primary" | "secondary" | "other"; primary: string | undefined };

export interface Observed {
  self: string;
  host: string;
  /** On the volume of this member, undefined when it has none. */
  config: SetConfig | undefined;
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
  metrics: Gauges;
}

export type Action =
  /** "initiate": at most one member decides so, once in the life of the set. */
  | { kind: "initiate" | "administrator" | "vote"; reason: string }
  | { kind: "reload"; certificate: string; reason: string };

export type Decision = DecisionOf<Action>;

/** Certificates are renewed weeks before they expire: a minute loses nothing and keeps the log short. */
const reloadPauseSeconds = 60;

export function decide(observed: Observed): Decision {
  const own = observed.servers[observed.self];
  if (own === undefined || own.state === "away") return { kind: "none" };
  const contradiction = volumeContradiction(observed);
  if (contradiction !== undefined) return refuse(contradiction);
  if (own.state === "unconfigured") return decideUnconfigured(observed);
  if (own.role === "primary" && observed.administrator === "unusable") {
    return { kind: "administrator", reason: "the administrator cannot log in with its password" };
  }
  if (own.role === "secondary" && votesOf(observed) === 0) {
    return { kind: "vote", reason: "the member has all data again" };
  }
  // The last action: one that fails again and again must not keep the other actions from their turn.
  const { loaded, file, failed } = observed.certificate;
  if (loaded === file) return { kind: "none" };
  const reason =
    failed === undefined
      ? "its certificates may have been renewed"
      : `its server has not read its renewed certificates: ${failed.reason}`;
  const tooSoon = failed !== undefined && failed.secondsAgo < reloadPauseSeconds;
  return tooSoon ? wait(reason) : { kind: "reload", certificate: file, reason };
}

/** Why the volume of this member does not belong to the set as it is now. Only a person can change that. */
function volumeContradiction({ self, host, config, marker }: Observed): string | undefined {
  if (config === undefined) return undefined;
  const hosts = config.members.map((member) => member.host);
  const volume = `the volume of ${self} is of the replica set ${config._id} ${identity(config)} with ${hosts.join(", ")}`;
  const discard = `delete the volume claim data-${self} and then the pod`;
  const marked = marker !== undefined && "clusterId" in marker ? marker.clusterId : undefined;
  if (marked !== undefined && marked !== identity(config)) {
    return (
      `${volume}; the cluster is ${marked}, as its marker says; bring back the volume that belongs here, or, ` +
      `when the others have all data, ${discard}: it is filled by the others`
    );
  }
  if (hosts.includes(host)) return undefined;
  if (marked !== undefined) {
    // Without a vote, which the member gets when it has all data.
    const add = `at the primary, rs.add({ host: "${host}", votes: 0, priority: 0 })`;
    return `${volume}, and not this member, although the set is the one of the marker; ${add}`;
  }
  return marker !== undefined && "reason" in marker
    ? `${volume}, and not this member; whether the set is this cluster's is unknown: ${marker.reason}`
    : `${volume}, and not this member; there is no marker; when these are the data of this cluster, bring the marker back; ` +
        `when nobody wants them, ${discard}`;
}

export function votesOf({ host, config }: Pick<Observed, "host" | "config">): number | undefined {
  return config?.members.find((member) => member.host === host)?.votes;
}

function decideUnconfigured(observed: Observed): Decision {
  const { self, host, config, servers, marker } = observed;
  const members = Object.keys(servers);
  const configured = members.filter((member) => servers[member]?.state === "configured");
  if (config !== undefined) {
    return wait(`the volume has the set, in which its server has not found itself as ${host} yet`);
  }
  if (configured.length > 0) {
    return wait(`the replica set exists (${configured.join(", ")}), and is about to take this member in`);
  }
  if (marker === undefined || "reason" in marker) {
    return wait(`whether the set was formed is unknown: ${marker?.reason ?? "not asked yet"}`);
  }
  if (marker.formed) {
    return refuse(
      "no member that answers knows the replica set, but it was formed before, so volumes are lost; bring members with " +
        `data back, or, when all volumes are lost, ${beginAnew}`,
    );
  }
  const away = Object.entries(servers).flatMap(([member, server]) =>
    server.state === "away" ? [`${member}: ${server.reason}`] : [],
  );
  if (away.length > 0) return wait(`the set is formed when all members answer (${away.join("; ")})`);
  return self === members[0]
    ? { kind: "initiate", reason: "all members answer and are empty, and the set was never formed" }
    : wait(`${members[0] ?? "nobody"} forms the set`);
}

export interface SetStatus {
  members: { name?: string; self?: boolean; health: number; stateStr: string; optimeDate?: Date }[];
}

/**
 * Knows others by their last heartbeat (2 s): the lag of a quiet set is some seconds, and only its growth counts. A member that is filled
 * has no lag: its data has no time yet.
 */
export function gauges({ members }: SetStatus): Gauges {
  const holdsData = ({ stateStr }: SetStatus["members"][number]): boolean =>
    ["PRIMARY", "SECONDARY"].includes(stateStr);
  const healthy = members.filter((member) => member.health === 1 && holdsData(member));
  const own = members.find((member) => member.self === true && holdsData(member))?.optimeDate?.getTime();
  const primary = members.find(({ stateStr }) => stateStr === "PRIMARY")?.optimeDate?.getTime();
  return {
    members_healthy: healthy.length,
    ...(own === undefined || primary === undefined ? {} : { lag_seconds: Math.max(0, (primary - own) / 1000) }),
  };
}

/** Of `serverStatus` with the section `oplog`, which is not there before the set is formed. */
export interface ServerStatus {
  connections: { current: number; available: number };
  oplog?: Record<"earliestOptime" | "latestOptime", { t: number }>;
}

export function loadGauges({ connections, oplog }: ServerStatus): Gauges {
  return {
    connections: connections.current,
    connections_available: connections.available,
    ...(oplog === undefined ? {} : { oplog_window_seconds: oplog.latestOptime.t - oplog.earliestOptime.t }),
  };
}

export function describe(observed: Observed): Status {
  const own = observed.servers[observed.self];
  const votes = votesOf(observed);
  const metrics: Gauges = {
    ...observed.metrics,
    ...(votes === undefined ? {} : { votes }),
    certificate_reload_failed: Number(observed.certificate.failed !== undefined),
  };
  const decision = decide(observed);
  const news = decision.kind === "none" ? "" : `; ${decision.reason}`;
  const refused = decision.kind === "refuse";
  const outside = { ready: false, primary: false, refused, metrics };
  if (own === undefined || own.state === "away") {
    return { ...outside, detail: `the server does not answer: ${own?.reason ?? "it was not asked"}` };
  }
  if (own.state === "unconfigured") return { ...outside, detail: `in no replica set${news}` };
  const primary = own.role === "primary";
  // A secondary without a primary has everything that was acknowledged to it, and the election needs it. A member
  // without a vote counts for nothing yet: no other member may be stopped because this one seems ready.
  const voter = votes !== 0;
  const ready = (primary || (own.role === "secondary" && voter)) && !refused;
  const role = own.role === "other" ? "neither primary nor secondary, it may be filled or recover" : own.role;
  const silent = voter ? "" : ", without a vote";
  const follows = primary ? "" : `, primary ${own.primary ?? "unknown"}`;
  return { ready, primary, refused, detail: `${role}${silent}${follows}${news}`, metrics };
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
  settings?: Record<string, unknown>;
}

/** Made once, when the set is formed; a set of the same name that is formed again has another. */
export function identity({ settings }: SetConfig): string {
  return String(settings?.["replicaSetId"]);
}

/** Of every set, also of one that was formed otherwise; the setup sets them, and the check reads them back. */
export const setSettings = {
  /**
   * Until a silent primary is replaced. The default, 10 s, is for networks that lose packets for longer. Measured with
   * 6.0.27: 5.3 to 7.0 s without writes after a SIGKILL of the primary.
   */
  electionTimeoutMillis: 5_000,
  /**
   * How long a new primary waits for what each member has, before it takes writes. The default, 10 s, would come on top
   * of the election when the former primary hangs. A member that is silent for longer counts as down until its next
   * heartbeat.
   */
  heartbeatTimeoutSecs: 2,
  /** From the primary only: when another source is lost with its node, majority writes wait for half a minute. */
  chainingAllowed: false,
};

export function initialConfig(name: string, hosts: string[]) {
  return {
    _id: name,
    members: hosts.map((host, ordinal) => ({ _id: ordinal, host })),
    settings: setSettings,
  };
}

export function withSettings(config: SetConfig): SetConfig | undefined {
  if (settingsProblems(config).length === 0) return undefined;
  return { ...next(config, config.members), settings: { ...config.settings, ...setSettings } };
}

export function settingsProblems({ settings = {} }: Pick<SetConfig, "settings">): string[] {
  return Object.entries(setSettings).flatMap(([key, wanted]) =>
    settings[key] === wanted ? [] : [`${key} is ${JSON.stringify(settings[key] ?? "not set")} instead of ${wanted}`],
  );
}

function next(config: SetConfig, members: SetMember[]): SetConfig {
  return { ...config, version: config.version + 1, members };
}

/** A member without a vote must not be elected either, so its priority is 0 too. */
export function withVotes(config: SetConfig, host: string, votes: 0 | 1): SetConfig {
  const changed = (member: SetMember) => (member.host === host ? { ...member, votes, priority: votes } : member);
  return next(config, config.members.map(changed));
}

/** Without a vote: a member that has no data yet must neither acknowledge writes nor be elected. */
export function withMember(config: SetConfig, host: string): SetConfig {
  const _id = 1 + Math.max(...config.members.map((member) => member._id));
  return next(config, [...config.members, { _id, host, votes: 0, priority: 0 }]);
}

type ReleaseStep = { kind: "stepDown" } | { kind: "remove"; host: string; config: SetConfig };

/**
 * The next step of `primary` until the set knows none of the hosts `leaving`. One member at a time, so that the
 * majorities of two configurations share a member. The server refuses more.
 */
export function nextRelease(config: SetConfig, primary: string, leaving: string[]): ReleaseStep | undefined {
  const hosts = config.members.map(({ host }) => host).filter((host) => leaving.includes(host));
  // The primary last, because it cannot remove itself: only members that stay can succeed it by then.
  const host = hosts.find((each) => each !== primary) ?? hosts[0];
  if (host === undefined) return undefined;
  if (host === primary) return { kind: "stepDown" };
  const members = config.members.filter((member) => member.host !== host);
  return { kind: "remove", host, config: next(config, members) };
}

/** The name of the pod. `host`: its DNS name, with or without port. */
export function memberOf(host: string): string {
  return host.split(".")[0] ?? host;
}
