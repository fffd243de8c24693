import { messageOf } from "../checks";
import type { CheckEnvironment, CheckTarget } from "../components/shared/check";

/** Which member leads. */
export interface Leadership {
  member: string;
  /** Changes with each election: its number or its time, where the service tells. */
  term?: string;
  /** More for the report, in words. */
  detail?: string;
}

/** A service under load, as a drill sees it. It must go on working when any one member is gone. */
export interface Workload {
  /** Makes what the writes need, such as a stream. */
  prepare(): Promise<void>;
  /** One attempt. Resolves when the service has acknowledged; a failed attempt moves this writer to the next member. */
  write(id: string, writer: number): Promise<void>;
  leader(): Promise<Leadership>;
  /** Done when all members are there, equal, and full members. */
  converged(): Promise<{ done: true } | { waiting: string }>;
  /** The members that hold every write: all, or as many as there are replicas. */
  holders(): Promise<string[]>;
  /** What the member is to the others: changes when it comes back as a new one. */
  identity(member: string): Promise<string>;
  /** The ids of all writes that this very member holds, not what the ensemble answers together. */
  stored(member: string): Promise<Set<string>>;
  /** Removes what the drill has written, and closes all connections. */
  close(): Promise<void>;
}

export type OpenWorkload = (target: CheckTarget, environment: CheckEnvironment, run: string) => Promise<Workload>;

export interface Profile {
  /** Name of the server process, as the kernel shows it. */
  process: string;
  /** How long nobody may be able to write after an unplanned fault of one member. */
  budgetSeconds: number;
  /** How long until a member that lost its volume is a full member again. */
  volumeSeconds: number;
  /** Whether a member without its volume comes back as a new member, with another identity. */
  renews: boolean;
  open: OpenWorkload;
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
    const words = (error as AggregateError).errors.map((each: unknown) =>
      each instanceof Error ? each.message : String(each),
    );
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
