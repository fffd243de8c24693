/** The golden graph: every resource of an environment as text that a reviewer can read as a diff. */
import { agents } from "../../components/build";
import type { Graph, Recorded } from "../support/recorder";
import { builtBundle } from "../support/stacks";
import { isObject } from "../support/values";

/**
 * One entry for each resource, by URN. The bundle of an agent and its checksum are placeholders: they change with each line
 * of the agent, and the graph is about what is declared. So is the digest of the members, which are declared in full.
 */
export function goldenText(graph: Graph): string {
  const entries = graph.resources
    .map(({ urn, type, name, inputs, options }) => ({ urn, type, name, inputs, options: withoutDerived(options) }))
    .sort((a, b) => (a.urn < b.urn ? -1 : 1));
  const text = `${JSON.stringify(entries.map(sorted), undefined, 2)}\n`.replaceAll(
    /"cells-services\/members": "\w+"/g,
    '"cells-services/members": "[digest of the members]"',
  );
  return agents.reduce((result, agent) => {
    const { content, checksum } = builtBundle(agent);
    return result.replaceAll(content, `[agent bundle of ${agent}]`).replaceAll(checksum, `[checksum of ${agent} agent]`);
  }, text);
}

/** Dependencies of inputs follow from the inputs; in a diff they would say everything twice. */
function withoutDerived(options: Recorded["options"]): Recorded["options"] {
  return Object.fromEntries(Object.entries(options).filter(([key]) => key !== "propertyDependencies"));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  // A file in a ConfigMap: line by line, so that a diff shows the line that changes.
  if (typeof value === "string" && value.includes("\n")) return value.split("\n");
  if (!isObject(value)) return value;
  const keys = Object.keys(value);
  // The head of an entry reads best in this order.
  if (keys[0] === "urn") return Object.fromEntries(keys.map((key) => [key, sorted(value[key])]));
  return Object.fromEntries(keys.sort().map((key) => [key, sorted(value[key])]));
}
