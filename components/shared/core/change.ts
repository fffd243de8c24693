/** What a living ensemble cannot become: pure. The guard refuses a change that one of these functions names. */
import type { TlsMode } from "./check";
import { type Marker, peerTls } from "./marker";
import { parseQuantity } from "./quantity";

/** What cannot be changed by starting pods with other arguments. */
export function livingContradiction(marker: Marker, wanted: { members: number; tls: TlsMode }): string | undefined {
  // A member that is gone counts for the majority until somebody removes it, and one more changes what a majority is.
  if (marker.members !== wanted.members) {
    return (
      `the cluster was formed with ${marker.members} members, got members ${wanted.members}; the number of members of a ` +
      `living cluster cannot be changed; set members to ${marker.members}`
    );
  }
  // The first member that restarts with the other setting would find nobody, and the roll would stop there.
  if (marker.tls !== peerTls(wanted.tls)) {
    const [formed, remedy] = marker.tls === "on" ? ["with", '"required" or "optional"'] : ["without", '"off"'];
    return (
      `the cluster was formed ${formed} TLS between its members, got tls ${JSON.stringify(wanted.tls)}; ` +
      `TLS of a living cluster cannot be switched on or off; set tls to ${remedy}`
    );
  }
  return undefined;
}

/** The volumes of a StatefulSet cannot be changed: Pulumi would replace it, and all members with it. */
export function storageContradiction(
  existing: { size: string; class: string | undefined },
  wanted: { size: string; class?: string },
): string | undefined {
  // Kubernetes rewrites quantities: 8192Mi comes back as 8Gi.
  if (parseQuantity(existing.size) !== parseQuantity(wanted.size)) {
    return (
      `the volumes were made with storage.size ${existing.size}, got ${wanted.size}; the size cannot be changed while the ` +
      `cluster lives; set storage.size to ${existing.size}`
    );
  }
  if (existing.class !== wanted.class) {
    const named = (name: string | undefined): string => name ?? "the default class";
    return (
      `the volumes were made with storage.class ${named(existing.class)}, got ${named(wanted.class)}; the class cannot be ` +
      `changed while the cluster lives; set storage.class as it was`
    );
  }
  return undefined;
}
