/** What tests ask of a recorded graph. */
import { expect } from "vitest";
import type { Graph, Recorded } from "./recorder";
import type { Properties } from "./values";

export type { Properties } from "./values";

/** The value at a path such as "spec.template.spec"; undefined where it ends. */
export function at(value: unknown, path: string): unknown {
  return path.split(".").reduce<unknown>((inner, key) => (inner as Properties | undefined)?.[key], value);
}

export function listAt(value: unknown, path: string): Properties[] {
  return (at(value, path) ?? []) as Properties[];
}

export function only(graph: Graph, type: string, name: string): Recorded {
  const found = graph.byType(type).filter((each) => each.name === name);
  expect(found, `${type} ${name}`).toHaveLength(1);
  return found[0] as Recorded;
}

export function inputs(graph: Graph, type: string, name: string): Properties {
  return only(graph, type, name).inputs;
}
