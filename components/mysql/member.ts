/** What a member does before its server starts: pure. The loop that observes and acts is in `agent.ts`. */

import { tlsContradiction } from "../shared/core/change";
import type { TlsMode } from "../shared/core/check";
import { type Marker } from "../shared/core/marker";
import { paths } from "./layout";

export interface Identity {
  name: string;
  tls: TlsMode;
}

export interface MemberObserved {
  data: "present" | "empty";
  /** Name of the group, kept with the data; undefined: without data. */
  kept: string | undefined;
  /** undefined: the group was never formed. */
  marker: Marker | undefined;
  /** Name of the group in the configuration. */
  configured: string;
}

export type MemberAction =
  | { kind: "start"; data: "present" | "empty"; group: string; reason: string }
  /** Needs a person, and goes on by itself when the reason is gone. */
  | { kind: "refuse"; reason: string };

export type AdoptAction = { kind: "rename" } | { kind: "keep" } | { kind: "refuse"; reason: string };

/** After mysqld has said that the directory is complete. Without one the server would end at each start, and say less. */
export function decideAdopt({ made, data }: { made: boolean; data: boolean }): AdoptAction {
  if (made) return { kind: "rename" };
  if (data) return { kind: "keep" };
  return {
    kind: "refuse",
    reason: `neither ${paths.data} nor ${paths.initializing} exists; delete the pod: a new one begins anew`,
  };
}

/**
 * A member with data keeps the name of its group, whatever it is told: transactions carry this name, and volumes that were
 * kept may be deployed anew. A server without data may start at any time, since it never founds a group by itself.
 */
export function decideMember(observed: MemberObserved, self: Identity): MemberAction {
  const { data, kept, marker, configured } = observed;
  if (data === "present") {
    return { kind: "start", data, group: kept ?? marker?.clusterId ?? configured, reason: "the volume has data" };
  }
  if (marker === undefined) {
    return { kind: "start", data, group: configured, reason: "the group has not been formed yet" };
  }
  const contradiction = tlsContradiction(marker, self);
  if (contradiction !== undefined) return { kind: "refuse", reason: contradiction };
  return {
    kind: "start",
    data,
    group: marker.clusterId,
    reason: `the volume of ${self.name} is empty and is filled from another member`,
  };
}
