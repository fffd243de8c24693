import { describe, expect, it } from "vitest";
import type { ServiceKind } from "../../../components/shared/core/names";
import { versionContradiction } from "../../../components/shared/core/versions";

describe("a version", () => {
  it.each<[ServiceKind, string[], string]>([
    ["etcd", ["3.6.8"], "3.6.8"],
    ["etcd", ["3.6.8"], "3.6.9"],
    ["etcd", ["3.5.32"], "3.6.8"],
    // Back, while one member still has the old version.
    ["etcd", ["3.6.8", "3.7.0", "3.6.8"], "3.6.8"],
    ["nats", ["2.14.3"], "2.15.2"],
    ["vault", ["1.21.2"], "1.21.4"],
    ["vault", ["1.21.4"], "2.0.0"],
    ["redis", ["7.0.15"], "8.0.6"],
    ["mongodb", ["5.0.31"], "6.0.27"],
    ["mongodb", ["7.0.1"], "8.0.4"],
    ["mysql", ["8.0.40"], "8.4.3"],
    ["mysql", ["8.4.3"], "9.7.4"],
    ["mysql", ["9.1.0"], "9.7.4"],
    // No member, as before the first deployment; a label that is no version.
    ["etcd", [], "3.6.8"],
    ["etcd", ["custom"], "3.6.8"],
  ])("of %s may go from %j to %s", (service, living, wanted) => {
    expect(versionContradiction(service, living, wanted)).toBeUndefined();
  });

  it.each<[ServiceKind, string[], string, string]>([
    ["etcd", ["3.5.32", "3.5.31"], "3.6.8", "to 3.6 from 3.5.32 or newer"],
    ["etcd", ["3.5.35"], "3.7.0", "go one minor version at a time"],
    ["etcd", ["3.6.8"], "3.6.7", "which is older and may not read their data; set version to 3.6.8 or newer"],
    ["etcd", ["3.7.0", "3.7.0", "3.7.0"], "3.6.8", "which is older"],
    ["vault", ["1.20.0"], "2.1.0", "members run version 1.20.0, got version 2.1.0; go one minor version at a time"],
    ["nats", ["2.12.1"], "2.14.0", "go one minor version at a time"],
    ["redis", ["8.0.6"], "7.2.0", "which is older"],
    ["mongodb", ["5.0.31"], "7.0.1", "go one major version at a time"],
    ["mysql", ["8.0.40"], "9.7.4", "go from 8.0 to 8.4 and from there to 9"],
  ])("of %s may not go from %j to %s", (service, living, wanted, words) => {
    expect(versionContradiction(service, living, wanted) ?? "").toContain(words);
  });
});
