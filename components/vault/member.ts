/** What a member does before its server starts: pure. The loop that observes and acts is in `agent.ts`. */
import { beginAnew } from "../shared/core/marker";

/** Whether the data on a volume may meet the cluster that the marker tells of. */
export function foreignData(
  volume: { joined: string | undefined },
  marker: { clusterId: string } | undefined,
  self: string,
): string | undefined {
  if (volume.joined === undefined || marker === undefined || volume.joined === marker.clusterId) return undefined;
  return (
    `the volume of ${self} belongs to the cluster ${volume.joined}, but the marker says ${marker.clusterId}; ` +
    `give ${self} its own volume back, or ${beginAnew}`
  );
}
