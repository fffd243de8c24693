import { describe, expect, it } from "vitest";
import { compatibilityToSet, startContradiction } from "../../../components/mongodb/compatibility";

describe("the feature compatibility version of the data", () => {
  it.each<[string, string]>([
    ["5.0", "6.0.27"],
    ["6.0", "6.0.27"],
    ["7.0", "8.0.4"],
  ])("%s is read by servers of version %s", (current, version) => {
    expect(startContradiction(current, version)).toBeUndefined();
  });

  it("is too old for a server when it was not raised after the upgrade before", () => {
    expect(startContradiction("5.0", "7.0.14")).toBe(
      "the data has featureCompatibilityVersion 5.0, got version 7.0.14, which starts with 6.0 or 7.0; go back to the version " +
        "before, set featureCompatibilityVersion to 6.0, and then raise version",
    );
  });

  it("is raised when somebody says so, and stays otherwise", () => {
    expect(compatibilityToSet("5.0", "6.0")).toBe("6.0");
    expect(compatibilityToSet("6.0", "6.0")).toBeUndefined();
    expect(compatibilityToSet("5.0", undefined)).toBeUndefined();
  });

  it("is never lowered", () => {
    expect(() => compatibilityToSet("6.0", "5.0")).toThrow("got 5.0; it is never lowered; set it to 6.0 or remove it");
  });
});
