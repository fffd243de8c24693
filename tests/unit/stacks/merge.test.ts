import { describe, expect, it } from "vitest";
import { merged } from "../../../stacks/merge";

describe("merged", () => {
  it("keeps what the second object does not mention, on each level", () => {
    const base = { members: 3, storage: { size: "1Gi", class: "fast" }, placement: { zones: true } };
    expect(merged(base, { storage: { size: "2Gi" } })).toEqual({
      members: 3,
      storage: { size: "2Gi", class: "fast" },
      placement: { zones: true },
    });
  });

  it("replaces lists as a whole, and values by false, zero and empty ones", () => {
    const base = { applications: ["a", "b"], zones: true, members: 3 };
    expect(merged(base, { applications: ["c"], zones: false, members: 0 })).toEqual({
      applications: ["c"],
      zones: false,
      members: 0,
    });
  });

  it("ignores what is undefined and changes neither object", () => {
    const base = { storage: { size: "1Gi" } };
    const over = { storage: { size: undefined, class: "slow" } };
    expect(merged(base, over)).toEqual({ storage: { size: "1Gi", class: "slow" } });
    expect(base).toEqual({ storage: { size: "1Gi" } });
  });
});
