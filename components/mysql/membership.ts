/**
 * What a member does about its group, and says about itself: pure. Every agent decides from what all servers say, by
 * the same rules, so that in each situation at most one of them acts.
 */
import { type DecisionOf, refuse, type Wait, wait } from "../shared/core/decision";
import { beginAnew, type MarkerAnswer } from "../shared/core/marker";
import { ordinalOf } from "../shared/core/names";
import { contains, formatGtidSet, type GtidSet, isEmpty, subtract, union } from "./gtid";
import { paths } from "./layout";
import type { MysqlGauges } from "./metrics";

export type MemberState = "ONLINE" | "RECOVERING" | "OFFLINE" | "ERROR" | "UNREACHABLE";

/** One row of `performance_schema.replication_group_members`. */
export interface GroupMember {
  uuid: string;
  host: string;
  state: MemberState;
  role: "PRIMARY" | "SECONDARY" | "";
}

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

export type Found = { member: string; server: Server };
export type Answer = Found | { member: string; reason: string };

export interface Observed {
  self: string;
  namespace: string;
  /** How many members there are to be, as this agent was told when its pod was made. */
  members: number;
  local: Server;
  /** The bootstrap flag of the local server, which must never stay on. */
  bootstrapArmed: boolean;
  /** Digests of the certificate file and of what the server has read. */
  certificate: { file: string | undefined; loaded: string | undefined };
  requests: { recover: boolean; discard: boolean };
  /**
   * While the local member is in no group: all other possible members. For a primary: the members outside its group.
   */
  others: Answer[];
  marker: MarkerAnswer;
  gauges: MysqlGauges;
}

export type Action =
  /** Found the group with this member. At most one member decides so. */
  | { kind: "bootstrap"; name: "kept" | "new"; reason: string }
  | { kind: "join"; group: string; reason: string }
  /** Replace all that this member has by what the donor has. */
  | { kind: "clone"; donor: string; reason: string }
  | { kind: "reload"; certificate: string; reason: string }
  /**
   * "open": let clients in again. "disarm": switch the bootstrap flag off. "close": make the server read-only, because
   * the group would lack what it writes alone.
   */
  | { kind: "open" | "disarm" | "close"; reason: string }
  /** Remove requests that have become pointless, and would be obeyed later. */
  | { kind: "forget"; reason: string };

export type Decision = DecisionOf<Action>;

/** What the server says of itself. Without a group there is one row without an identity. */
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

/** Whether the server reaches a majority of the members that it knows. Without one it can acknowledge nothing. */
export function hasMajority(server: Server): boolean {
  const reached = server.members.filter(({ state }) => state === "ONLINE" || state === "RECOVERING");
  return 2 * reached.length > server.members.length;
}

export function transactionsOf(server: Server): GtidSet {
  return union(server.executed, server.received);
}

/** Of executed transactions alone: an interrupted clone has emptied these, and left the received ones. */
export function hasNoData(server: Server): boolean {
  return isEmpty(server.executed);
}

/** For the marker. A recovered group has a new name, and still transactions of the name that the marker knows. */
export function clusterOf(server: Server, marked: string | undefined): string {
  const sources = [...server.executed.keys()].map((key) => key.split(":")[0]);
  return marked !== undefined && sources.includes(marked) ? marked : server.group;
}

/**
 * A primary of another group: a person has recovered two groups from members that did not reach each other. A second
 * primary of the same group is no rival: it does not know yet that it was expelled.
 */
function rivalOf({ local, others }: Observed): Found | undefined {
  return answersOf(others).find(({ server }) => isPrimary(server) && server.group !== local.group);
}

function answersOf(answers: Answer[]): Found[] {
  return answers.filter((answer) => "server" in answer);
}

/** Whether the gateway may send clients here. Of two rival primaries neither is served: either may be the right one. */
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

/** For the roll and the disruption budget: a member that does not hear another one needs the third for its majority. */
export function isWhole(server: Server): boolean {
  return isReady(server) && server.members.every(({ state }) => state !== "UNREACHABLE");
}

