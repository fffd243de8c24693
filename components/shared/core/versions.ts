/** Which version may follow which: pure. A server that reads data of a version that it does not know may destroy it. */
import type { ServiceKind } from "./names";

type Version = Record<"major" | "minor" | "patch", number>;

interface Steps {
  /** What may follow, in words, after "go". */
  words: string;
  allow: (from: Version, to: Version) => boolean;
  /** Members still read their data as the old version while not all have the new one. */
  back?: true;
}

/** The last minor version before a new major one is not known here: the new one's first is taken for the next. */
const oneMinor: Steps = {
  words: "one minor version at a time",
  allow: (from, to) =>
    to.major === from.major ? to.minor - from.minor <= 1 : to.major === from.major + 1 && to.minor === 0,
};
const firstSafePatchOf35 = 32;
const oneMajor: Steps = { words: "one major version at a time", allow: (from, to) => to.major - from.major <= 1 };
const upwards: Steps = { words: "to a newer version", allow: () => true };

/** What the makers of the servers support. */
const steps: Record<ServiceKind, Steps> = {
  // Until all have the new version the cluster keeps to the old one. https://etcd.io/docs/v3.6/upgrades/
  // 3.5 may record a promoted voter as a learner, and 3.6 then refuses to start; the last releases of 3.5 correct the record.
  // https://etcd.io/docs/v3.6/upgrades/upgrade_3_6/
  etcd: {
    words: `${oneMinor.words}, to 3.6 from 3.5.${firstSafePatchOf35} or newer`,
    allow: (from, to) =>
      oneMinor.allow(from, to) && !(from.minor === 5 && to.minor === 6 && from.patch < firstSafePatchOf35),
    back: true,
  },
  // Standbys of another version are supported for as long as an upgrade takes; the notes of each minor version count.
  // https://developer.hashicorp.com/vault/docs/upgrading
  vault: oneMinor,
  // Each minor version says which one it may be mixed with. https://docs.nats.io/release-notes/whats_new
  nats: oneMinor,
  // A replica reads what an older master sends. https://redis.io/docs/latest/operate/oss_and_stack/install/upgrade/
  redis: upwards,
  // The binary reads data of its own and of the former feature compatibility version only, and keeps to that which is set.
  // https://www.mongodb.com/docs/manual/release-notes/
  mongodb: { ...oneMajor, back: true },
  // From 8.0 to 8.4, from there to 9: a long-term release is not skipped.
  // https://dev.mysql.com/doc/refman/8.4/en/upgrade-paths.html
  mysql: {
    words: "from 8.0 to 8.4 and from there to 9",
    allow: (from, to) => to.major - from.major <= 1 && !(from.major === 8 && from.minor < 4 && to.major > 8),
  },
  objectstore: upwards,
};

/** Why members of these versions cannot become what is wanted. */
export function versionContradiction(service: ServiceKind, living: string[], wanted: string): string | undefined {
  if (steps[service].back === true && living.includes(wanted)) return undefined;
  for (const version of living) {
    const refusal = stepRefusal(service, version, wanted);
    if (refusal !== undefined) return `members run version ${version}, got version ${wanted}${refusal}`;
  }
  return undefined;
}

/** Why servers of the version `wanted` cannot take over data of the version `from`, and what to do: the end of a sentence. */
export function stepRefusal(service: ServiceKind, from: string, wanted: string): string | undefined {
  const [before, after] = [parse(from), parse(wanted)];
  if (before === undefined || after === undefined) return undefined;
  const { words, allow } = steps[service];
  if ((after.major - before.major || after.minor - before.minor || after.patch - before.patch) < 0) {
    return `, which is older and may not read their data; set version to ${from} or newer`;
  }
  return allow(before, after) ? undefined : `; go ${words}, and wait for the roll each time`;
}

function parse(text: string): Version | undefined {
  const [, major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)/.exec(text) ?? [];
  return patch === undefined ? undefined : { major: Number(major), minor: Number(minor), patch: Number(patch) };
}
