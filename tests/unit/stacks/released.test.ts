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
  { urn: /:CronJob::etcd-maintenance$/, reason: "the maintenance runs all the time, as a Deployment" },
];

/** The Secrets of its chart. Those of the components, which other pods may use too, stay where they are. */
const forCells = /::kubernetes:core\/v1:Secret::cells-\w+$/;

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

  const keptBy = ({ resources }: Graph) => {
    const now = new Map(promised(resources).map(({ urn, fixed }) => [urn, fixed]));
    const kept = before.filter(({ urn, fixed }) => fixed !== undefined && now.has(urn));
    expect(kept.length).toBeGreaterThan(50);
    return { kept, now: kept.map(({ urn }) => ({ urn, fixed: now.get(urn) })) };
  };

  it("replaces nothing that holds data or opens it, but moves the Secrets for Cells to its namespace", () => {
    const { kept, now } = keptBy(graph);
    const moved = (fixed: Promised["fixed"]) => ({ ...fixed, "metadata.namespace": "cells-app" });
    expect(now).toEqual(kept.map(({ urn, fixed }) => ({ urn, fixed: forCells.test(urn) ? moved(fixed) : fixed })));
  });

  it("moves nothing when Cells stays among the services", async () => {
    const { kept, now } = keptBy(await recordStack(stack, { config: { cells: '{"namespace":"cells"}' } }));
    expect(now).toEqual(kept);
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
