/** What every check works with: its findings, the members, and the places where a client can connect. Loads no library. */
import type { CheckEnvironment, CheckTarget } from "../core/check";
import { messageOf } from "../core/errors";
import { findingRecorder, type Recorder } from "../core/findings";
import { memberHost } from "../core/names";
import { patient, type WaitOptions } from "../core/wait";

/** An answer takes milliseconds; twenty seconds cover an election, and a client on the busy machine of its servers. */
export const answerSeconds = 20;

export interface Place {
  name: string;
  /** The name that the certificate must carry: through the tunnel the address is local. */
  host: string;
  dial: () => Promise<{ host: string; port: number }>;
}

export interface CheckContext extends Recorder {
  target: CheckTarget;
  environment: CheckEnvironment;
  /** By default the port for clients. */
  member: (member: string, port?: number) => Place;
  /** The one name that clients use, by way of the Service: a wrong selector or port fails. */
  address: Place;
}

export function beginCheck(target: CheckTarget, environment: CheckEnvironment): CheckContext {
  const { name, namespace, host, clientPort } = target;
  return {
    ...findingRecorder(environment),
    target,
    environment,
    member: (member, port = clientPort) => ({
      name: port === clientPort ? member : `${member}:${port}`,
      host: memberHost(name, namespace, member),
      dial: () => environment.tunnel.dial(member, port),
    }),
    address: { name: host, host, dial: () => environment.tunnel.service(name, clientPort) },
  };
}

/** The steps `member ...`: each member in turn, over TLS unless TLS is off. */
export async function greetMembers(
  { target, step, member }: CheckContext,
  greet: (place: Place) => Promise<string>,
): Promise<void> {
  const transport = target.tls === "off" ? "plain text" : "TLS, certificate verified";
  for (const each of target.members) {
    await step(
      `member ${each}`,
      `look at the pod ${each}, its readiness and the logs of its containers`,
      async () => `${transport}; ${await greet(member(each))}`,
    );
  }
}

/** Tries all places at once: the first answer, or an error that names every place where the attempt failed. */
export async function everywhere<P extends string | { name: string }>(
  places: Iterable<P>,
  attempt: (place: P) => Promise<string>,
): Promise<string> {
  const all = [...places];
  const { seen, failures } = await observeAll(all, attempt);
  failIfAny(failures);
  const [first] = seen;
  if (first === undefined) throw new Error("no member answers");
  return `${first}, by ${all.map(nameOf).join(", ")}`;
}

/** What each place says, and in words which places say nothing and why. */
export async function observeAll<P extends string | { name: string }, T>(
  places: Iterable<P>,
  observe: (place: P) => Promise<T>,
): Promise<{ seen: T[]; failures: string[] }> {
  const all = [...places];
  const answers = await Promise.allSettled(all.map(observe));
  return {
    seen: answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : [])),
    failures: answers.flatMap((answer, index) =>
      answer.status === "rejected" ? [`${nameOf(all[index] as P)}: ${messageOf(answer.reason)}`] : [],
    ),
  };
}

function nameOf(place: string | { name: string }): string {
  return typeof place === "string" ? place : place.name;
}

export function answering<C>(clients: ReadonlyMap<string, C>, member: string): C {
  const client = clients.get(member);
  if (client === undefined) throw new Error("it does not answer");
  return client;
}

export function failIfAny(problems: string[]): void {
  if (problems.length > 0) throw new Error(problems.join("; "));
}

export function waiting(
  { environment }: Pick<CheckContext, "environment">,
  deadlineSeconds = answerSeconds,
): WaitOptions {
  return { ...patient, deadlineSeconds, signal: environment.signal };
}
