/** Whether the server may start: pure. The loop that observes and acts is in `agent.ts`. */
import { livingContradiction } from "../shared/core/change";
import type { TlsMode } from "../shared/core/check";
import { beginAnew, type Marker } from "../shared/core/marker";

export interface Observed {
  /** Whether the volume holds a bucket, with or without objects. */
  data: "present" | "empty";
  /** undefined: the setup has never ended. Not read when there is data. */
  marker: Marker | undefined;
}

export interface Identity {
  name: string;
  storeId: string;
  tls: TlsMode;
}

export function decide({ data, marker }: Observed, self: Identity): { kind: "start" | "refuse"; reason: string } {
  if (data === "present") return { kind: "start", reason: "the volume holds buckets" };
  if (marker === undefined) return { kind: "start", reason: "the store was never set up, and its volume is empty" };
  const refuse = (reason: string) => ({ kind: "refuse" as const, reason });
  if (marker.clusterId !== self.storeId) {
    return refuse(`the marker is that of ${marker.clusterId}, but this is ${self.storeId}; ${beginAnew}`);
  }
  const contradiction = livingContradiction(marker, { members: 1, tls: self.tls });
  if (contradiction !== undefined) return refuse(contradiction);
  // No other member has the objects. Applications would take an empty store for one whose files were all deleted.
  return refuse(
    `the volume of ${self.name} is empty, but the store was set up on ${marker.bootstrappedAt}; bring its volume back, ` +
      `or, if its objects are not needed, ${beginAnew}`,
  );
}
