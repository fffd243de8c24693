/**
 * Which release may follow which, and when its features are switched on: pure. A server starts on data whose feature
 * compatibility version is its own release or the one before:
 * https://www.mongodb.com/docs/manual/reference/command/setFeatureCompatibilityVersion/
 */

/** In order. The first is no longer supported by its makers, and is listed for upgrades from it. */
export const releases = ["5.0", "6.0", "7.0", "8.0"];

export function releaseOf(version: string): string {
  return version.split(".").slice(0, 2).join(".");
}

/** The compatibility versions that servers of this release start with: its own, and that of the release before. */
export function compatibleWith(release: string): string[] {
  const index = releases.indexOf(release);
  return releases.slice(Math.max(0, index - 1), index + 1);
}

export function startContradiction(current: string, version: string): string | undefined {
  const release = releaseOf(version);
  const accepted = compatibleWith(release);
  if (accepted.includes(current)) return undefined;
  return (
    `the data has featureCompatibilityVersion ${current}, got version ${version}, which starts with ${accepted.join(" or ")}; ` +
    `go back to the version before, set featureCompatibilityVersion to ${accepted[0] ?? release}, and then raise version`
  );
}

export class CannotLower extends Error {}

/** undefined: it stays as it is. Throws when features would be switched off, because the data may use them. */
export function compatibilityToSet(current: string, wanted: string | undefined): string | undefined {
  if (wanted === undefined || wanted === current) return undefined;
  if (releases.indexOf(wanted) > releases.indexOf(current)) return wanted;
  throw new CannotLower(
    `the data has featureCompatibilityVersion ${current}, got ${wanted}; it is never lowered; set it to ${current} or remove it`,
  );
}
