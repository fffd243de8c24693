/**
 * Compares each environment with what the last release promised. What a release takes away stands in `gone`, with the reason,
 * and in docs/upgrades.md. When a release is made, `tests/golden/released` becomes what `promised` says of its graph.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type Promised, promised } from "../../golden/released";
import type { Graph } from "../../support/recorder";
import { recordStack, stackNames } from "../../support/stacks";

/** URNs that end so were resources of the last release and are none of this one. */
const gone: { urn: RegExp; reason: string }[] = [
  { urn: /:ConfigMap::\w+-agent$/, reason: "bundles are immutable, and named by their checksum" },
  { urn: /:ConfigMap::redis-config$/, reason: "the configuration for plain text has a name of its own" },
];

describe.each(stackNames)("%s for those who deployed the last release", (stack) => {
  const file = join(__dirname, "..", "..", "golden", "released", `${stack}.json`);
  const before = (JSON.parse(readFileSync(file, "utf8")) as { resources: Promised[] }).resources;
  let graph: Graph;
  const isGone = (urn: string) => gone.some((each) => each.urn.test(urn));

  beforeAll(async () => {
    graph = await recordStack(stack);
  });

  it("has each resource under its URN, or names the URN as an alias", () => {
    const known = new Set(graph.resources.flatMap(({ urn, options }) => [urn, ...(options.aliases ?? [])]));
    expect(before.map(({ urn }) => urn).filter((urn) => !known.has(urn) && !isGone(urn))).toEqual([]);
  });

  it("replaces nothing that holds data or opens it", () => {
    const now = new Map(promised(graph.resources).map(({ urn, fixed }) => [urn, fixed]));
    const kept = before.filter(({ urn, fixed }) => fixed !== undefined && now.has(urn));
    expect(kept.length).toBeGreaterThan(50);
    expect(kept.map(({ urn }) => ({ urn, fixed: now.get(urn) }))).toEqual(kept);
  });

  it("names nothing as gone that is there", () => {
    for (const { urn, reason } of gone) {
      expect(before.filter((each) => urn.test(each.urn)).length, reason).toBeGreaterThan(0);
      expect(
        graph.resources.map((each) => each.urn).filter((each) => urn.test(each)),
        reason,
      ).toEqual([]);
    }
  });
});
