import { table } from "../checks";

export interface Measurement {
  /** What was measured, in words. */
  name: string;
  value: number;
  unit: "s" | "ms" | "µs" | "MB" | "MiB";
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
  const { goal } = measurement;
  if (goal === undefined) return undefined;
  const compared = measurement.reference === undefined ? measurement.value : ratioOf(measurement);
  // A ratio to nothing proves nothing.
  return compared !== undefined && compared <= goal;
}

const header = ["MEASURED", "VALUE", "COMPARED WITH", "VALUE", "RATIO", "GOAL", "MET"];

const digits: Record<Measurement["unit"], number> = { s: 2, ms: 2, µs: 1, MB: 2, MiB: 1 };

function cellsOf(measurement: Measurement): string[] {
  const { name, value, unit, reference, goal } = measurement;
  // What could not be measured, or must not count, is no number.
  const amount = (number: number): string =>
    Number.isFinite(number) ? `${number.toFixed(digits[unit])} ${unit}` : "none";
  const ratio = ratioOf(measurement);
  const met = goalMet(measurement);
  const bound = goal === undefined ? "" : `at most ${reference === undefined ? amount(goal) : goal}`;
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
  /** `rssBytes` is anonymous memory: what no file stands behind, and what the kernel cannot take back. */
  memory?: { workingSetBytes?: number; rssBytes?: number };
  cpu?: { usageCoreNanoSeconds?: number };
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

const mebibyte = 1024 ** 2;

/** The containers of these pods, and the running pods that the kubelets say nothing about. */
function containersOf(pods: PodRole[], stats: NodeStats[]): { found: [PodRole, ContainerStats][]; unknown: string[] } {
  const known = stats.flatMap((each) => each.pods ?? []);
  const found: [PodRole, ContainerStats][] = [];
  const unknown: string[] = [];
  for (const pod of pods) {
    const own = known.find((each) => each.podRef.name === pod.name && each.podRef.namespace === pod.namespace);
    // Containers, not the pod: its own sum stays 0 for a while.
    const containers = (own?.containers ?? []).filter((each) => each.memory?.workingSetBytes !== undefined);
    if (containers.length === 0) unknown.push(pod.name);
    for (const container of containers) found.push([pod, container]);
  }
  return { found, unknown };
}

/** The largest agent of each ensemble against the budget of one; then what gateways and servers take, without a goal. */
export function memoryMeasurements(pods: PodRole[], stats: NodeStats[], agentMiB: number): Measurement[] {
  const { found, unknown } = containersOf(pods, stats);
  if (unknown.length > 0) throw new Error(`the kubelets know no memory use of ${unknown.join(", ")}`);
  const instances = [...new Set(pods.map(({ instance }) => instance))];
  return instances.flatMap((instance): Measurement[] => {
    const own = found.filter(([pod]) => pod.instance === instance);
    const of = (role: Role): ContainerStats[] =>
      own.filter(([pod, container]) => roleOf(pod, container) === role).map(([, container]) => container);
    const agents = of("agent").map(({ memory }) => (memory?.rssBytes ?? Number.POSITIVE_INFINITY) / mebibyte);
    const sum = (containers: ContainerStats[]): number =>
      containers.reduce((total, { memory }) => total + (memory?.workingSetBytes ?? 0), 0) / mebibyte;
    const [servers, gateways] = [of("server"), of("gateway")];
    return [
      ...(agents.length === 0
        ? []
        : [
            {
              name: `${instance}: anonymous memory of the largest of ${agents.length} agents`,
              value: Math.max(...agents),
              unit: "MiB" as const,
              goal: agentMiB,
            },
          ]),
      { name: `${instance}: memory of the servers`, value: sum(servers), unit: "MiB" },
      ...(gateways.length === 0
        ? []
        : [{ name: `${instance}: memory of the gateway`, value: sum(gateways), unit: "MiB" as const }]),
    ];
  });
}

type Role = "server" | "agent" | "gateway";

/** Whatever is neither a server nor a gateway is there for our sake. */
function roleOf({ component }: PodRole, container: ContainerStats): Role {
  if (component === "gateway") return "gateway";
  return component === "server" && container.name !== "agent" ? "server" : "agent";
}

/** Seconds of CPU that these pods have used since they started. */
export function cpuSeconds(pods: PodRole[], stats: NodeStats[]): number {
  const { found } = containersOf(pods, stats);
  return found.reduce((total, [, { cpu }]) => total + (cpu?.usageCoreNanoSeconds ?? 0), 0) / 1e9;
}

export interface Line {
  slope: number;
  intercept: number;
  /** The largest distance of a point from the line, as a part of the value there. */
  deviation: number;
}

/** The line with the least squares. */
export function fitLine(points: readonly { x: number; y: number }[]): Line {
  const mean = (values: number[]): number => values.reduce((sum, each) => sum + each, 0) / values.length;
  const x0 = mean(points.map(({ x }) => x));
  const y0 = mean(points.map(({ y }) => y));
  const covariance = points.reduce((sum, { x, y }) => sum + (x - x0) * (y - y0), 0);
  const variance = points.reduce((sum, { x }) => sum + (x - x0) ** 2, 0);
  const slope = variance === 0 ? 0 : covariance / variance;
  const intercept = y0 - slope * x0;
  const deviation = Math.max(...points.map(({ x, y }) => Math.abs(y - (intercept + slope * x)) / y));
  return { slope, intercept, deviation };
}

/** How a value grows with the number of components: each value, and what one more component costs. */
export function growthMeasurements(
  what: string,
  unit: Measurement["unit"],
  points: readonly { x: number; y: number }[],
): Measurement[] {
  const { slope, deviation } = fitLine(points);
  const percent = Math.round(deviation * 100);
  return [
    ...points.map(({ x, y }) => ({ name: `${what}, ${x} ${x === 1 ? "component" : "components"}`, value: y, unit })),
    { name: `${what}: each further component (${percent} % from a line at most)`, value: slope, unit },
  ];
}
