/** When a kept token is renewed or replaced: pure. */
import type { TokenInfo } from "./client";
import type { SetupSettings } from "./layout";

/** "none": the Secret has none. "refused": Vault does not know the token, or the token may not even look at itself. */
export type TokenState = TokenInfo | "none" | "refused";

export type TokenAction =
  | { kind: "keep"; days: number }
  | { kind: "renew"; days: number }
  | { kind: "replace"; reason: string }
  /** Like "replace", but the former token stays valid until the next rotation, or until its period has passed. */
  | { kind: "rotate"; reason: string };

const day = 86_400;

/** Each renewal gives the token the period of its role again. */
export function decideToken(
  token: TokenState,
  role: string,
  { tokenPeriodDays, passwords: { rotation } }: Pick<SetupSettings, "tokenPeriodDays" | "passwords">,
): TokenAction {
  if (token === "none") return { kind: "replace", reason: "there was none" };
  if (token === "refused") return { kind: "replace", reason: "it was revoked or has expired" };
  if (token.role !== role) return { kind: "replace", reason: `it was not made for ${role}` };
  if (token.rotation < rotation) return { kind: "rotate", reason: `passwords.rotation is ${rotation}` };
  // A token that is no orphan is revoked with its parent.
  if (!token.renewable || !token.orphan) return { kind: "replace", reason: "it cannot be renewed for ever" };
  const days = Math.floor(token.ttlSeconds / day);
  // A token is renewed daily, so it survives weeks of missed runs.
  const fresh = token.ttlSeconds > (tokenPeriodDays - 1) * day;
  return fresh ? { kind: "keep", days } : { kind: "renew", days };
}
