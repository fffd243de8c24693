/** When a kept token is renewed or replaced: pure. */
import type { TokenInfo } from "./client";
import type { SetupSettings } from "./layout";

export type TokenState =
  /** The Secret has none. */
  | { state: "none" }
  /** Vault does not know it, or it may not even look at itself. */
  | { state: "refused" }
  | ({ state: "valid" } & TokenInfo);

export type TokenAction =
  | { kind: "keep"; days: number }
  | { kind: "renew"; days: number }
  | { kind: "replace"; reason: string }
  /** The former one stays valid until the next rotation, or until its period has passed. */
  | { kind: "rotate"; reason: string };

const day = 86_400;

/** As soon as a day is gone, so that weeks of missed runs leave it alive. */
const renewAfterSeconds = day;

/** The period is that of the role: Vault gives it anew with each renewal. */
export function decideToken(
  token: TokenState,
  role: string,
  { tokenPeriodDays, passwords: { rotation } }: Pick<SetupSettings, "tokenPeriodDays" | "passwords">,
): TokenAction {
  if (token.state === "none") return { kind: "replace", reason: "there was none" };
  if (token.state === "refused") return { kind: "replace", reason: "it was revoked or has expired" };
  if (token.role !== role) return { kind: "replace", reason: `it was not made for ${role}` };
  if (token.rotation < rotation) return { kind: "rotate", reason: `passwords.rotation is ${rotation}` };
  // With its parent it would be revoked too.
  if (!token.renewable || !token.orphan) return { kind: "replace", reason: "it cannot be renewed for ever" };
  const days = Math.floor(token.ttlSeconds / day);
  const fresh = token.ttlSeconds > tokenPeriodDays * day - renewAfterSeconds;
  return fresh ? { kind: "keep", days } : { kind: "renew", days };
}
