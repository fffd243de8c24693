import { messageOf, within } from "../checks";
import type { CheckEnvironment, CheckTarget } from "../components/shared/core/check";

/** Which member leads: the one that takes the writes. */
export interface Leadership {
  member: string;
  /** Changes with each election: its number or its time, where the service tells. */
  term?: string;
  /** More for the report, in words. */
  detail?: string;
}

/** A service under load, as a drill sees it. It must go on working when any one member is gone, and after all were. */
export interface Workload {
  /** Makes what the writes need, such as a stream. Repeated until it succeeds. */
  prepare(): Promise<void>;
  /**
   * One attempt, by the way that an application writes: through the gateway where there is one. Resolves when the service
   * has acknowledged; throws `Refused` when it was refused for certain. A failed attempt makes this writer connect anew,
   * without a gateway to the next member. Never retries by itself, and gives up after a second or two: one that waits
   * longer makes the gap larger than it is.
   */
  write(id: string, writer: number): Promise<void>;
  leader(): Promise<Leadership>;
  /** Done when all members are there, equal, and full members, and exactly one leads. */
  converged(): Promise<{ done: true } | { waiting: string }>;
  /** The members that hold every write: all, or as many as there are replicas. */
  holders(): Promise<string[]>;
  /** What the member is to the others: changes when it comes back as a new one. */
  identity(member: string): Promise<string>;
  /**
   * Which cluster this very member takes itself to belong to, as the database knows it: never changes as long as the data
   * is the same, and is another one in a cluster that was formed anew.
   */
  clusterIdentity(member: string): Promise<string>;
  /** The ids of all writes that this very member holds, not what the ensemble answers together. */
  stored(member: string): Promise<Set<string>>;
  /** Removes what the drill has written, and closes all connections. Throws nothing. */
  close(): Promise<void>;
}

export type OpenWorkload = (target: CheckTarget, environment: CheckEnvironment, run: string) => Promise<Workload>;

/** Seconds. How long nobody may be able to write, or how long until everything is whole. */
export interface Budgets {
  /** Without writes, after the leader died without a word. */
  kill: number;
  /** Without writes, after three leaders died, each as soon as it served; default: twice `kill`. */
  repeat?: number;
  /** Without writes, after the leader was asked to stop. */
  handOver: number;
  /** Without writes, after the leader began to hang; its connections stay open. */
  hang: number;
  /** Without writes, while a node is away. */
  node: number;
  /** Without writes, after a member that does not lead, or an agent, died. */
  follower: number;
  /** Until a member that lost its volume is a full member again. */
  volume: number;
  /** Without writes, while a member without its volume is replaced; default: as after a kill. */
  volumeGap?: number;
  /** Until all members are there and take writes, after all of them died at once. */
  fullStop: number;
}

/** The same for all: within half of the time that a leader hangs, or that Kubernetes needs to know that a node is lost. */
export const commonBudgets = { hang: 10, node: 20 };

export interface Profile {
  /** Name of the container of the server. */
  container: string;
  /** Names of the server's processes in that container, as the kernel shows them (`comm`, 15 characters); a crash kills all. */
  processes: string[];
  /** Whether an agent runs beside the server all the time. */
  sidecar: boolean;
  budgets: Budgets;
  /** How many attempts of one writer may fail one after the other although the leader stays; default: 1, what a retry saves. */
  failuresInARow?: number;
  /** `counted`: writes are replicated after they are acknowledged, so a leader that dies may take the last ones with it. */
  loss: "none" | "counted";
  /**
   * Only with counted losses: a lost write must have been acknowledged at most this long before the fault. Whatever is
   * older had to be on another member.
   */
  lossSeconds?: number;
  /** Whether a member without its volume comes back as a new member, with another identity. */
  renews: boolean;
  open: OpenWorkload;
}

/**
 * Far more than a workload takes by itself: a connection that was cut in an unlucky moment may never say so. `converged` is
 * asked again and again while the time until the recovery is taken, and what it takes in vain counts as recovery.
 */
const mostSeconds = {
  write: 10,
  prepare: 30,
  leader: 30,
  converged: 15,
  identity: 60,
  clusterIdentity: 60,
  stored: 180,
  close: 60,
};

/** The same, and no answer takes for ever: a drill must end, whatever became of its connections. */
export function bounded(workload: Workload, limits = mostSeconds): Workload {
  const { write, prepare, leader, converged, identity, clusterIdentity, stored, close } = limits;
  return {
    ...workload,
    write: (id, writer) => within(workload.write(id, writer), write, "the write"),
    prepare: () => within(workload.prepare(), prepare, "the preparation"),
    leader: () => within(workload.leader(), leader, "the leader"),
    converged: () => within(workload.converged(), converged, "the state of the members"),
    identity: (member) => within(workload.identity(member), identity, `the identity of ${member}`),
    clusterIdentity: (member) => within(workload.clusterIdentity(member), clusterIdentity, `the cluster of ${member}`),
    stored: (member) => within(workload.stored(member), stored, `what ${member} holds`),
    close: () => within(workload.close(), close, "the end").catch(() => undefined),
  };
}

/** The application that a drill writes as, and its Secret. */
export function writerOf({ name, applications }: CheckTarget): { application: string; secret: string } {
  const [first] = Object.entries(applications);
  if (first !== undefined) return { application: first[0], secret: first[1] };
  throw new Error(`${name} has no application; a drill writes as the first one, so give it applications: ["drill"]`);
}

/** A client with a list of members: each writer stays with one until it fails, then takes the next. */
export function rotation(members: string[]): { current(writer: number): string; next(writer: number): void } {
  const position = new Map<number, number>();
  const at = (writer: number): number => position.get(writer) ?? writer;
  return {
    current: (writer) => members[at(writer) % members.length] ?? "",
    next: (writer) => void position.set(writer, at(writer) + 1),
  };
}

/** The first answer that any member gives; the error holds what each of them said. */
export async function firstAnswer<T>(members: string[], ask: (member: string) => Promise<T>): Promise<T> {
  try {
    return await Promise.any(members.map(ask));
  } catch (error) {
    const words = (error as AggregateError).errors.map((each: unknown) => messageOf(each));
    throw new Error(`no member answered: ${words.join("; ")}`, { cause: error });
  }
}

/** The same one after the other, for requests that must not be made several times at once. */
export async function inTurn<T>(members: string[], ask: (member: string) => Promise<T>): Promise<T> {
  const words: string[] = [];
  for (const member of members) {
    try {
      return await ask(member);
    } catch (error) {
      words.push(`${member}: ${messageOf(error)}`);
    }
  }
  throw new Error(`no member answered: ${words.join("; ")}`);
}
