import { describe, expect, it } from "vitest";
import type { Sentinel } from "../../../components/redis/membership";
import { isTurn, whatToRenew } from "../../../components/redis/renewal";

describe("certificates that were renewed", () => {
  const up: Sentinel = { state: "up", master: "redis-0", epoch: 1, failover: false };
  const others = (third: Sentinel) => ({ "redis-0": up, "redis-1": up, "redis-2": third });
  const files = { server: "new", sentinel: "new" };
  const old = { fingerprint: "old", ended: false };
  const fresh = { fingerprint: "new", ended: false };

  it("are read by the server first, whatever the Sentinels do", () => {
    const away = others({ state: "away", reason: "gone" });
    expect(whatToRenew({ server: old, sentinel: old }, files, away, true)).toBe("server");
  });

  it("are read by a Sentinel that can be spared", () => {
    expect(whatToRenew({ server: fresh, sentinel: old }, files, others(up), true)).toBe("sentinel");
  });

  it.each<[string, Sentinel]>([
    ["another one is away", { state: "away", reason: "gone" }],
    ["another one has no master yet", { ...up, master: undefined }],
    ["another one promotes a member", { ...up, failover: true }],
  ])("wait while %s, unless the former have ended", (_, third) => {
    expect(whatToRenew({ server: fresh, sentinel: old }, files, others(third), true)).toBeUndefined();
    expect(whatToRenew({ server: fresh, sentinel: { ...old, ended: true } }, files, others(third), true)).toBe(
      "sentinel",
    );
  });

  it("are read by one Sentinel after the other", () => {
    expect(whatToRenew({ server: fresh, sentinel: old }, files, others(up), false)).toBeUndefined();
    for (const at of [0, 19_999, 20_000, 99_999, 100_000]) {
      expect([0, 1, 2, 3, 4].filter((ordinal) => isTurn(ordinal, at))).toEqual([Math.floor(at / 20_000) % 5]);
    }
  });

  it("are left alone when both show them, or nothing is known", () => {
    expect(whatToRenew({ server: fresh, sentinel: fresh }, files, others(up), true)).toBeUndefined();
    expect(whatToRenew({ server: undefined, sentinel: undefined }, files, others(up), true)).toBeUndefined();
  });
});
