/** Who is master, who follows, and who may be elected: pure. The loop that observes and acts is in `sidecar.ts`. */
import type { Status } from "../shared/agent/sidecar";
import { type DecisionOf, refuse, wait } from "../shared/core/decision";
import { beginAnew } from "../shared/core/marker";
import { majority, mostMembers } from "../shared/core/names";
import { electablePriority, neededReplicas, paths } from "./layout";

export type Server =
  | { state: "away"; reason: string }
  /** Reads its files; nobody knows yet what is in them. */
  | { state: "loading" }
  | {
      state: "up";
      role: "master" | "replica";
      /** Whom it replicates: a member, "nobody" after a start, or any other address. Undefined for a master. */
      follows?: string;
      linked: boolean;
      /** It gets a whole copy: what it has now is old, or nothing. */
      syncing: boolean;
      priority: number;
      /** In all databases. */
      keys: number;
      /** How far its data goes, 0 without a mark. Grows every second and with every new master. */
      position: number;
      /** Of the ensemble that the data belongs to. */
      clusterId: string | undefined;
      /** How far it is in the stream of changes, in bytes. Only those of one look can be compared. */
      offset: number;
      /** Of a master: replicas that have just been heard of. It counts these itself before it takes a write. */
      replicas: number;
    };

export type Sentinel =
  | { state: "away"; reason: string }
  | {
      state: "up";
      /** The member that it names as master; undefined: it knows of none. */
      master: string | undefined;
      /** Of the failover that made it master. The higher one is the later one. */
      epoch: number;
      failover: boolean;
      /** How it watches its master is not what is wanted: the agent ended in between, or another number of members counts now. */
      outdated?: boolean;
      /** In its tables; absent when it knows no master. */
      others?: number;
      replicas?: number;
    };

export interface Observed {
  /** By member; all members are in it. */
  servers: Record<string, Server>;
  sentinels: Record<string, Sentinel>;
  /** Whether the ensemble was formed before; only asked when it matters. */
  marker: "present" | "absent" | "unknown";
  /** What a person has accepted: the `report` of those that answer and those that do not. */
  approval: string | undefined;
}

export interface Identity {
  name: string;
  namespace: string;
  /** Those that count, by ordinal. */
  members: string[];
  /** The ensemble becomes smaller, and this member is to stop. */
  leaving?: boolean;
}

export type Action =
  | { kind: "follow"; master: string; reason: string }
  /** The server here becomes the master that the Sentinels name, or that there is none of. */
  | { kind: "promote"; reason: string }
  /** The Sentinels name one that cannot be master: they are made to fail over to the server here, and to no other. */
  | { kind: "elect"; reason: string }
  | { kind: "monitor"; master: string; reason: string }
  | { kind: "watch"; reason: string }
  /** Whether Sentinels may promote the server here. */
  | { kind: "priority"; value: number; reason: string }
  | { kind: "mark" };

export type Decision = DecisionOf<Action>;

export type Agreement =
  /** A majority names it, and nobody names another one that was made master later. */
  | { kind: "agreed"; master: string }
  | { kind: "failover" }
  /** All Sentinels answer, fewer than a majority remember: this is what the latest of them does. */
  | { kind: "remembered"; master: string }
  | { kind: "none" }
  | { kind: "unclear"; reason: string };

export type Up<T> = Extract<T, { state: "up" }>;

/** undefined: it does not answer, or reads its files. */
export function up<T extends { state: string }>(each: T | undefined): Up<T> | undefined {
  return each?.state === "up" ? (each as Up<T>) : undefined;
}

export function isMaster(server: Server | undefined): boolean {
  return up(server)?.role === "master";
}

export function agreement({ sentinels }: Pick<Observed, "sentinels">, members: string[]): Agreement {
  const seen = members.flatMap((member) => up(sentinels[member]) ?? []);
  if (seen.some(({ failover }) => failover)) return { kind: "failover" };
  const naming = seen.filter(({ master }) => master !== undefined);
  const epoch = Math.max(...naming.map((each) => each.epoch));
  const latest = new Set(naming.filter((each) => each.epoch === epoch).map(({ master }) => master));
  const [master] = latest;
  if (latest.size > 1) {
    return { kind: "unclear", reason: `the sentinels name different masters: ${[...latest].join(" and ")}` };
  }
  const votes = naming.filter((each) => each.master === master).length;
  if (master !== undefined && votes >= majority(members.length)) return { kind: "agreed", master };
  if (seen.length === members.length) return master === undefined ? { kind: "none" } : { kind: "remembered", master };
  const known = master === undefined ? "none of them names a master" : `they do not agree on ${master}`;
  const away = members.filter((member) => up(sentinels[member]) === undefined).join(", ");
  return {
    kind: "unclear",
    reason: `${seen.length} of ${members.length} sentinels answer and ${known} (away: ${away})`,
  };
}

