/** What the agent beside a member reports and does: pure. The loop that observes and acts is in `sidecar.ts`. */
import type { Status } from "../shared/agent/sidecar";
import { beginAnew } from "../shared/core/marker";
import { majority } from "../shared/core/names";
import type { Health, Server } from "./client";
import type { Gauges } from "./metrics";

/** Another member, and what the agent beside it says. */
export interface Other {
  server: Server;
  /** Its agent says that it is the active member of a cluster that was formed. */
  primary: boolean;
  /** Its agent says that it is a full member. */
  ready: boolean;
}

export interface Observed {
  server: Server;
  /** Its data were made with another kind of seal. */
  foreignSeal: boolean;
  volume: {
    /** An initialisation was begun, and its answer is not known to be stored. */
    forming: string | undefined;
    /** The cluster that this member has served in. */
    joined: string | undefined;
  };
  /** Looked at only when a decision needs it. */
  marker: { clusterId: string } | "absent" | "unknown";
  /** The Secret with the keys: which attempt made it. */
  keys: { attempt: string } | "absent" | "unknown";
  /** Only for a member without data. */
  others: Record<string, Other>;
  /** How long this member has been without data while another one is active, and so could have joined. */
  waitingSeconds: number;
  /** How long it has been a full member. */
  readySeconds: number;
  /** How long the server is known to be at work with the key shares; undefined when it was not given any. */
  openingSeconds: number | undefined;
  /** How long it has been cut off, see `isCutOff`, a majority of the members open, and none of the others lastingly active. */
  cutOffSeconds: number;
  /** How often it was restarted for that since it was a full member. */
  restarts: number;
  /** The server has another certificate than the one on disk. */
  certificates: "changed" | "same";
}

export interface Identity {
  name: string;
  members: string[];
  seal: "shamir" | "awskms";
  /** Secret with the keys. */
  keysName: string;
}

export type Action =
  /** Makes the keys of a new cluster. */
  | { kind: "initialise" }
  /** The answer to the initialisation was stored: what is here counts from now on. */
  | { kind: "commit" }
  /** Puts data aside that nobody can have used, and starts the server without them. */
  | { kind: "discard"; reason: string }
  | { kind: "join"; leader: string }
  | { kind: "unseal" }
  /** Ends a server that does not get on by itself. */
  | { kind: "restart"; reason: string }
  /** Notes on the volume that this member has served. */
  | { kind: "record"; clusterId: string }
  | { kind: "reload" };

/** A member that joins replays a log. Others wait for it for this time at most, since it may never finish. */
const turnSeconds = 60;
/** A joining member unseals when it has all data, perhaps from a snapshot of gigabytes. After this time its server is restarted. */
const openingPatienceSeconds = 900;
/** A joining member on a slow machine may take itself for removed while it replays the log. After this time it has replayed it. */
const provenSeconds = 30;
/** A member that changes between active and standby is a full member for some seconds each time. */
export const steadySeconds = 15;
/** Longer than any election. Twice as long after each restart: an active member may be as slow to load what it needs. */
const cutOffPatienceSeconds = 60;

export function isReady({ server, volume }: Pick<Observed, "server" | "volume">): boolean {
  return server.state === "up" && volume.forming === undefined && isServing(server);
}

export const isOpen = ({ initialised, sealed, removed }: Health): boolean => initialised && !sealed && !removed;

/** Open, and for some time neither steadily active nor steadily in contact with an active member. */
export function isCutOff(server: Server, readySeconds: number): boolean {
  return server.state === "up" && isOpen(server) && readySeconds < steadySeconds;
}

/** Enough of the members are open to elect one, this one included. */
export function canElect(others: Server[]): boolean {
  return 1 + others.filter((each) => each.state === "up" && isOpen(each)).length >= majority(1 + others.length);
}

/** Unsealed, in the cluster, and active or in contact with the active member. */
export function isServing(server: Health): boolean {
  return isOpen(server) && (!server.standby || server.following === true);
}

export function status(observed: Observed, self: Identity): Status {
  const { server } = observed;
  const ready = isReady(observed);
  const up = server.state === "up";
  const { detail, refused } = judge(observed, self);
  const metrics: Gauges = {
    up: Number(up),
    initialised: Number(up && server.initialised),
    sealed: Number(up && server.sealed),
    removed: Number(up && server.removed),
  };
  return { ready, primary: ready && up && !server.standby, refused, detail: `${self.name} ${detail}`, metrics };
}

/** What the member itself says, without what its agent knows. */
export function describeServer(server: Health): string {
  if (!server.initialised) return "is not initialised";
  if (server.removed) return "was removed from the cluster";
  if (server.sealed) return "is sealed";
  if (!server.standby) return "is active";
  if (server.following === true) return "is standby and follows the active member";
  return "is standby, but has no answer of an active member";
}

/** What to say of the member, and what to do for it now. */
const say = (detail: string, action?: Action) => ({ detail, action, refused: false });
/** A person must decide. Not where the condition is part of a start or of leaving: those have alerts of their own, which wait. */
const refuse = (detail: string): Judgement => ({ ...say(detail), refused: true });
type Judgement = ReturnType<typeof say>;

