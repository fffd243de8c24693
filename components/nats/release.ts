/**
 * How servers leave the cluster: pure. The loop that observes and acts is in `agent.ts`. Their streams are moved first, so that each
 * keeps all its replicas; then the servers are removed from the meta group.
 */
import { type Refuse, refuse, type Wait, wait } from "../shared/core/decision";
import { describePeer, type MetaPeer } from "./formation";
import { raisesAtOnce } from "./replication";

export interface HeldStream {
  account: string;
  name: string;
  /** As configured. */
  replicas: number;
  /** All servers that have a replica, or are to have one. */
  servers: string[];
  moving: boolean;
}

export interface Group {
  /** Of the meta group; empty while there is none. */
  leader: string;
  /** Of the meta group, without its leader, in the words of the leader. */
  peers: MetaPeer[];
  streams: HeldStream[];
  /** Why members that stay are not whole. */
  troubles: string[];
}

export type ReleaseStep =
  | { kind: "done" }
  | Wait
  | Refuse
  /** Of the meta leader, in favour of a member that stays. */
  | { kind: "step-down"; from: string; to: string }
  | { kind: "move"; server: string; streams: HeldStream[] }
  | { kind: "remove"; server: string; peer: string };

/**
 * Every server of the meta group that is not in `staying` leaves, one after the other. The streams of the first may move to the second,
 * but never back, because the first is no longer in the meta group by then.
 */
export function nextRelease({ leader, peers, streams, troubles }: Group, staying: string[]): ReleaseStep {
  if (leader === "") return wait("the meta group has no leader");
  const names = [leader, ...peers.map(({ name }) => name)];
  // A server does not know the name of a peer that it has not heard of since it started. That peer may be one that stays.
  const unknown = staying.filter((member) => !names.includes(member));
  if (unknown.length > 0) return wait(`${unknown.join(", ")} is not in the meta group of ${leader}`);
  if (names.length === staying.length) return { kind: "done" };

  const large = streams.find(({ replicas }) => replicas > staying.length);
  if (large !== undefined) {
    return refuse(
      `the stream ${JSON.stringify(large.name)} of ${large.account} has ${large.replicas} replicas and only ` +
        `${staying.length} servers stay; update it to ${staying.length} replicas, and run pulumi up again`,
    );
  }
  if (troubles.length > 0) return wait(troubles.join("; "));
  const [successor] = peers.filter(({ name, current, offline }) => staying.includes(name) && current && !offline);
  if (!staying.includes(leader)) {
    return successor === undefined
      ? wait(`no member that stays is current with ${leader}`)
      : { kind: "step-down", from: leader, to: successor.name };
  }
  // The highest ordinal first, as Kubernetes does it.
  const leaving = peers.filter(({ name }) => !staying.includes(name)).sort((a, b) => b.name.localeCompare(a.name))[0];
  if (leaving === undefined) return { kind: "done" };
  const { name: server, peer, offline } = leaving;
  // It may hold the only replica of a stream.
  const lost = "and what it alone holds would be lost; bring it back, if need be with an empty volume";
  if (offline === true) return wait(`${describePeer(leaving)}, ${lost}`);
  const held = streams.filter(({ servers }) => servers.includes(server));
  if (held.length === 0) return { kind: "remove", server, peer };
  const free = raisesAtOnce - streams.filter(({ moving }) => moving).length;
  const next = held.filter(({ moving }) => !moving).slice(0, Math.max(0, free));
  return next.length > 0
    ? { kind: "move", server, streams: next }
    : wait(`streams are being moved off ${server}: ${held.length} left`);
}

/** Of `/jsz?streams=true&config=true`. */
export interface JetStreamPage {
  meta_cluster?: { leader?: string; replicas?: MetaPeer[] };
  account_details?: { name: string; stream_detail?: StreamDetail[] }[];
}

interface StreamDetail {
  name: string;
  config?: { num_replicas?: number };
  cluster?: { leader?: string; replicas?: { name: string }[]; desired?: { replicas?: { name: string }[] } };
}

/** Merges what each server says of its own streams, since no server knows all streams. */
export function toHeldStreams(pages: ReadonlyMap<string, JetStreamPage>): HeldStream[] {
  const streams = new Map<string, HeldStream>();
  for (const [server, { account_details: accounts = [] }] of pages) {
    for (const { name: account, stream_detail: details = [] } of accounts) {
      for (const { name, config, cluster = {} } of details) {
        const { leader, replicas = [], desired } = cluster;
        const known = streams.get(`${account} ${name}`);
        const servers = new Set([server, ...(known?.servers ?? [])]);
        for (const peer of [...replicas, ...(desired?.replicas ?? [])]) servers.add(peer.name);
        if (leader) servers.add(leader);
        const wanted = config?.num_replicas || 1;
        // A move also shows when more servers than configured have the stream.
        const moving = known?.moving === true || desired !== undefined || servers.size > wanted;
        streams.set(`${account} ${name}`, { account, name, replicas: wanted, servers: [...servers], moving });
      }
    }
  }
  return [...streams.values()];
}