export function decide(observed: Observed): Decision {
  const { local, bootstrapArmed, certificate, requests } = observed;
  if (bootstrapArmed) {
    return { kind: "disarm", reason: "the server would found a group the next time that it is started" };
  }
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
  if (rival === undefined) return { kind: "none" };
  return refuse(
    `${rival.member} is the primary of the group ${rival.server.group} beside ${local.group}; neither is served; find out ` +
      "which one holds the data, and stop the members of the other one",
  );
}

function decideOutside(observed: Observed): Decision {
  const answered = answersOf(observed.others);
  // A member that has lost its majority cannot speak for the group.
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
    return wait(`no group can be joined: ${words.join("; ")}`);
  }
  return decideFound(observed);
}

function decideJoin(observed: Observed, online: Found[]): Decision {
  const { local, self, marker, requests } = observed;
  const group = online[0]?.server.group ?? local.group;
  const second = online.find(({ server }) => server.group !== group);
  if (second !== undefined) {
    return refuse(
      `${online[0]?.member} is in the group ${group}, but ${second.member} in ${second.server.group}: a second group was ` +
        "formed beside the first; find out which one holds the data before anything is changed",
    );
  }
  // A server that joins before its former run was expelled is refused ("Old incarnation found"), and tries for up to
  // 80 s (seen with 9.7.4).
  if (stateOf(local) === "OFFLINE" && online.some(({ server }) => knows(server, self))) {
    return wait(`the group has ${self} already: it expels the server that ran before, or is taking this one in`);
  }
  // A secondary gives the copy, if there is one, because the primary has the most work. A donor gives one copy at a
  // time, so members that begin together ask different donors.
  const donors = online.filter(({ server }) => !isPrimary(server));
  const donor = donors[ordinalOf(self) % donors.length] ?? online[0];
  const source = donor?.member ?? "";
  if (hasNoData(local)) {
    if ("reason" in marker) return wait(unknownMarker(marker.reason));
    // Until its setup has ended a group has few transactions: joining takes seconds, without a copy.
    return marker.formed
      ? { kind: "clone", donor: source, reason: `${self} is empty and is filled from ${source}` }
      : { kind: "join", group, reason: "the group is being formed" };
  }
  const here = transactionsOf(local);
  const there = union(...online.map(({ server }) => transactionsOf(server)));
  const errant = subtract(here, there);
  // The name of the group does not matter: a recovered group has a new name, and still what was acknowledged before.
  if (isEmpty(errant)) return { kind: "join", group, reason: `${self} has nothing that the group lacks` };
  if (requests.discard) {
    return {
      kind: "clone",
      donor: source,
      reason: `a person has decided that ${self} loses ${formatGtidSet(errant)} and is filled from ${source}`,
    };
  }
  return refuse(
    `${self} has transactions that the group lacks: ${formatGtidSet(errant)}; ${self} has ` +
      `${formatGtidSet(here)}, the group has ${formatGtidSet(there)}; save what is needed of them, and then ` +
      `let ${self} lose them with: ${command(observed, self, paths.discard)}`,
  );
}

/** By the name: an empty server has another identity than its former run. */
function knows(server: Server, member: string): boolean {
  return server.members.some(({ host }) => host.split(".")[0] === member);
}

