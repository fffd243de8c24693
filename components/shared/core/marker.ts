/** The marker: how an ensemble was formed. Pure; `agent/guard.ts` reads and writes it. */
import type { TlsMode } from "./check";

/** Data of the marker. Written once by the setup, after the members have formed one cluster for the first time. */
export interface Marker {
  clusterId: string;
  members: number;
  /** Between the members. */
  tls: "on" | "off";
  bootstrappedAt: string;
}

/** On the marker: the `passwords.rotation` that all servers have accepted. The first release wrote none. */
export const rotationAnnotation = "cells-services/passwords";

/** What an agent knows of the marker; `reason`: it could not be read. */
export type MarkerAnswer =
  | { formed: false }
  /** `rotation`: the `passwords.rotation` that all servers have accepted, if any. */
  | { formed: true; clusterId: string; rotation?: number | undefined }
  | { reason: string };

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
