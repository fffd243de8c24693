/** Housekeeping decisions: pure. */
import { type Refuse, refuse } from "../shared/core/decision";
import { majority } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import type { Alarm, Status } from "./client";

/** Below this size rewriting the file saves too little to stop a member for it. */
const smallestDatabase = 100 * 2 ** 20;
/** Share of the file that must be free. */
const freeShare = 0.5;

export interface MaintenanceSettings extends EnsembleSettings {
  /** The ensemble has backups. */
  copied?: true;
}

export interface MemberStatus {
  name: string;
  status: Status;
}

/** `full`: etcd refuses writes because the quota is used up. */
export type Housekeeping = { defragment: string[]; full: Alarm[] } | Refuse;

/**
 * A pass of the maintenance looks for learners and alarms. The question how fragmented the members are costs each of them a
 * comparison of passwords, and its answer changes slowly; an alarm stops writes and does not wait.
 */
const housekeepingMinutes = 10;

/** As the member of the alarm CORRUPT: the data of the members differs, and etcd cannot tell whose is corrupt. */
const nobody = "0";

/** etcd keeps the alarms of a member that was removed, and goes on to refuse requests because of them. */
export function outlived(alarms: Alarm[], members: string[]): Alarm[] {
  return alarms.filter(({ memberId }) => memberId !== nobody && !members.includes(memberId));
}

/** `minutes`: since it was done last. */
export function isHousekeepingDue(alarms: Alarm[], minutes: number): boolean {
  return alarms.length > 0 || minutes >= housekeepingMinutes;
}

/**
 * Defragmentation stops a member while it lasts: only when all are well, followers first, the leader last. When the quota is used
 * up, a majority is enough: a stall of seconds is better than no writes until the last member is back.
 */
export function decideHousekeeping(members: MemberStatus[], expected: number, alarms: Alarm[]): Housekeeping {
  const corrupt = alarms.find(({ alarm }) => alarm === "CORRUPT");
  if (corrupt?.memberId === nobody) {
    return refuse(
      "etcd reports that the data of the members differs, and cannot tell whose is corrupt; take a snapshot of each member, " +
        "find out which one is right, and delete the volume claims and the pods of the others, one after the other",
    );
  }
  if (corrupt !== undefined) {
    const who = members.find(({ status }) => status.memberId === corrupt.memberId)?.name ?? corrupt.memberId;
    return refuse(
      `etcd reports that the data of ${who} is corrupt; take a snapshot of a healthy member, then delete the volume ` +
        `claim and the pod of ${who} to have it replaced`,
    );
  }
  const full = alarms.filter(({ alarm }) => alarm === "NOSPACE");
  const enough = full.length > 0 && members.length >= majority(expected);
  const unhealthy = whyNotHealthy(members, enough ? members.length : expected);
  if (unhealthy !== undefined) return refuse(unhealthy);

  const chosen = followersFirst(members).filter(({ status }) => full.length > 0 || isFragmented(status));
  return { defragment: chosen.map(({ name }) => name), full };
}

/** undefined when all expected members are voters that follow one leader. */
export function whyNotHealthy(members: MemberStatus[], expected: number): string | undefined {
  if (members.length !== expected) return `${members.length} of ${expected} members answer`;
  const learner = members.find(({ status }) => status.learner);
  if (learner !== undefined) return `${learner.name} is still a learner`;
  const leaders = new Set(members.map(({ status }) => status.leader));
  if (leaders.size !== 1) return "the members do not agree on a leader";
  if (leaders.has("0")) return "there is no leader";
  const clusters = new Set(members.map(({ status }) => status.clusterId));
  if (clusters.size !== 1) return `the members belong to different clusters: ${[...clusters].join(", ")}`;
  return undefined;
}

/** A member that has this share of the newest revision has caught up: what etcd asks of a learner that becomes a voter. */
const caughtUpShare = 0.9;

export function whyBehind({ status }: MemberStatus, members: MemberStatus[]): string | undefined {
  const newest = Math.max(...members.map((each) => Number(each.status.revision)));
  if (Number(status.revision) >= newest * caughtUpShare) return undefined;
  return `it is at revision ${status.revision}, the newest is ${newest}`;
}

function followersFirst(members: MemberStatus[]): MemberStatus[] {
  const leads = ({ status }: MemberStatus): number => (status.leader === status.memberId ? 1 : 0);
  return [...members].sort((a, b) => leads(a) - leads(b) || a.name.localeCompare(b.name));
}

function isFragmented({ dbSize, dbSizeInUse }: Status): boolean {
  return dbSize >= smallestDatabase && dbSize - dbSizeInUse >= dbSize * freeShare;
}
