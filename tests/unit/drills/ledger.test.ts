import { describe, expect, it } from "vitest";
import {
  baselineGap,
  type Evidence,
  failuresInARow,
  judge,
  type Outcome,
  percentile,
  Refused,
  record,
  startWriters,
  timelineOf,
  type Write,
  writeGap,
} from "../../../drills/ledger";

const write = (ended: number, outcome: Outcome = "ok"): Write => ({
  id: `w${ended}`,
  writer: 0,
  started: ended - 1,
  ended,
  outcome,
});

/** Writes every 10 ms from `from` to `to`. */
const steady = (from: number, to: number): Write[] => {
  const writes: Write[] = [];
  for (let time = from; time <= to; time += 10) writes.push(write(time));
  return writes;
};

const everything = (writes: readonly Write[]): Set<string> => new Set(writes.map((each) => each.id));

describe("the write gap", () => {
  it("is the largest interval without an acknowledgement after the fault", () => {
    const writes = [...steady(0, 1000), ...steady(4000, 5000)];
    expect(writeGap(writes, { fault: 1005, end: 5000 })).toEqual({
      from: 1000,
      to: 4000,
      milliseconds: 3000,
      open: false,
    });
  });

  it("does not count an interval that was over before the fault", () => {
    const writes = [...steady(0, 100), ...steady(2000, 3000)];
    expect(writeGap(writes, { fault: 2500, end: 3000 })?.milliseconds).toBe(10);
  });

  it("counts only acknowledgements, in the order of their times", () => {
    const writes = [write(500), write(100), write(300, "unknown"), write(400, "fail")];
    expect(writeGap(writes, { fault: 100, end: 500 })?.milliseconds).toBe(400);
  });

  it("stays open when nothing was acknowledged any more", () => {
    expect(writeGap(steady(0, 1000), { fault: 1000, end: 9000 })).toMatchObject({ milliseconds: 8000, open: true });
  });

  it("is unknown without any acknowledgement", () => {
    expect(writeGap([write(1, "unknown")], { fault: 0, end: 10 })).toBeUndefined();
  });

  it("is compared with what is normal before the fault", () => {
    expect(baselineGap([...steady(0, 1000), ...steady(5000, 6000)], 1000)).toBe(10);
    expect(percentile([3, 1, 2], 0.5)).toBe(2);
    expect(percentile([], 0.5)).toBeUndefined();
  });
});

describe("a timeline", () => {
  it("has every write in the tenth of a second in which it ended, and the marks beside them", () => {
    const writes = [write(1001), write(1050), write(1150, "unknown"), write(1350, "fail"), write(1399)];
    expect(timelineOf(writes, [{ at: 1100, what: "fault" }], 1400)).toEqual({
      bucketSeconds: 0.1,
      ok: [2, 0, 0, 1, 0],
      unknown: [0, 1, 0, 0, 0],
      fail: [0, 0, 0, 1, 0],
      marks: [{ seconds: 0.1, what: "fault" }],
    });
  });
});

describe("failures in a row", () => {
  const attempt = (writer: number, ended: number, outcome: Outcome): Write => ({ ...write(ended, outcome), writer });

  it("are counted for each writer, in the order of its attempts, from the fault on", () => {
    const writes = [
      attempt(0, 10, "unknown"),
      attempt(0, 20, "unknown"),
      attempt(1, 110, "unknown"),
      attempt(0, 115, "fail"),
      attempt(1, 130, "ok"),
      attempt(1, 140, "unknown"),
      attempt(0, 120, "ok"),
    ];
    expect(failuresInARow(writes, { fault: 100, end: 200 })).toBe(1);
    expect(failuresInARow(writes, { fault: 0, end: 200 })).toBe(3);
    expect(failuresInARow([], { fault: 0, end: 200 })).toBe(0);
  });

  it("are those of a writer that fails while others get through, not those of all in the gap", () => {
    const gap = [...steady(0, 100), attempt(1, 100.5, "unknown"), attempt(1, 2000, "unknown"), ...steady(3000, 3200)];
    const window = { fault: 95, end: 3200 };
    expect(failuresInARow(gap, window)).toBe(1);
    expect(failuresInARow([...gap, attempt(1, 3005, "unknown"), attempt(1, 3015, "unknown")], window)).toBe(3);
  });
});

