/** What a member does before its server starts: pure. The loop that observes and acts is in `agent.ts`. */
import { tlsContradiction } from "../shared/core/change";
import { type Refuse, refuse } from "../shared/core/decision";
import type { Marker } from "../shared/core/marker";
import type { EnsembleSettings } from "../shared/core/settings";
import { paths } from "./layout";

export interface MemberObserved {
  data: "present" | "empty";
  /** Name of the group, kept with the data; undefined: without data. */
  kept: string | undefined;
  /** undefined: the group was never formed. */
  marker: Marker | undefined;
  /** Name of the group in the configuration. */
  configured: string;
}

/** `name`: of the pod. */
export type MemberSelf = Pick<EnsembleSettings, "name" | "tls">;

export type MemberAction = { kind: "start"; data: "present" | "empty"; group: string; reason: string } | Refuse;

export type AdoptAction = { kind: "rename" } | { kind: "keep" } | Refuse;

/**
 * After mysqld has made or validated the data directory. A server without one would end at each start, and say less.
 */
export function decideAdopt({ made, data }: { made: boolean; data: boolean }): AdoptAction {
  if (made) return { kind: "rename" };
  if (data) return { kind: "keep" };
  return refuse(`neither ${paths.data} nor ${paths.initializing} exists; delete the pod: a new one begins anew`);
}

/**
 * A member with data keeps the name of its group: transactions carry it, and kept volumes may be deployed anew. A
 * server without data may start at any time, since it never founds a group by itself.
 */
export function decideMember({ data, kept, marker, configured }: MemberObserved, self: MemberSelf): MemberAction {
  const start = (group: string, reason: string): MemberAction => ({ kind: "start", data, group, reason });
  if (data === "present") return start(kept ?? marker?.clusterId ?? configured, "the volume has data");
  if (marker === undefined) return start(configured, "the group has not been formed yet");
  const contradiction = tlsContradiction(marker, self);
  if (contradiction !== undefined) return refuse(contradiction);
  return start(marker.clusterId, `the volume of ${self.name} is empty and is filled from another member`);
}
