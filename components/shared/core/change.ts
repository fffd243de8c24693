/** What a living ensemble cannot become: pure. The guard refuses a change that one of these functions names. */
import type { TlsMode } from "./check";
import { beginAnew, type Marker, peerTls, type Restore } from "./marker";
import { parseQuantity } from "./quantity";

/** What cannot be changed by starting pods with other arguments. */
export function livingContradiction(marker: Marker, wanted: { members: number; tls: TlsMode }): string | undefined {
  return membersContradiction(marker, wanted) ?? tlsContradiction(marker, wanted);
}

/** A member that is gone counts for the majority until it is removed, and one more changes what a majority is. */
export function membersContradiction(marker: Marker, wanted: { members: number }): string | undefined {
  if (marker.members === wanted.members) return undefined;
  return (
    `the cluster has ${marker.members} members, as its marker says, got members ${wanted.members}; their number changes while all that ` +
    `stay are whole; set members to ${marker.members}`
  );
}

/** Members with TLS between them cannot talk to members without it. `remedy`: beside setting it back. */
export function tlsContradiction(marker: Marker, wanted: { tls: TlsMode }, remedy = ""): string | undefined {
  if (marker.tls === peerTls(wanted.tls)) return undefined;
  const [between, modes] = marker.tls === "on" ? ["TLS", '"required" or "optional"'] : ["no TLS", '"off"'];
  return (
    `the cluster has ${between} between its members, as its marker says, got tls ${JSON.stringify(wanted.tls)}; they can change it ` +
    `only all at once; set tls to ${modes}${remedy}`
  );
}

/** For `tlsContradiction`, before anything was changed. */
export const plannedStopRemedy = ", or plannedStop to true for one pulumi up, which stops all members at once";

/** `others`: what is to change too. What goes wrong with the first member of a roll would go wrong with all at once. */
export function plannedStopContradiction(wanted: { tls: TlsMode }, others: string[]): string | undefined {
  if (others.length === 0) return undefined;
  return (
    `the members switch to tls ${JSON.stringify(wanted.tls)}, got ${others.join(" and ")} as well; a planned stop changes tls alone; ` +
    "set the others as they were, run pulumi up, and change them after that"
  );
}

/**
 * Two passwords take turns: any other number than the next would replace the one that clients hold. `accepted`: by all servers;
 * undefined: they were set up by a release that knew no rotation.
 */
export function rotationContradiction(accepted: number | undefined, wanted: number): string | undefined {
  if (accepted === undefined) {
    return wanted === 0
      ? undefined
      : `the marker does not say which passwords.rotation the servers have accepted, got ${wanted}; where they were set up by a release ` +
          "without rotation, run pulumi up with 0 once; otherwise restore the annotation cells-services/passwords of the marker";
  }
  if (wanted === accepted || wanted === accepted + 1) return undefined;
  return (
    `the passwords were rotated to passwords.rotation ${accepted}, got ${wanted}; it goes up by one at a time, each time after a ` +
    `pulumi up that succeeded; set it to ${accepted} or ${accepted + 1}`
  );
}

/** A restore that was interrupted must go on; one that has ended is over. `restores`: it is wanted. */
export function restoreContradiction(
  { name, restores = false }: { name: string; restores?: boolean },
  restore: Restore | undefined,
): string | undefined {
  if (restore === undefined || (restore.endedAt === undefined) === restores) return undefined;
  return restores
    ? `${name} was restored from ${restore.copy} at ${restore.endedAt}, got backups.restoreFrom, which is for a new ensemble; remove it`
    : `${name} has only a part of ${restore.copy}: its restore was interrupted; set backups.restoreFrom again, or ${beginAnew}`;
}

/** The claim of a member's volume. */
export interface Claim {
  name: string;
  size: string;
  /** There is a volume, so something may be on it. */
  bound: boolean;
}

/** A volume can only grow. */
export function sizeContradiction(claims: Claim[], wanted: string): string | undefined {
  const larger = claims.find(({ size }) => bytes(size) > bytes(wanted));
  if (larger === undefined) return undefined;
  return (
    `the claim ${larger.name} has ${larger.size}, got storage.size ${wanted}; a volume cannot become smaller; ` +
    `set storage.size to ${larger.size} or more`
  );
}

/** The claims that are to grow. */
export function smallerClaims(claims: Claim[], wanted: string): Claim[] {
  return claims.filter(({ size }) => bytes(size) < bytes(wanted));
}

/** Living agents of another release may know nothing of a number that changes. */
export function agentContradiction(from: number, wanted: number): string {
  return (
    `the cluster has ${from} members, got members ${wanted}, and its agents are to be others too; run pulumi up with members ${from} ` +
    `once, and then with members ${wanted}`
  );
}

/** Members that have come or gone would find the data that they left, which the others have given up. */
export function returnContradiction(claims: Claim[], from: number, wanted: number): string | undefined {
  const names = claims.map(({ name }) => name);
  return names.length === 0
    ? undefined
    : `the cluster has ${from} members, got members ${wanted}, and the volume claims ${names.join(", ")} are there already: their data is of members that were removed, ` +
        `or of another cluster; delete these claims when nobody needs it (after a pulumi up with members ${from} that succeeded), and run pulumi up again`;
}

/** Kubernetes rewrites quantities: 8192Mi comes back as 8Gi. */
const bytes = (size: string): number => parseQuantity(size) ?? Number.NaN;

/**
 * A file keeps the user that wrote it. The kubelet lets another user in by the group alone, and only on volumes that know `fsGroup`.
 * MongoDB opens its files with O_NOATIME, which Linux allows to their owner only. `template`: of the StatefulSet, undefined where it
 * names no user. `pods`: of the members that are there.
 */
export function userContradiction(
  template: number | undefined,
  pods: (number | undefined)[],
  wanted: number | "namespace",
): string | undefined {
  const living = template ?? "namespace";
  if (living === wanted || mayBeSetBack(template, pods, wanted)) return undefined;
  const former = JSON.stringify(living);
  return (
    `the members run with pod.userId ${former}, got ${JSON.stringify(wanted)}; files on their volumes keep the user that wrote them, ` +
    `and a server may not open files of another user; set pod.userId to ${former}`
  );
}

/** A member that runs as the user that is wanted, beside a template that wants another, is left of a change that never came through. */
function mayBeSetBack(
  template: number | undefined,
  pods: (number | undefined)[],
  wanted: number | "namespace",
): boolean {
  if (wanted === "namespace") return pods.some((user) => user !== template);
  // Without a user in the template the namespace may give all of them the same one.
  return pods.includes(wanted) && (template !== undefined || pods.some((user) => user !== wanted));
}

/** Another class would be another volume. undefined: the default class of the cluster. */
export function classContradiction(existing: string | undefined, wanted: string | undefined): string | undefined {
  if (existing === wanted) return undefined;
  const named = (name: string | undefined): string => name ?? "the default class";
  return (
    `the volumes were made with storage.class ${named(existing)}, got ${named(wanted)}; the class cannot be changed while the ` +
    `cluster lives; set storage.class as it was`
  );
}