describe("the verdict", () => {
  const writes = [...steady(0, 1000), write(1500, "unknown"), ...steady(3000, 4000)];
  const stored = everything(writes);
  const evidence = (more: Partial<Evidence> = {}): Evidence => ({
    writes,
    window: { fault: 1005, end: 4000 },
    proof: { proven: true, detail: "process 1 killed" },
    stored: { "etcd-0": stored, "etcd-1": stored },
    budgetSeconds: 5,
    minimum: 50,
    ...more,
  });
  const without = (...ids: string[]): Set<string> => new Set([...stored].filter((id) => !ids.includes(id)));

  it("passes when every member holds every acknowledged write and the gap is in budget", () => {
    expect(judge(evidence())).toMatchObject({
      result: "passed",
      reasons: [],
      acknowledged: 202,
      unknown: 1,
      lostWrites: 0,
      gapSeconds: 2,
      baselineSeconds: 0.01,
    });
  });

  it("fails when one member lacks one acknowledged write", () => {
    const verdict = judge(evidence({ stored: { "etcd-0": stored, "etcd-1": without("w500") } }));
    expect(verdict).toMatchObject({ result: "failed", lostWrites: 1, lost: { "etcd-0": [], "etcd-1": ["w500"] } });
    expect(verdict.reasons).toEqual(["etcd-1 lacks 1 acknowledged writes, the first is w500"]);
  });

  it("lets an unknown write be there or not", () => {
    expect(judge(evidence({ stored: { "etcd-0": without("w1500"), "etcd-1": stored } })).result).toBe("passed");
  });

  it("fails when a refused write is there", () => {
    const refused = [...writes, write(2000, "fail")];
    const verdict = judge(evidence({ writes: refused, stored: { "etcd-0": everything(refused) } }));
    expect(verdict).toMatchObject({
      result: "failed",
      refused: 1,
      reasons: ["etcd-0 holds 1 writes that were refused"],
    });
  });

  it("fails when the gap exceeds the budget", () => {
    const verdict = judge(evidence({ budgetSeconds: 1 }));
    expect(verdict).toMatchObject({ result: "failed", reasons: ["the write gap was 2.00 s, the budget is 1 s"] });
  });

  it("fails when the service never came back", () => {
    const verdict = judge(evidence({ writes: steady(0, 1000), window: { fault: 1005, end: 9000 } }));
    expect(verdict.result).toBe("failed");
    expect(verdict.reasons[0]).toBe("the write gap was 8.00 s and was still open at the end, the budget is 5 s");
  });

  it("fails when one writer never gets through again while others do", () => {
    const other = (ended: number, outcome: Outcome): Write => ({
      ...write(ended, outcome),
      id: `o${ended}`,
      writer: 1,
    });
    const refused = { ...other(3300, "unknown"), error: "connection refused" };
    const tries = [other(900, "ok"), other(3100, "unknown"), refused];
    const judged = (writes: Write[], end = 9000) =>
      judge(evidence({ writes, window: { fault: 1005, end }, stored: { "etcd-0": everything(writes) } }));
    // It may have had no time yet.
    expect(judged([...writes, ...tries, ...steady(4010, 7000)], 7000).result).toBe("passed");
    expect(judged([...writes, ...tries, ...steady(4010, 9000)]).reasons).toEqual([
      "writer 1 never got through again, although others did; the last one that failed: connection refused",
    ]);
    expect(judged([...writes, ...tries, other(3900, "ok"), ...steady(4010, 9000)]).result).toBe("passed");
  });

  it("proves nothing without a load after the recovery", () => {
    const window = { fault: 1005, end: 4000 };
    expect(judge(evidence({ window: { ...window, recovered: 3400 } })).result).toBe("passed");
    expect(judge(evidence({ window: { ...window, recovered: 3900 } }))).toMatchObject({
      result: "invalid",
      reasons: ["only 10 writes were acknowledged after the recovery, at least 50 are needed"],
    });
  });

  it("judges the recovery apart from the gap", () => {
    const recovered = (seconds: number | undefined) => judge(evidence({ recovery: { seconds, budgetSeconds: 60 } }));
    expect(recovered(59.9).result).toBe("passed");
    expect(recovered(61)).toMatchObject({
      result: "failed",
      reasons: ["all members were back after 61.0 s, the budget is 60 s"],
    });
    expect(recovered(undefined).reasons).toEqual(["not all members came back, the budget is 60 s"]);
    const late = judge(evidence({ budgetSeconds: 1, recovery: { seconds: 1, budgetSeconds: 60 } }));
    expect(late.reasons).toEqual(["the write gap was 2.00 s, the budget is 1 s"]);
  });

  it("fails when a write needed more than a retry, where that is what is promised", () => {
    const failing = [...writes, write(3501, "unknown"), write(3502, "unknown")];
    expect(judge(evidence({ writes: failing, failuresInARow: 2 })).result).toBe("passed");
    expect(judge(evidence({ writes: failing, failuresInARow: 1 })).reasons).toEqual([
      "a writer failed 2 times in a row, 1 is what a retry saves",
    ]);
  });

  describe("where losses are counted", () => {
    const loss = { strikes: [1005], seconds: 0.2 };
    const both = (...ids: string[]) => ({ "redis-0": without(...ids), "redis-1": without(...ids) });

    it("passes with the last writes before the fault gone from all members, and counts them", () => {
      expect(judge(evidence({ loss, stored: both("w990", "w1000") }))).toMatchObject({
        result: "passed",
        reasons: [],
        lostWrites: 2,
        notes: ["2 acknowledged writes are lost and counted, and are on no member"],
      });
      expect(judge(evidence({ loss }))).toMatchObject({ result: "passed", notes: [], lostWrites: 0 });
    });

    it("fails when the members do not agree about what is gone", () => {
      const verdict = judge(evidence({ loss, stored: { "redis-0": stored, "redis-1": without("w1000") } }));
      expect(verdict.reasons).toEqual([
        "redis-1 lacks 1 acknowledged writes that another member has, the first is w1000",
      ]);
    });

    it("fails when a write is gone that another member must have had, or that came long after", () => {
      expect(judge(evidence({ loss, stored: both("w500", "w1000") })).reasons).toEqual([
        "1 lost writes were acknowledged more than 0.2 s before the fault, or after it, the first is w500",
      ]);
      expect(judge(evidence({ loss, stored: both("w3500") })).result).toBe("failed");
      const repeated = { strikes: [1005, 3400], seconds: 0.2 };
      expect(judge(evidence({ loss: repeated, stored: both("w3500") })).result).toBe("passed");
      const afterwards = { strikes: [2000], seconds: 10 };
      expect(judge(evidence({ loss: afterwards, stored: both("w3500") })).result).toBe("failed");
    });

    it("still fails for a gap beyond its budget", () => {
      expect(judge(evidence({ loss, budgetSeconds: 1 })).result).toBe("failed");
    });
  });

  it.each<[string, Partial<Evidence>, RegExp]>([
    ["the fault is not proven", { proof: { proven: false, detail: "no new process" } }, /not proven: no new process/],
    ["too few writes came before the fault", { window: { fault: 100, end: 4000 } }, /only 10 .* before the fault/],
    ["too few writes came after the fault", { window: { fault: 3900, end: 4000 } }, /only 10 .* after the recovery/],
    ["no member was read", { stored: {} }, /no member was read/],
    ["somebody has a doubt", { doubts: ["the clock jumped"] }, /the clock jumped/],
  ])("is invalid when %s", (_, more, reason) => {
    const verdict = judge(evidence(more));
    expect(verdict.result).toBe("invalid");
    expect(verdict.reasons.join()).toMatch(reason);
  });

  it("calls a loss a loss, even when the fault is not proven", () => {
    const more = { proof: { proven: false, detail: "?" }, stored: { "etcd-0": without("w10") } };
    expect(judge(evidence(more)).result).toBe("failed");
  });

  it("is invalid for an empty ledger", () => {
    expect(judge(evidence({ writes: [] })).result).toBe("invalid");
  });
});

describe("the writers", () => {
  it("tell apart an acknowledgement, a refusal and no answer", async () => {
    const outcome = async (work: () => Promise<void>) => (await record("a", work, () => 0)).outcome;
    expect(await outcome(async () => undefined)).toBe("ok");
    expect(await outcome(() => Promise.reject(new Refused("no")))).toBe("fail");
    expect(await outcome(() => Promise.reject(new Error("timeout")))).toBe("unknown");
  });

  it("use an id once, in growing order for each writer, and finish what they began", async () => {
    const begun: string[] = [];
    const writers = startWriters({
      writers: 3,
      paceMilliseconds: 1,
      run: "r",
      write: async (id) => void begun.push(id),
    });
    await new Promise((resolve) => setTimeout(resolve, 30));
    const writes = await writers.stop();
    expect(new Set(begun).size).toBe(begun.length);
    expect(writes.map((each) => each.id).sort()).toEqual([...begun].sort());
    const first = writes.map((each) => each.id).filter((id) => id.startsWith("r-0-"));
    expect(first).toEqual([...first].sort());
    expect(first.length).toBeGreaterThan(1);
  });
});
