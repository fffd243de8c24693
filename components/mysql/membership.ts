/**
 * What a member does about its group, and what it says about itself: pure. Every agent decides from what all servers say,
 * by the same rules, so that for each situation at most one of them acts. The loop that observes and acts is in `sidecar.ts`.
 */
import { beginAnew, type MarkerAnswer } from "../shared/core/marker";
import { ordinalOf } from "../shared/core/names";
import { contains, formatGtidSet, type GtidSet, isEmpty, subtract, union } from "./gtid";
import { paths } from "./layout";

export type MemberState = "ONLINE" | "RECOVERING" | "OFFLINE" | "ERROR" | "UNREACHABLE";

/** One row of `performance_schema.replication_group_members`. */
export interface GroupMember {
  uuid: string;
  host: string;
  state: MemberState;
  role: "PRIMARY" | "SECONDARY" | "";
}

/** What one server says. */
export interface Server {
  uuid: string;
  /** Name of the group that it belongs to, or would join. */
  group: string;
  executed: GtidSet;
  /** From the group, executed or not: what was acknowledged may be here only. */
  received: GtidSet;
  /** The group as it sees it. */
  members: GroupMember[];
  superReadOnly: boolean;
  offlineMode: boolean;
}

export type Answer = { member: string; server: Server } | { member: string; reason: string };

export interface Observed {
  /** Pod name of this member. */
  self: string;
  namespace: string;
  /** How many members there are to be, as this agent was told when its pod was made. */
  members: number;
  local: Server;
  /** The flag of the local server that must never stay. */
  bootstrapArmed: boolean;
  /** Of the files that the local server shall show; differs from what it has read: it must read them again. */
  certificate: { file: string | undefined; loaded: string | undefined };
  /** What a person has asked for. */
  requests: { recover: boolean; discard: boolean };
  /** Of all other members that there may be while the local one is in no group; of a primary, those that are outside its group. */
  others: Answer[];
  marker: MarkerAnswer;
  /** For the metrics. */
  gauges: Record<string, number>;
}

export type Action =
  /** Found the group with this member. At most one member decides so. */
  | { kind: "bootstrap"; name: "kept" | "new"; reason: string }
  | { kind: "join"; group: string; reason: string }
  /** Replace all that this member has by what the donor has. */
  | { kind: "clone"; donor: string; reason: string }
  /** Let clients in again. */
  | { kind: "open"; reason: string }
  | { kind: "disarm"; reason: string }
  /** What a server writes on its own, the group would lack. */
  | { kind: "close"; reason: string }
  | { kind: "reload"; certificate: string; reason: string }
  /** Requests that have become pointless must not lie in wait. */
  | { kind: "forget"; reason: string };

export type Decision =
  | Action
  | { kind: "none" }
  /** Passes when others act, or come back. */
  | { kind: "wait"; reason: string }
  /** Needs a person, and goes on by itself when the reason is gone. */
  | { kind: "refuse"; reason: string };

/** Its own word about itself. Without a group there is one row without an identity. */
export function ownMember(server: Server): GroupMember | undefined {
  return server.members.find(({ uuid }) => uuid === server.uuid);
}

export function stateOf(server: Server): MemberState {
  return ownMember(server)?.state ?? "OFFLINE";
}

export function inGroup(server: Server): boolean {
  const state = stateOf(server);
  return state === "ONLINE" || state === "RECOVERING";
}

/** Whether the server reaches most of those that it takes for members. Without them it can acknowledge nothing. */
export function hasMajority(server: Server): boolean {
  const reached = server.members.filter(({ state }) => state === "ONLINE" || state === "RECOVERING");
  return 2 * reached.length > server.members.length;
}

/** All that it has, in its tables or on the way there. */
export function transactionsOf(server: Server): GtidSet {
  return union(server.executed, server.received);
}

/**
 * By what it has executed only: a copy empties that first, and leaves the files of what was received. After a copy that was
 * interrupted these would pass for data.
 */
export function hasNoData(server: Server): boolean {
  return isEmpty(server.executed);
}

/**
 * As which cluster the marker knows a group: after a recovery it has a new name, and still what was executed under the one
 * that was marked.
 */