/**
 * How many members count. `settled`: the smaller number of settings and marker. A member beyond these counts while the
 * Sentinel here knows it: Sentinels elect by a majority of those that they know, and a master must need as many
 * replicas. `known`: ordinals of members, and the number of other Sentinels, in the table of the Sentinel here.
 */
export function countMembers(settled: number, known: number[]): number {
  return known.some((each) => each >= settled) ? mostMembers : settled;
}

/** Of the entries in the tables of a Sentinel: some are of members that have left, and it takes all of these for dead. */
export function haveLeft(entries: { member: string; flags: string }[], left: string[]): boolean {
  const former = entries.filter(({ member }) => left.includes(member));
  return former.length > 0 && former.every(({ flags }) => flags.split(",").includes("s_down"));
}

/**
 * Whether the Sentinel here may be reset, without which it never forgets members that have left. For seconds it knows
 * no other one then: only while all that stay are whole, and one Sentinel after the other, by ordinal.
 */
export function mayForget({ servers, sentinels }: Observed, name: string, staying: string[]): boolean {
  const master = namedMaster({ sentinels }, staying);
  if (master === undefined || !staying.includes(master)) return false;
  return staying.every((member, ordinal) => {
    const server = up(servers[member]);
    const sentinel = up(sentinels[member]);
    const whole = member === master ? isMaster(server) : server?.linked === true;
    if (!whole || sentinel?.master !== master || sentinel.failover) return false;
    if (member === name) return true;
    const counts = [sentinel.others ?? 0, sentinel.replicas ?? 0];
    const most = ordinal < staying.indexOf(name) ? staying.length - 1 : Number.POSITIVE_INFINITY;
    return counts.every((count) => count >= staying.length - 1 && count <= most);
  });
}

/** The master that a majority of the Sentinels names, whatever they are just doing. */
export function namedMaster({ sentinels }: Pick<Observed, "sentinels">, members: string[]): string | undefined {
  const names = members.map((member) => up(sentinels[member])?.master);
  return names.find((name) => names.filter((each) => each === name).length >= majority(members.length));
}

/** Sentinels that name the master that a majority names. */
export function agreed({ sentinels }: Pick<Observed, "sentinels">, members: string[]): number {
  const master = namedMaster({ sentinels }, members);
  return master === undefined ? 0 : members.filter((member) => up(sentinels[member])?.master === master).length;
}

/** What a replica lacks of its master, in bytes. undefined: it is no replica, or is not connected to a master that answers. */
export function lag({ servers }: Pick<Observed, "servers">, name: string): number | undefined {
  const own = up(servers[name]);
  const master = up(servers[own?.follows ?? ""]);
  if (own?.linked !== true || master?.role !== "master") return undefined;
  // Both answer at about the same time: a replica may tell of more than its master just did.
  return Math.max(0, master.offset - own.offset);
}

const none = { kind: "none" } as const;

/** It can take writes: of two masters only one has a majority behind it. */
function hasReplicas(own: Up<Server>, { members }: Identity): boolean {
  return own.replicas >= neededReplicas(members.length);
}

/**
 * A server never begins as a master: it starts as a replica of nobody, loads its files, and waits for this. Then
 *
 * - the member that a majority of the Sentinels names becomes master, unless its volume is empty or one that answers has
 *   newer data;
 * - the others follow it as soon as it is;
 * - when nobody is master and the one named cannot be, the newest data wins, but only when all members have told what they
 *   have: who does not answer may have more;
 * - all empty without a marker: the ensemble is new, and the first member founds it. With a marker: its data is lost, and a
 *   person must decide.
 *
 * A running master is never demoted here, and a running replica never promoted: that is done by Sentinel.
 */
export function decide(observed: Observed, self: Identity): Decision {
  const view = agreement(observed, self.members);
  const memory = remind(observed, self, view);
  if (memory !== undefined) return memory;
  const own = observed.servers[self.name];
  if (own?.state !== "up") return wait(whyNotUp(own));
  if (own.role === "master") return keep(own, view, self);

  const priority = electability(own, self);
  if (priority !== undefined) return priority;
  if (own.linked || own.syncing) return view.kind === "failover" ? wait(electing) : none;
  switch (view.kind) {
    case "failover":
      return wait(electing);
    case "unclear":
      return wait(view.reason);
    case "remembered":
      return wait(`not all sentinels know that ${view.master} was master`);
    case "none":
      return elect(observed, self, undefined);
    case "agreed":
      return view.master === self.name ? lead(observed, self, own) : join(observed, self, own, view.master);
  }
}

