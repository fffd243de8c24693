/** As what an ensemble was formed, and what a living one cannot become: pure. The deeds are in `identity-agent.ts`. */
import type { TlsMode } from "./check";
import { parseQuantity } from "./quantity";

/** Data of the marker. Written once by the setup, after the members have formed one cluster for the first time. */
export interface Marker {
  clusterId: string;
  members: number;
  /** Between the members. */
  tls: "on" | "off";
  bootstrappedAt: string;
}

/** Throws when it is not complete: an ensemble whose marker says nothing is not one that was never formed. */
export function toMarker(name: string, data: Record<string, string>): Marker {
  const { clusterId, members, tls = formerTls(data["scheme"]), bootstrappedAt } = data;
  if (!clusterId || !members || (tls !== "on" && tls !== "off") || !bootstrappedAt) {
    throw new Error(
      `the ConfigMap ${name} must have clusterId, members, tls and bootstrappedAt, ` +
        `got ${Object.keys(data).join(", ") || "nothing"}; restore it`,
    );
  }
  return { clusterId, members: Number(members), tls, bootstrappedAt };
}

/** The first markers named the scheme of the addresses instead, and a marker is never overwritten. */
function formerTls(scheme: string | undefined): string | undefined {
  if (scheme === undefined) return undefined;
  return scheme === "https" || scheme === "tls" ? "on" : "off";
}

/** The way out when the data is lost or not wanted. Without its marker alone a component would run without a setup. */
export const beginAnew =
  "destroy the component, delete its marker and volume claims if they were kept, and deploy it again";

/** "optional" concerns clients only. */
export function peerTls(tls: TlsMode): Marker["tls"] {
  return tls === "off" ? "off" : "on";
}

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