export function clusterOf(server: Server, marked: string | undefined): string {
  const sources = [...server.executed.keys()].map((key) => key.split(":")[0]);
  return marked !== undefined && sources.includes(marked) ? marked : server.group;
}

/**
 * A primary of another group: a person has gone on from two members that did not reach each other. One of the same group is
 * one that does not know yet that it was expelled.
 */
function rivalOf({ local, others }: Observed): Found | undefined {
  return others
    .filter((answer) => "server" in answer)
    .find(({ server }) => isPrimary(server) && server.group !== local.group);
}

/** Whom the gateway may lead to: of two primaries nobody knows which one is right. */
export function mayServe(observed: Observed): boolean {
  return isPrimary(observed.local) && rivalOf(observed) === undefined;
}

/** The member that may be written to: by its own word, with a majority, and with its read-only lifted. */
export function isPrimary(server: Server): boolean {
  const own = ownMember(server);
  const leads = own?.state === "ONLINE" && own.role === "PRIMARY";
  return leads && hasMajority(server) && !server.superReadOnly && !server.offlineMode;
}

export function onlineHosts(server: Server): string[] {
  return server.members.filter(({ state }) => state === "ONLINE").map(({ host }) => host);
}

export function isReady(server: Server): boolean {
  return stateOf(server) === "ONLINE" && hasMajority(server) && !server.offlineMode;
}

export function decide(observed: Observed): Decision {
  const { local, bootstrapArmed, certificate, requests } = observed;
  if (bootstrapArmed)
    return { kind: "disarm", reason: "the server would found a group the next time that it is started" };
  if (!inGroup(local)) {
    return local.superReadOnly
      ? decideOutside(observed)
      : { kind: "close", reason: "the member is in no group, and could be written to" };
  }
  if (local.offlineMode && isReady({ ...local, offlineMode: false })) {
    return { kind: "open", reason: "the member is in the group again" };
  }
  if (requests.recover || requests.discard) return { kind: "forget", reason: "the member is in the group" };
  if (certificate.file !== undefined && certificate.file !== certificate.loaded) {
    return { kind: "reload", certificate: certificate.file, reason: "the certificate may have changed" };
  }
  const rival = isPrimary(local) ? rivalOf(observed) : undefined;
  if (rival !== undefined) {
    return {
      kind: "refuse",
      reason:
        `${rival.member} is the primary of the group ${rival.server.group} beside ${local.group}; neither is served; find out ` +
        "which one holds the data, and stop the members of the other one",
    };
  }
  return { kind: "none" };
}

interface Found {
  member: string;
  server: Server;
}

function decideOutside(observed: Observed): Decision {
  const answered = observed.others.filter((answer) => "server" in answer);
  // One that is there but not heard cannot speak for the group; nor can one that has lost its majority.
  const living = answered.filter(({ server }) => inGroup(server) && hasMajority(server));
  const online = living.filter(({ server }) => stateOf(server) === "ONLINE");
  if (online.length > 0) return decideJoin(observed, online);
  const busy = answered.filter(({ server }) => inGroup(server));
  if (busy.length > 0) {
    const words = busy.map(({ member, server }) =>
      living.some((each) => each.member === member)
        ? `${member} is ${stateOf(server)}`
        : `${member} is in a group and reaches no majority of it`,
    );
    return { kind: "wait", reason: `no group can be joined: ${words.join("; ")}` };
  }
  return decideFound(observed);
}