/** No member that answers is in a group: the first start, or after a full stop. */
function decideFound(observed: Observed): Decision {
  const { self, local, members, others, marker, requests } = observed;
  if (requests.recover && !hasNoData(local)) {
    // Under the old name, new transactions would get the numbers of those that only missing members have.
    return { kind: "bootstrap", name: "new", reason: `a person has decided to go on from ${self}` };
  }
  if ("reason" in marker) return wait(unknownMarker(marker.reason));
  // While the number of members changes, agents know different numbers. The larger one counts: each of these members
  // may have been the primary, whose disk alone is sure to have what was acknowledged last.
  const expected = Math.max(members, marker.formed ? marker.members : 0);
  const isExpected = ({ member }: { member: string }): boolean => ordinalOf(member) < expected;
  const here: Found = { member: self, server: local };
  const all = [here, ...answersOf(others)]
    .filter((each) => isExpected(each) || !hasNoData(each.server))
    .sort(byOrdinal);
  const away = others.filter((answer) => "reason" in answer).filter(isExpected);
  const empty = all.filter(({ server }) => hasNoData(server));
  const filled = all.filter(({ server }) => !hasNoData(server));

  const twin = all.find(({ server }, index) => all.slice(0, index).some((each) => each.server.uuid === server.uuid));
  if (twin !== undefined) {
    return refuse(
      `${twin.member} has the identity of another member (${twin.server.uuid}); give each member a volume of its own`,
    );
  }
  if (filled.length === 0 && marker.formed) {
    return refuse(
      `${names(empty)} have no data, and the group was formed before; bring a member with data back${awayWords(away)}, ` +
        `or, when all volumes are lost, ${beginAnew}`,
    );
  }
  if (away.length > 0) {
    return filled.length === 0
      ? wait(`a group is formed when all members answer${awayWords(away)}`)
      : refuseRecovery(observed, filled, `not all members answer${awayWords(away)}`, empty);
  }
  // An empty volume in a group that was formed is a lost one. What it had is unknown: the last acknowledged
  // transactions may have been only on the disk of the former primary and in the memory of the others.
  if (empty.length > 0 && marker.formed) {
    return refuseRecovery(observed, filled, `${names(empty)} lost the volume`, empty);
  }
  if (filled.length === 0) return found(all[0], observed, "all members are there and empty");
  const [most] = fullest(filled);
  if (most === undefined) return refuseRecovery(observed, filled, "no member has all transactions", empty);
  return found(most, observed, `all members are there, in no group, and ${most.member} has all transactions`);
}

function found(chosen: Found | undefined, { self }: Observed, reason: string): Decision {
  return chosen?.member === self
    ? { kind: "bootstrap", name: "kept", reason }
    : wait(`${chosen?.member ?? "nobody"} founds the group: ${reason}`);
}

function refuseRecovery(observed: Observed, filled: Found[], why: string, empty: Found[]): Decision {
  const sets = [
    ...filled.map(({ member, server }) => `${member} has ${formatGtidSet(transactionsOf(server))}`),
    ...empty.map(({ member }) => `${member} has nothing`),
  ];
  // A member that has all transactions of those that answer; without one, a person must choose.
  const full = fullest(filled);
  const choices = full.length > 0 ? full.slice(0, 1) : filled;
  const commands = choices.map(({ member }) => command(observed, member, paths.recover));
  return refuse(
    `no member is in a group, and ${why}; ${sets.join("; ")}; bring the missing back, or accept that what only they have is ` +
      `lost, and go on with: ${commands.join(" or ")}`,
  );
}

function fullest(filled: Found[]): Found[] {
  const sets = filled.map(({ server }) => transactionsOf(server));
  return filled.filter((_, index) => sets.every((each) => contains(sets[index] ?? new Map(), each)));
}

/** What a person types. It needs the right to run commands in the pod of the member. */
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

export type Release = { kind: "done" } | { kind: "elect"; primary: string; successor: string; uuid: string } | Wait;

/**
 * Before members leave for good, a member that stays must be primary and have executed all that any member had.
 * `before` was asked before `now`, since a secondary may execute a transaction a moment earlier than the primary. A
 * member that does not answer is no member of the group, or others have its transactions.
 */
export function decideRelease(before: Answer[], now: Answer[], leaving: string[]): Release {
  const answered = answersOf(now);
  const primary = answered.find(({ server }) => isPrimary(server));
  if (primary === undefined) {
    return wait(`no member is the primary${awayWords(now.filter((answer) => "reason" in answer))}`);
  }
  const { member, server } = primary;
  if (leaving.includes(member)) {
    const successor = answered.find((each) => !leaving.includes(each.member) && isReady(each.server));
    return successor === undefined
      ? wait(`${member} is the primary, and no member that stays can take over`)
      : { kind: "elect", primary: member, successor: successor.member, uuid: successor.server.uuid };
  }
  const filled = answersOf(before).filter((each) => !hasNoData(each.server));
  const lacking = subtract(union(...filled.map((each) => transactionsOf(each.server))), server.executed);
  return isEmpty(lacking)
    ? { kind: "done" }
    : wait(`the primary ${member} lacks transactions: ${formatGtidSet(lacking)}`);
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
