/** Asks members time and again, and waits only for those that answered the last time. */
import { setTimeout as delay } from "node:timers/promises";

const graceMilliseconds = 100;

/**
 * A server that hangs accepts connections and answers nothing until the time-outs of `ask`, which never throws. So a
 * member that was away is asked in the background, and each look waits 100 ms for its answer.
 */
export function createSurvey<T extends { state: string }>(
  ask: (member: string) => Promise<T>,
): (member: string) => Promise<T> {
  const absent = new Map<string, { last: T; question?: Promise<T> }>();
  const put = async (member: string): Promise<T> => {
    const answer = await ask(member);
    if (answer.state === "away") absent.set(member, { last: answer });
    else absent.delete(member);
    return answer;
  };
  return async (member) => {
    const known = absent.get(member);
    if (known === undefined) return put(member);
    known.question ??= put(member);
    return Promise.race([known.question, delay(graceMilliseconds, known.last)]);
  };
}
