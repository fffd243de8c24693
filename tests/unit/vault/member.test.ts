import { describe, expect, it } from "vitest";
import { foreignData } from "../../../components/vault/member";

describe("data of another cluster", () => {
  it("is refused", () => {
    expect(foreignData("c0", { clusterId: "c1" }, "vault-1")).toMatch(
      /^the volume of vault-1 belongs to the cluster c0, but the marker says c1; give vault-1 its own volume back, or /,
    );
  });

  it("is no question without a marker, or when both agree", () => {
    expect(foreignData("c1", undefined, "vault-1")).toBeUndefined();
    expect(foreignData("c1", { clusterId: "c1" }, "vault-1")).toBeUndefined();
  });
});