/** There is a living group. */
function decideJoin(observed: Observed, online: Found[]): Decision {
  const { local, self, marker, requests } = observed;
  const group = online[0]?.server.group ?? local.group;
  const second = online.find(({ server }) => server.group !== group);
  if (second !== undefined) {
    return {
      kind: "refuse",
      reason:
        `${online[0]?.member} is in the group ${group}, but ${second.member} in ${second.server.group}: a second group was ` +
        "formed beside the first; find out which one holds the data before anything is changed",
    };
  }
  // The primary has the least to spare: another one gives the copy, if there is one. A donor gives one copy at a time, so new
  // members that begin together ask different ones.
  const donors = online.filter(({ server }) => !isPrimary(server));
  const donor = donors[ordinalOf(self) % donors.length] ?? online[0];
  const source = donor?.member ?? "";
  if (hasNoData(local)) {
    if ("reason" in marker) return { kind: "wait", reason: unknownMarker(marker.reason) };
    // What a group has before its setup has ended is a matter of seconds.
    return marker.formed
      ? { kind: "clone", donor: source, reason: `${self} is empty and is filled from ${source}` }
      : { kind: "join", group, reason: "the group is being formed" };
  }
  const here = transactionsOf(local);
  const there = union(...online.map(({ server }) => transactionsOf(server)));
  const errant = subtract(here, there);
  // Whatever its name is: a group that was recovered has a new one, and under it what was acknowledged before.
  if (isEmpty(errant)) return { kind: "join", group, reason: `${self} has nothing that the group lacks` };
  if (requests.discard) {
    return {
      kind: "clone",
      donor: source,
      reason: `a person has decided that ${self} loses ${formatGtidSet(errant)} and is filled from ${source}`,
    };
  }
  return {
    kind: "refuse",
    reason:
      `${self} has transactions that the group lacks: ${formatGtidSet(errant)}; ${self} has ` +
      `${formatGtidSet(here)}, the group has ${formatGtidSet(there)}; save what is needed of them, and then ` +
      `let ${self} lose them with: ${command(observed, self, paths.discard)}`,
  };
}

/** Nobody that answers is in a group: the first start, or after a full stop. */
function decideFound(observed: Observed): Decision {
  const { self, local, members, others, marker, requests } = observed;
  if (requests.recover && !hasNoData(local)) {
    // New transactions must not get the numbers of those that only the missing have: nothing would tell the two apart.
    return { kind: "bootstrap", name: "new", reason: `a person has decided to go on from ${self}` };
  }
  if ("reason" in marker) return { kind: "wait", reason: unknownMarker(marker.reason) };
  // While their number changes, agents were told different ones. The larger one counts: each of these members may have been the
  // primary, whose disk alone is sure to have what was acknowledged last.
  const expected = Math.max(members, marker.formed ? marker.members : 0);
  const isExpected = ({ member }: { member: string }): boolean => ordinalOf(member) < expected;
  const here: Found = { member: self, server: local };
  const all = [here, ...others.filter((answer) => "server" in answer)]
    .filter((each) => isExpected(each) || !hasNoData(each.server))
    .sort(byOrdinal);
  const away = others.filter((answer) => "reason" in answer).filter(isExpected);
  const empty = all.filter(({ server }) => hasNoData(server));
  const filled = all.filter(({ server }) => !hasNoData(server));

  const twin = all.find(({ server }, index) => all.slice(0, index).some((each) => each.server.uuid === server.uuid));
  if (twin !== undefined) {
    return {
      kind: "refuse",
      reason: `${twin.member} has the identity of another member (${twin.server.uuid}); give each member a volume of its own`,
    };
  }
  const everybodyKnowsNothing = filled.length === 0;
  if (everybodyKnowsNothing && marker.formed) {
    const reason = `${names(empty)} have no data, and the group was formed before; bring a member with data back`;
    return {
      kind: "refuse",
      reason: `${reason}${awayWords(away)}, or, when all volumes are lost, ${beginAnew}`,
    };
  }
  if (away.length > 0) {
    if (everybodyKnowsNothing) {
      return { kind: "wait", reason: `a group is formed when all members answer${awayWords(away)}` };
    }
    return refuseRecovery(observed, filled, `not all members answer${awayWords(away)}`, empty);
  }
  // An empty volume in a group that was formed is a lost one. Nobody can say what it had: the last acknowledged
  // transactions may have been on the disk of the former primary only, and in the memory of the others.
  if (empty.length > 0 && marker.formed) {
    return refuseRecovery(observed, filled, `${names(empty)} lost the volume`, empty);
  }
  if (everybodyKnowsNothing) return found(all[0], observed, "all members are there and empty");
  const [most] = fullest(filled);
  if (most === undefined) return refuseRecovery(observed, filled, "no member has all transactions", empty);
  return found(most, observed, `all members are there, in no group, and ${most.member} has all transactions`);
}

function found(chosen: Found | undefined, { self }: Observed, reason: string): Decision {
  return chosen?.member === self
    ? { kind: "bootstrap", name: "kept", reason }
    : { kind: "wait", reason: `${chosen?.member ?? "nobody"} founds the group: ${reason}` };
}

