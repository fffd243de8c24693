import { describe, expect, it } from "vitest";
import { foreignData } from "../../../components/vault/member";

describe("data of another cluster", () => {
  it("is refused", () => {
    expect(foreignData({ joined: "c0" }, { clusterId: "c1" }, "vault-1")).toMatch(
      /^the volume of vault-1 belongs to the cluster c0, but the marker says c1; give vault-1 its own volume back, or /,
    );
  });

  it("is no question for a volume that has not served, without a marker, or when both agree", () => {
    expect(foreignData({ joined: undefined }, { clusterId: "c1" }, "vault-1")).toBeUndefined();
    expect(foreignData({ joined: "c1" }, undefined, "vault-1")).toBeUndefined();
    expect(foreignData({ joined: "c1" }, { clusterId: "c1" }, "vault-1")).toBeUndefined();
  });
});
