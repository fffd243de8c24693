import { describe, expect, it } from "vitest";
import { below, shuffle } from "../../../sandbox/plugins/random/number";
import { difference } from "../../../sandbox/plugins/random/provider";
import {
  kinds,
  makeRandom,
  outputSecrets,
  type RandomKind,
  textRules,
} from "../../../sandbox/plugins/random/resources";
import { impossible, randomText } from "../../../sandbox/plugins/random/text";

const kind = (name: string): RandomKind => kinds[name] as RandomKind;

describe("numbers", () => {
  it("throws away what would make some numbers likelier", () => {
    // 2^48 is one above a multiple of 5: only the highest value must be drawn again.
    const answers = [Buffer.alloc(6, 0xff), Buffer.from([0, 0, 0, 0, 0, 7])];
    expect(below(5, () => answers.shift() as Buffer)).toBe(2);
    expect(answers).toHaveLength(0);
  });

  it("spreads evenly", () => {
    const counts = new Array<number>(10).fill(0);
    const draws = 20_000;
    for (let draw = 0; draw < draws; draw++) counts[below(10)]! += 1;
    // Chi-squared with nine degrees of freedom: above 40 once in about a hundred thousand runs.
    const chi = counts.reduce((sum, count) => sum + (count - draws / 10) ** 2 / (draws / 10), 0);
    expect(chi).toBeLessThan(40);
  });

  it("shuffles without losing anything", () => {
    expect(shuffle([1, 2, 3, 4]).sort()).toEqual([1, 2, 3, 4]);
  });

  it("fails on a limit that is none", () => expect(() => below(0)).toThrow(/got 0/));
});

describe("passwords", () => {
  it("have the length, the classes and the minima that were asked for", () => {
    const rules = textRules({ length: 40, special: false, minUpper: 5, minNumeric: 5 });
    const text = randomText(rules);
    expect(text).toMatch(/^[A-Za-z0-9]{40}$/);
    expect(text.replace(/[^A-Z]/g, "").length).toBeGreaterThanOrEqual(5);
    expect(text.replace(/[^0-9]/g, "").length).toBeGreaterThanOrEqual(5);
  });

  it("take other special characters and the old name of numeric", () => {
    expect(randomText(textRules({ length: 20, upper: false, lower: false, number: false, overrideSpecial: "_" }))).toBe(
      "_".repeat(20),
    );
  });

  it.each([
    [{ length: 0 }, /got 0/],
    [{ length: 3, minUpper: 4 }, /sum of the minima, 4, got 3/],
    [{ length: 3, upper: false, lower: false, numeric: false, special: false }, /at least one/],
  ])("fails on %j", (inputs, message) => expect(impossible(textRules(inputs))).toMatch(message));

  it("are secret, and their id tells nothing", () => {
    const { id, outputs } = makeRandom(kind("RandomPassword"), { length: 12 });
    expect(id).toBe("none");
    expect(outputs["result"]).toHaveLength(12);
    expect(outputSecrets(kind("RandomPassword"), [])).toContainEqual(["result"]);
  });
});

describe("other kinds", () => {
  it("RandomId has the same bytes in every form", () => {
    const { id, outputs } = makeRandom(kind("RandomId"), { byteLength: 8, prefix: "p-" });
    const bytes = Buffer.from(id, "base64url");
    expect(bytes).toHaveLength(8);
    expect(outputs).toMatchObject({
      hex: `p-${bytes.toString("hex")}`,
      b64Std: `p-${bytes.toString("base64")}`,
      b64Url: `p-${id}`,
      dec: `p-${BigInt(`0x${bytes.toString("hex")}`).toString()}`,
    });
    expect(kind("RandomId").recover(`p-,${id}`)).toMatchObject({ byteLength: 8, hex: outputs["hex"] });
  });

  it("RandomInteger stays within its bounds", () => {
    for (let draw = 0; draw < 100; draw++) {
      expect([5, 6, 7]).toContain(makeRandom(kind("RandomInteger"), { min: 5, max: 7 }).outputs["result"]);
    }
  });

  it("a seed gives the same value again", () => {
    const inputs = { min: 0, max: 1_000_000, seed: "s" };
    expect(makeRandom(kind("RandomInteger"), inputs)).toEqual(makeRandom(kind("RandomInteger"), inputs));
  });

  it("RandomPet, RandomUuid, RandomShuffle, RandomBytes", () => {
    expect(makeRandom(kind("RandomPet"), { length: 3, prefix: "x" }).id).toMatch(/^x-[a-z]+-[a-z]+-[a-z]+$/);
    expect(makeRandom(kind("RandomUuid"), {}).id).toMatch(/^[0-9a-f-]{36}$/);
    expect(makeRandom(kind("RandomShuffle"), { inputs: ["a", "b"], resultCount: 5 }).outputs["results"]).toHaveLength(
      5,
    );
    expect(makeRandom(kind("RandomBytes"), { length: 4 }).outputs["hex"]).toMatch(/^[0-9a-f]{8}$/);
  });
});

it("any change makes a new value, none keeps it", () => {
  expect(difference({ length: 8, keepers: { v: "1" } }, { length: 8, keepers: { v: "2" } })).toEqual({
    changed: true,
    detailed: { "keepers.v": "update-replace" },
    deleteBeforeReplace: false,
  });
  expect(difference({ length: 8 }, { length: 8 }).changed).toBe(false);
});
