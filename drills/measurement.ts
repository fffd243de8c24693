import { table } from "../checks";

export interface Measurement {
  /** What was measured, in words. */
  name: string;
  value: number;
  unit: "s" | "MiB" | "/s";
  /** What it is compared with, on the same machine in the same run. */
  reference?: { name: string; value: number };
  /** The most that the ratio to the reference may be, or, without a reference, the value. */
  goal?: number;
  /** The least, for what is better when there is more of it. Instead of `goal`. */
  atLeast?: number;
}

export interface Machine {
  cores: number;
  memoryGiB: number;
  nodes: number;
}

export function ratioOf({ value, reference }: Measurement): number | undefined {
  return reference === undefined || reference.value === 0 ? undefined : value / reference.value;
}

/** Undefined without a goal. */
export function goalMet(measurement: Measurement): boolean | undefined {
  const { goal, atLeast } = measurement;
  if (goal === undefined && atLeast === undefined) return undefined;
  const compared = measurement.reference === undefined ? measurement.value : ratioOf(measurement);
  // A ratio to nothing proves nothing.
  if (compared === undefined) return false;
  return goal === undefined ? compared >= (atLeast ?? 0) : compared <= goal;
}

const header = ["MEASURED", "VALUE", "COMPARED WITH", "VALUE", "RATIO", "GOAL", "MET"];

const digits: Record<Measurement["unit"], number> = { s: 2, MiB: 1, "/s": 0 };

function cellsOf(measurement: Measurement): string[] {
  const { name, value, unit, reference, goal, atLeast } = measurement;
  // What could not be measured, or must not count, is no number.
  const amount = (number: number): string =>
    Number.isFinite(number) ? `${number.toFixed(digits[unit])} ${unit}` : "none";
  const ratio = ratioOf(measurement);
  const met = goalMet(measurement);
  const limit = goal ?? atLeast;
  const words = goal === undefined ? "at least" : "at most";
  const bound = limit === undefined ? "" : `${words} ${reference === undefined ? amount(limit) : limit}`;
  return [
    name,
    amount(value),
    reference?.name ?? "",
    reference === undefined ? "" : amount(reference.value),
    ratio === undefined ? "" : ratio.toFixed(2),
    bound,
    met === undefined ? "" : met ? "yes" : "NO",
  ];
}

export function renderMeasurements(measurements: Measurement[]): string {
  return `${table(header, measurements.map(cellsOf), [1, 3, 4])}\n`;
}

const begin = "<!-- written by `make bench`: do not edit between these two lines -->";
const end = "<!-- end of what `make bench` wrote -->";

/** The generated part of the page. Without a date, so that it only changes when the numbers do. */
export function renderSection(measurements: Measurement[], machine: Machine): string {
  const row = (cells: string[]): string => `| ${cells.map((each) => each.replaceAll("|", "\\|")).join(" | ")} |`;
  const title = header.map((each) => each.charAt(0) + each.slice(1).toLowerCase());
  return [
    begin,
    "",
    `One machine with ${machine.cores} cores and ${machine.memoryGiB} GiB, ${machine.nodes} Kubernetes nodes on it.`,
    "Absolute times say more about the machine than about the project; ratios compare two things measured in the same run.",
    "",
    row(title),
    row(title.map(() => "---")),
    ...measurements.map((each) => row(cellsOf(each))),
    "",
    end,
  ].join("\n");
}

/** Replaces the generated part of a page and leaves the rest alone. */
export function replaceSection(page: string, section: string): string {
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from >= 0 && to > from) return page.slice(0, from) + section + page.slice(to + end.length);
  const before = page.trim() === "" ? "# Benchmarks" : page.trimEnd();
  return `${before}\n\n${section}\n`;
}

interface ContainerStats {
  name: string;
  memory?: { workingSetBytes?: number };
}

/** The part of the summary of a kubelet (`/stats/summary`) that is used. */
export interface NodeStats {
  pods?: { podRef: { name: string; namespace: string }; containers?: ContainerStats[] }[];
}

export interface PodRole {
  name: string;
  namespace: string;
  /** Label app.kubernetes.io/instance: the ensemble. */
  instance: string;
  /** Label app.kubernetes.io/component. */
  component: string | undefined;
}

export interface MemoryUse {
  serversMiB: number;
  /** Beside the servers in their pods, or in pods of their own. */
  agentsMiB: number;
  gatewaysMiB: number;
}

/** By ensemble, and the running pods that the kubelets say nothing about. */
export function memoryUse(
  pods: PodRole[],
  stats: NodeStats[],
): { ensembles: Record<string, MemoryUse>; unknown: string[] } {
  const known = stats.flatMap((each) => each.pods ?? []);
  const ensembles: Record<string, MemoryUse> = {};
  const unknown: string[] = [];
  for (const pod of pods) {
    const use = (ensembles[pod.instance] ??= { serversMiB: 0, agentsMiB: 0, gatewaysMiB: 0 });
    const found = known.find((each) => each.podRef.name === pod.name && each.podRef.namespace === pod.namespace);
    // Containers, not the pod: its own sum stays 0 for a while.
    const containers = (found?.containers ?? []).filter((each) => each.memory?.workingSetBytes !== undefined);
    if (containers.length === 0) unknown.push(pod.name);
    for (const container of containers) {
      use[shareOf(pod, container)] += (container.memory?.workingSetBytes ?? 0) / 1024 ** 2;
    }
  }
  return { ensembles, unknown };
}

/** Whatever is neither a server nor a gateway is there for our sake. */
function shareOf({ component }: PodRole, container: ContainerStats): keyof MemoryUse {
  if (component === "gateway") return "gatewaysMiB";
  return component === "server" && container.name !== "agent" ? "serversMiB" : "agentsMiB";
}

/** What runs beside the servers of each ensemble, against the servers; and all of it together. */
export function memoryMeasurements(ensembles: Record<string, MemoryUse>, goal: number): Measurement[] {
  const beside = (name: string, { serversMiB, agentsMiB, gatewaysMiB }: MemoryUse): Measurement => {
    const gateways = gatewaysMiB === 0 ? "" : ` and gateways (${gatewaysMiB.toFixed(1)} MiB)`;
    return {
      name: `${name}: memory of agents that run all the time (${agentsMiB.toFixed(1)} MiB)${gateways}`,
      value: agentsMiB + gatewaysMiB,
      unit: "MiB",
      reference: { name: "memory of the servers", value: serversMiB },
      goal,
    };
  };
  const total: MemoryUse = { serversMiB: 0, agentsMiB: 0, gatewaysMiB: 0 };
  for (const use of Object.values(ensembles)) {
    total.serversMiB += use.serversMiB;
    total.agentsMiB += use.agentsMiB;
    total.gatewaysMiB += use.gatewaysMiB;
  }
  const each = Object.entries(ensembles).map(([name, use]) => beside(name, use));
  return each.length > 1 ? [...each, beside("all services", total)] : each;
}
