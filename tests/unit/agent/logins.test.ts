import { describe, expect, it, vi } from "vitest";
import { verifyLogins } from "../../../components/shared/agent/logins";

describe("the proof that users can log in", () => {
  it("asks every member, one again until it accepts", async () => {
    const login = vi.fn<(member: string) => Promise<void>>().mockRejectedValueOnce(new Error("refused"));
    login.mockResolvedValue();
    await verifyLogins(["etcd-0", "etcd-1"], login, 5);
    expect(login.mock.calls.flat()).toEqual(["etcd-0", "etcd-0", "etcd-1"]);
  });

  it("names the member that refuses", async () => {
    const login = async (member: string): Promise<void> => {
      if (member === "etcd-1") throw new Error("the user cells is not accepted");
    };
    await expect(verifyLogins(["etcd-0", "etcd-1"], login, 0)).rejects.toThrow(
      "authentication on etcd-1 did not come within 0 seconds; last seen: the user cells is not accepted",
    );
  });
});
