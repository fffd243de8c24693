/** What a member does before its server starts: pure. The loop that observes and acts is in `agent.ts`. */
import { beginAnew } from "../shared/core/marker";

/** Why the data on a volume, which is of the cluster `joined`, may not meet the cluster of the marker. */
export function foreignData(
  joined: string,
  marker: { clusterId: string } | undefined,
  self: string,
): string | undefined {
  if (marker === undefined || joined === marker.clusterId) return undefined;
  return (
    `the volume of ${self} belongs to the cluster ${joined}, but the marker says ${marker.clusterId}; ` +
    `give ${self} its own volume back, or ${beginAnew}`
  );
}
