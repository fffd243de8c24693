import { describe, expect, it } from "vitest";
import { createSurvey } from "../../../components/redis/survey";

type Answer = { state: "up" } | { state: "away"; reason: string };
const up: Answer = { state: "up" };
const away: Answer = { state: "away", reason: "timed out" };

describe("a survey", () => {
  const questions: ((answer: Answer) => void)[] = [];
  const look = createSurvey<Answer>(() => new Promise((resolve) => void questions.push(resolve)));
  const settled = () => new Promise((resolve) => setImmediate(resolve));

  it("waits for a member that has answered before, however long it takes", async () => {
    const answer = look("a");
    questions[0]?.(away);
    expect(await answer).toBe(away);
  });

  it("does not wait for one that was away, and does not ask it twice at a time", async () => {
    expect(await look("a")).toBe(away);
    expect(await look("a")).toBe(away);
    expect(questions).toHaveLength(2);
  });

  it("takes an answer that comes in time", async () => {
    const answer = look("a");
    questions[1]?.(up);
    expect(await answer).toBe(up);
  });

  it("asks anew, with patience, one whose answer came between two looks", async () => {
    const first = look("a");
    questions[2]?.(away);
    await first;
    await look("a");
    questions[3]?.(up);
    await settled();
    const answer = look("a");
    expect(questions).toHaveLength(5);
    await new Promise((resolve) => setTimeout(resolve, 150));
    questions[4]?.(up);
    expect(await answer).toBe(up);
  });
});
