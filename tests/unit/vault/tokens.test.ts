import { describe, expect, it } from "vitest";
import type { TokenInfo } from "../../../components/vault/client";
import { decideToken, type TokenAction, type TokenState } from "../../../components/vault/tokens";

const day = 86_400;
const good: TokenInfo = {
  ttlSeconds: 30 * day,
  policies: ["r"],
  renewable: true,
  orphan: true,
  role: "r",
  rotation: 1,
};
const settings = { tokenPeriodDays: 30, passwords: { rotation: 1 } };
const valid = (changes: Partial<TokenInfo> = {}): TokenState => ({ ...good, ...changes });

describe("a kept token", () => {
  it.each<[string, TokenState, TokenAction]>([
    ["is made", "none", { kind: "replace", reason: "there was none" }],
    ["is replaced when revoked", "refused", { kind: "replace", reason: "it was revoked or has expired" }],
    ["is kept on its first day", valid(), { kind: "keep", days: 30 }],
    ["is kept until a day is gone", valid({ ttlSeconds: 29 * day + 1 }), { kind: "keep", days: 29 }],
    ["is renewed then", valid({ ttlSeconds: 29 * day }), { kind: "renew", days: 29 }],
    ["is renewed after weeks without the job", valid({ ttlSeconds: 60 }), { kind: "renew", days: 0 }],
    [
      "is replaced when it is not of its role",
      valid({ role: undefined }),
      { kind: "replace", reason: "it was not made for r" },
    ],
    ["is another one after a rotation", valid({ rotation: 0 }), { kind: "rotate", reason: "passwords.rotation is 1" }],
    ["is kept by a job that does not know of the rotation yet", valid({ rotation: 2 }), { kind: "keep", days: 30 }],
    [
      "is replaced when it hangs on another token",
      valid({ orphan: false }),
      { kind: "replace", reason: "it cannot be renewed for ever" },
    ],
    [
      "is replaced when it cannot be renewed",
      valid({ renewable: false }),
      { kind: "replace", reason: "it cannot be renewed for ever" },
    ],
  ])("%s", (_, state, action) => {
    expect(decideToken(state, "r", settings)).toEqual(action);
  });

  it("is renewed at once when the period becomes longer", () => {
    expect(decideToken(valid({ ttlSeconds: 10 * day }), "r", settings)).toEqual({ kind: "renew", days: 10 });
  });
});