export function judge(observed: Observed, self: Identity): Judgement {
  const { server, volume, keys, certificates } = observed;
  if (server.state === "away") return say(`does not answer: ${server.reason}`);
  if (volume.forming !== undefined) return say("is being initialised", finishForming(volume.forming, keys));
  if (server.removed) {
    const kept = "its data is kept; delete its volume claim and its pod to have it filled again";
    if (volume.joined !== undefined) return say(`was removed from the cluster; ${kept}`);
    // A copy that never served holds nothing of its own, and was not needed for a majority.
    const discard: Action = { kind: "discard", reason: "it was removed before it had served" };
    return say("was removed from the cluster before it had served; it begins again", discard);
  }
  if (!server.initialised) {
    const filling = fill(observed, self);
    return { ...filling, detail: `is not initialised: ${filling.detail}` };
  }
  if (server.sealed) return open(observed, self);
  const patience = cutOffPatienceSeconds * 2 ** observed.restarts;
  if (volume.joined !== undefined && observed.cutOffSeconds >= patience) {
    // Raft tells Vault of each change of the leadership through a queue of ten (physical/raft/raft.go, raftNotifyCh, 1.21). Elections
    // that follow each other fast, as while no volume has space, leave old ones in it: each new leader then takes itself for a former
    // one, and a member whose queue is full hangs, for ever. Only a new process begins with an empty queue.
    const reason = `it has been without a lasting active member for ${patience} s, and a majority of the members is open`;
    return say(describeServer(server), { kind: "restart", reason });
  }
  const { clusterId } = server;
  const proven = volume.joined === undefined && observed.readySeconds >= provenSeconds;
  if (proven && clusterId !== undefined) return say(describeServer(server), { kind: "record", clusterId });
  return say(describeServer(server), certificates === "changed" ? { kind: "reload" } : undefined);
}

/**
 * The note on the volume is written before the initialisation and removed after its answer is stored. So a note without a stored answer
 * means that nobody has the keys of this data, however often agent or server were killed in between.
 */
function finishForming(attempt: string, keys: Observed["keys"]): Action | undefined {
  if (keys === "unknown") return undefined;
  if (keys !== "absent" && keys.attempt === attempt) return { kind: "commit" };
  return { kind: "discard", reason: "its initialisation was interrupted, so nobody has its keys" };
}

/** For a sealed member. */
function open({ foreignSeal, keys, openingSeconds }: Observed, self: Identity): Judgement {
  if (foreignSeal) return refuse("is sealed: its data were made with another kind of seal; set seal as it was");
  if (self.seal === "awskms") return say("is sealed: the key service has not opened it; look at the log of the server");
  const secret = `the Secret ${self.keysName} with the key shares`;
  if (keys === "absent") return refuse(`is sealed, and ${secret} is missing; restore it; the data is kept`);
  const detail = "is sealed and is being unsealed";
  if (openingSeconds === undefined) return say(detail, { kind: "unseal" });
  if (openingSeconds < openingPatienceSeconds) return say(detail);
  return say(detail, { kind: "restart", reason: "it was given the key shares and did not open" });
}

/** For a member without data: it joins a cluster; the first member forms one when none existed and all members are up and empty. */
function fill(observed: Observed, self: Identity): Judgement {
  const { others, marker, keys } = observed;
  const leader = Object.keys(others).find((member) => others[member]?.primary);
  if (leader !== undefined) {
    const first = waitsFor(observed, self);
    if (first !== undefined) return say(`it joins ${leader} after ${first}`);
    return say(`it joins ${leader}`, { kind: "join", leader });
  }
  if (marker === "unknown") return say("whether the cluster was formed before is not known");
  if (marker !== "absent") {
    return refuse(
      `the cluster was formed before and no active member answers; bring a member with data back, or ${beginAnew}`,
    );
  }
  const [initiator = "", ...followers] = self.members;
  if (self.name !== initiator) return say(`waiting for ${initiator}`);
  const away = followers.filter((member) => others[member]?.server.state !== "up");
  if (away.length > 0) return say(`waiting for ${away.join(", ")} before the cluster is formed`);
  const filled = followers.filter((member) => {
    const server = others[member]?.server;
    return server?.state === "up" && server.initialised;
  });
  if (filled.length > 0) return say(`${filled.join(", ")} has data, but is not active`);
  if (keys === "unknown") return say("waiting for the Kubernetes API");
  // Existing keys open data that may come back, as when volumes are restored: they are never overwritten.
  if (keys !== "absent") {
    const remedy = "bring the volumes with that data back, or, when nobody wants that data, delete the Secret";
    return refuse(`the Secret ${self.keysName} has the keys of data that is not here; ${remedy}`);
  }
  return say("the cluster is being formed", { kind: "initialise" });
}

/** Members join one at a time, by ordinal. Returns the member that joins first; a member that does not answer has no turn. */
function waitsFor({ others, waitingSeconds }: Observed, self: Identity): string | undefined {
  if (waitingSeconds >= turnSeconds) return undefined;
  const own = self.members.indexOf(self.name);
  return self.members.find((member, ordinal) => {
    const other = others[member];
    if (other?.server.state !== "up" || other.server.removed) return false;
    return other.server.initialised ? !other.ready : ordinal < own;
  });
}

/** The server was stopped during its initialisation: it is not initialised, and refuses to begin again. */
export function isHalfMade(error: Error): boolean {
  return /already has state/.test(error.message);
}

/** The leader does not know the challenge that this server answers, and the server never asks for another one. */
export function isForgotten(error: Error): boolean {
  return /no expected answer for the server id/.test(error.message);
}