function whyNotUp(server: Exclude<Server, Up<Server>> | undefined): string {
  if (server?.state === "loading") return "the server reads its files";
  return `the server does not answer: ${server?.reason ?? "unknown"}`;
}

const electing = "the sentinels are electing a master";

/** A Sentinel that knows no master was made new: its volume was lost, or the ensemble is new. */
function remind(observed: Observed, self: Identity, view: Agreement): Decision | undefined {
  const own = up(observed.sentinels[self.name]);
  if (own === undefined) return undefined;
  if (own.master !== undefined) {
    return own.outdated === true
      ? { kind: "watch", reason: "its settings are not those that are wanted now" }
      : undefined;
  }
  if (view.kind === "agreed" || view.kind === "remembered") {
    return { kind: "monitor", master: view.master, reason: "the other sentinels name it" };
  }
  if (view.kind !== "none") return undefined;
  const masters = self.members.filter((member) => isMaster(observed.servers[member]));
  const [master] = masters;
  return master !== undefined && masters.length === 1
    ? { kind: "monitor", master, reason: "it is the only master, and no sentinel knows of one" }
    : undefined;
}

function keep(own: Up<Server>, view: Agreement, self: Identity): Decision {
  if (view.kind === "agreed" && view.master !== self.name) {
    return wait(`the sentinels name ${view.master}, which this master has to follow`);
  }
  if (!hasReplicas(own, self)) return wait("too few replicas are connected, so no write is accepted");
  if (view.kind === "agreed") return { kind: "mark" };
  if (view.kind === "failover") return wait(electing);
  return view.kind === "unclear" ? wait(view.reason) : none;
}

/** A server starts as one that may not be elected, and becomes one that may with the first whole copy. */
function electability(own: Up<Server>, { leaving = false }: Identity): Decision | undefined {
  if (leaving) {
    return own.priority === 0 ? undefined : { kind: "priority", value: 0, reason: "it is to leave the ensemble" };
  }
  if (own.syncing && own.priority !== 0) {
    return { kind: "priority", value: 0, reason: "it gets a whole copy and may not be elected until it has it" };
  }
  if (own.linked && !own.syncing && own.priority === 0) {
    return { kind: "priority", value: electablePriority, reason: "it has all data and may be elected" };
  }
  return undefined;
}

function lead(observed: Observed, self: Identity, own: Up<Server>): Decision {
  if (isMaster(observed.servers[own.follows ?? ""])) {
    return wait(`the sentinels name this member, but it follows ${own.follows ?? ""}, which is a master`);
  }
  const loading = self.members.filter((member) => observed.servers[member]?.state === "loading");
  if (loading.length > 0) return wait(`${loading.join(", ")} may have newer data and reads its files`);
  if (isUsable(observed, self.members, self.name)) {
    return { kind: "promote", reason: "the sentinels name it, and nobody who answers has newer data" };
  }
  return elect(observed, self, self.name);
}

function join(observed: Observed, self: Identity, own: Up<Server>, master: string): Decision {
  if (!self.members.includes(master))
    return wait(`the sentinels name ${master}, which this agent does not count as a member`);
  const server = observed.servers[master];
  if (isMaster(server)) {
    return own.follows === master
      ? wait(`it is not connected to its master ${master}`)
      : { kind: "follow", master, reason: "the sentinels name it, and it is master" };
  }
  if (server?.state === "loading") return wait(`${master}, which the sentinels name as master, reads its files`);
  if (server?.state === "up") {
    return isUsable(observed, self.members, master)
      ? wait(`${master} is about to become master`)
      : elect(observed, self, master);
  }
  // Those that replicated until now may be promoted by the Sentinels; those that have just started may not.
  if (own.follows !== "nobody") return wait(`its master ${master} does not answer`);
  return elect(observed, self, master);
}

function isUsable(observed: Observed, members: string[], member: string): boolean {
  const server = up(observed.servers[member]);
  if (server === undefined || server.keys === 0) return false;
  return members.every((other) => (up(observed.servers[other])?.position ?? server.position) <= server.position);
}

