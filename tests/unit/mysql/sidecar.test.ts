import { describe, expect, it } from "vitest";
import { backOffSeconds } from "../../../components/mysql/sidecar";

describe("after failed starts", () => {
  it("waits longer each time, and never long", () => {
    expect([0, 1, 2, 3, 4, 5, 60].map(backOffSeconds)).toEqual([1, 2, 4, 8, 16, 30, 30]);
  });
});