function refuseRecovery(observed: Observed, filled: Found[], why: string, empty: Found[]): Decision {
  const sets = [
    ...filled.map(({ member, server }) => `${member} has ${formatGtidSet(transactionsOf(server))}`),
    ...empty.map(({ member }) => `${member} has nothing`),
  ];
  // Those that hold all that anybody who answers holds, or else those that hold something of their own.
  const full = fullest(filled);
  const commands = (full.length > 0 ? full.slice(0, 1) : filled).map(({ member }) =>
    command(observed, member, paths.recover),
  );
  return {
    kind: "refuse",
    reason:
      `no member is in a group, and ${why}; ${sets.join("; ")}; bring the missing back, or accept that what only they have is ` +
      `lost, and go on with: ${commands.join(" or ")}`,
  };
}

/** Those that have all that the others have too. */
function fullest(filled: Found[]): Found[] {
  const sets = filled.map(({ server }) => transactionsOf(server));
  return filled.filter((_, index) => sets.every((each) => contains(sets[index] ?? new Map(), each)));
}

/** A person says so inside the pod of the member, with the rights to do it. */
function command({ namespace }: Observed, member: string, file: string): string {
  return `kubectl -n ${namespace} exec ${member} -c agent -- touch ${file}`;
}

function unknownMarker(reason: string): string {
  return `it is not known whether the group was formed before, and of how many members: ${reason}`;
}

function awayWords(away: { member: string; reason: string }[]): string {
  return away.length === 0 ? "" : ` (${away.map(({ member, reason }) => `${member}: ${reason}`).join("; ")})`;
}

function names(found: Found[]): string {
  return found.map(({ member }) => member).join(", ");
}

function byOrdinal(a: Found, b: Found): number {
  return ordinalOf(a.member) - ordinalOf(b.member);
}

export type Release =
  | { kind: "done" }
  | { kind: "elect"; primary: string; successor: string; uuid: string }
  | { kind: "wait"; reason: string };

/**
 * Before members leave for good: a member that stays must lead, and have executed what anybody had. `before` was asked before `now`,
 * since a secondary may execute a transaction a moment earlier than the primary. A member that does not answer is either no
 * member of the group, or others have what it has.
 */
export function decideRelease(before: Answer[], now: Answer[], leaving: string[]): Release {
  const answered = now.filter((answer) => "server" in answer);
  const primary = answered.find(({ server }) => isPrimary(server));
  if (primary === undefined) {
    return { kind: "wait", reason: `no member is the primary${awayWords(now.filter((answer) => "reason" in answer))}` };
  }
  if (leaving.includes(primary.member)) {
    const successor = answered.find(({ member, server }) => !leaving.includes(member) && isReady(server));
    return successor === undefined
      ? { kind: "wait", reason: `${primary.member} is the primary, and no member that stays can take over` }
      : {
          kind: "elect",
          primary: primary.member,
          successor: successor.member,
          uuid: successor.server.uuid,
        };
  }
  const sets = before.flatMap((answer) =>
    "server" in answer && !hasNoData(answer.server) ? [transactionsOf(answer.server)] : [],
  );
  const lacking = subtract(union(...sets), primary.server.executed);
  return isEmpty(lacking)
    ? { kind: "done" }
    : { kind: "wait", reason: `the primary ${primary.member} lacks transactions: ${formatGtidSet(lacking)}` };
}

/** In one line, without secrets. */
export function describe(observed: Observed): string {
  const { local } = observed;
  const decision = decide(observed);
  const own = ownMember(local);
  const state = `${stateOf(local)}${own?.role ? ` ${own.role}` : ""}`;
  const online = local.members.filter((each) => each.state === "ONLINE").length;
  const group = inGroup(local) ? `, ${online} of ${local.members.length} online` : "";
  const majority = inGroup(local) && !hasMajority(local) ? ", no majority" : "";
  const closed = local.offlineMode ? ", closed for clients" : "";
  const next = decision.kind === "none" ? "" : `; ${decision.kind}: ${decision.reason}`;
  return `${state}${group}${majority}${closed}${next}`;
}
