import { table } from "../checks";

export interface Measurement {
  /** What was measured, in words. */
  name: string;
  value: number;
  unit: "s" | "MiB";
  /** What it is compared with, on the same machine in the same run. */
  reference?: { name: string; value: number };
  /** The most that the ratio to the reference may be, or, without a reference, the value. */
  goal?: number;
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
  if (measurement.goal === undefined) return undefined;
  const compared = measurement.reference === undefined ? measurement.value : ratioOf(measurement);
  // A ratio to nothing proves nothing.
  return compared !== undefined && compared <= measurement.goal;
}

const header = ["MEASURED", "VALUE", "COMPARED WITH", "VALUE", "RATIO", "GOAL", "MET"];

function cellsOf(measurement: Measurement): string[] {
  const { name, value, unit, reference, goal } = measurement;
  // What could not be measured, or must not count, is no number.
  const amount = (number: number): string =>
    Number.isFinite(number) ? `${number.toFixed(unit === "s" ? 2 : 1)} ${unit}` : "none";
  const ratio = ratioOf(measurement);
  const met = goalMet(measurement);
  const bound = goal === undefined ? "" : reference === undefined ? `at most ${amount(goal)}` : `at most ${goal}`;
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
  /** Label app.kubernetes.io/component. */
  component: string | undefined;
}

export interface MemoryUse {
  serversMiB: number;
  agentsMiB: number;
  /** Running pods that the kubelets say nothing about. */
  unknown: string[];
}

/** Containers of the servers against everything else that we run beside them: agents in their pods or in pods of their own. */
export function memoryUse(pods: PodRole[], stats: NodeStats[], serverContainers: string[]): MemoryUse {
  const known = stats.flatMap((each) => each.pods ?? []);
  const use: MemoryUse = { serversMiB: 0, agentsMiB: 0, unknown: [] };
  for (const pod of pods) {
    const found = known.find((each) => each.podRef.name === pod.name && each.podRef.namespace === pod.namespace);
    // Containers, not the pod: its own sum stays 0 for a while.
    const containers = (found?.containers ?? []).filter((each) => each.memory?.workingSetBytes !== undefined);
    if (containers.length === 0) use.unknown.push(pod.name);
    for (const container of containers) {
      const mebibytes = (container.memory?.workingSetBytes ?? 0) / 1024 ** 2;
      if (pod.component === "server" && serverContainers.includes(container.name)) use.serversMiB += mebibytes;
      else use.agentsMiB += mebibytes;
    }
  }
  return use;
}