/** Nobody is master, and the one that the Sentinels name, if any, cannot be. */
function elect(observed: Observed, self: Identity, named: string | undefined): Decision {
  const { servers } = observed;
  const master = self.members.find((member) => isMaster(servers[member]));
  if (master !== undefined) return wait(`${master} is a master, and the sentinels do not name it yet`);
  const loading = self.members.filter((member) => servers[member]?.state === "loading");
  if (loading.length > 0) return wait(`${loading.join(", ")} reads its files`);
  const answers = self.members.flatMap((member) => {
    const server = up(servers[member]);
    return server === undefined ? [] : [{ member, ...server }];
  });
  const missing = self.members.flatMap((member) => {
    const server = servers[member];
    return server?.state === "up" ? [] : [`${member}: ${server?.state === "away" ? server.reason : ""}`];
  });
  const filled = answers.filter(({ keys }) => keys > 0);
  const newest = newestOf(filled, named);
  const approved = newest !== undefined && observed.approval === report(observed, self);
  if (missing.length > 0 && !approved) {
    const reason =
      `nobody is master, and a member that does not answer may have the newest data (${missing.join("; ")}); ` +
      "bring it back";
    // Where nobody has data there is nothing to decide: members of a new ensemble come one after the other.
    return newest === undefined
      ? wait(reason)
      : refuse(`${reason}, or, when its data is lost: ${approve(newest, observed, self)}`);
  }
  const clusters = new Set(answers.flatMap(({ clusterId }) => (clusterId === undefined ? [] : [clusterId])));
  if (clusters.size > 1) {
    return refuse(
      `the volumes belong to different ensembles: ${[...clusters].join(", ")}; give each member its own volume`,
    );
  }

  if (newest === undefined) return found(observed, self, named);
  if (newest !== self.name) return wait(`${newest} has the newest data and is to become master`);
  const basis = missing.length > 0 ? "a person has accepted that one is missing" : "all members have answered";
  const reason = `${basis}, and none has newer data (${report(observed, self)})`;
  return named === undefined || named === self.name ? { kind: "promote", reason } : { kind: "elect", reason };
}

function found(observed: Observed, self: Identity, named: string | undefined): Decision {
  if (observed.marker === "unknown") return wait("all volumes are empty, and the marker could not be read yet");
  if (observed.marker === "present") {
    return refuse(
      "all volumes are empty, but the ensemble was formed before, so its data is lost; " +
        `restore a volume, or ${beginAnew}`,
    );
  }
  const founder = named ?? self.members[0];
  return founder === self.name
    ? { kind: "promote", reason: "all members are empty, and the ensemble has not been formed yet" }
    : wait(`${founder ?? "nobody"} founds the ensemble`);
}

/** Of several with equal marks the one that was master has what its replicas have not yet got; else the first. */
function newestOf(filled: { member: string; position: number }[], named: string | undefined): string | undefined {
  const highest = Math.max(...filled.map(({ position }) => position));
  const equals = filled.filter(({ position }) => position === highest).map(({ member }) => member);
  return named !== undefined && equals.includes(named) ? named : equals[0];
}

/** How far the data of each member goes. An approval holds these words, so it is one for this case and for no later one. */
function report({ servers }: Observed, { members }: Identity): string {
  return members.map((member) => `${member}:${up(servers[member])?.position ?? "away"}`).join(",");
}

function approve(member: string, observed: Observed, self: Identity): string {
  return `kubectl -n ${self.namespace} exec ${member} -c redis -- sh -c 'echo ${report(observed, self)} > ${paths.approval}'`;
}

export function describe(observed: Observed, self: Identity): Status {
  const own = observed.servers[self.name];
  const decision = decide(observed, self);
  const refused = decision.kind === "refuse";
  const news = refused || decision.kind === "wait" ? `; ${decision.reason}` : "";
  if (own?.state !== "up") return { ready: false, primary: false, detail: whyNotUp(own) };
  if (own.role === "master") {
    // Sentinels that are silent take nothing away from a master that takes writes, nor does an election in progress.
    const named = namedMaster(observed, self.members);
    const primary = hasReplicas(own, self) && (named === undefined || named === self.name);
    const votes =
      named === self.name ? "named by a majority of the sentinels" : "but no majority of the sentinels names it";
    return { ready: primary, primary, refused, detail: `master, ${votes}${news}` };
  }
  const ready = own.linked && !own.syncing;
  const link = ready ? "up to date" : own.syncing ? "gets a whole copy" : "not connected";
  const lost = own.follows === "nobody" && link === "not connected";
  const state = lost ? "started, follows nobody yet" : `replica of ${own.follows ?? "unknown"}, ${link}`;
  return { ready, primary: false, refused, detail: `${state}${news}` };
}
