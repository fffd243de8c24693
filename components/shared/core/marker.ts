/** The marker: how an ensemble was formed. Pure; `agent/guard.ts` reads and writes it. */
import type { TlsMode } from "./check";

/** Written once by the setup, after the members have formed one cluster for the first time; only `members` and `tls` may change. */
export interface Marker {
  clusterId: string;
  /** How many the data of the cluster may know. */
  members: number;
  /** Between the members. */
  tls: "on" | "off";
  bootstrappedAt: string;
}

/** On the marker: the `passwords.rotation` that all servers have accepted. The first release wrote none. */
export const rotationAnnotation = "cells-services/passwords";
/** On the marker: since when they have. */
export const acceptedAnnotation = "cells-services/passwords-accepted-at";
/** On the marker once their number has changed: its data are never overwritten. */
export const membersAnnotation = "cells-services/members";
/** On the marker once TLS between the members was switched: on or off. */
export const tlsAnnotation = "cells-services/tls";
/** On the marker, on or off: the setting with which a setup last saw the cluster formed. The first releases wrote none. */
export const formedTlsAnnotation = "cells-services/tls-formed";

/** On the marker: of which copy the data of the cluster come, or may come in part while a restore is under way. */
const restoreAnnotation = "cells-services/restore";
/** On the marker: when the restore came to its end. */
const restoredAnnotation = "cells-services/restored-at";

/** What an agent knows of the marker; `reason`: it could not be read. */
export type MarkerAnswer =
  | { formed: false }
  /** `members`: perhaps not as many as the agent was told: their number changes while agents run. `rotation`: the `passwords.rotation` that all servers have accepted, if any. */
  | { formed: true; clusterId: string; members: number; rotation?: number | undefined }
  | { reason: string };

/** How an ensemble was filled from a copy. */
export interface Restore {
  /** Its id and whose it is, in words. */
  copy: string;
  /** ISO 8601; not given: the restore has not come to its end. */
  endedAt?: string | undefined;
}

export function toRestore(annotations: Record<string, string> | undefined): Restore | undefined {
  const copy = annotations?.[restoreAnnotation];
  return copy === undefined ? undefined : { copy, endedAt: annotations?.[restoredAnnotation] };
}

export function ofRestore({ copy, endedAt }: Restore): Record<string, string> {
  return { [restoreAnnotation]: copy, ...(endedAt === undefined ? {} : { [restoredAnnotation]: endedAt }) };
}

/** Throws when it is not complete: an ensemble whose marker says nothing is not one that was never formed. */
export function toMarker(
  name: string,
  data: Record<string, string>,
  annotations: Record<string, string> | undefined,
): Marker {
  const { clusterId, bootstrappedAt } = data;
  const tls = annotations?.[tlsAnnotation] ?? data["tls"] ?? formerTls(data["scheme"]);
  const members = Number(annotations?.[membersAnnotation] ?? data["members"]);
  if (!clusterId || !(members >= 1) || (tls !== "on" && tls !== "off") || !bootstrappedAt) {
    throw new Error(
      `the ConfigMap ${name} must have clusterId, members, tls and bootstrappedAt, ` +
        `got ${Object.keys(data).join(", ") || "nothing"}; restore it`,
    );
  }
  return { clusterId, members, tls, bootstrappedAt };
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
