/**
 * Measures on the sandbox, prints, and writes docs/benchmarks.md. Everything is compared with something else that is
 * measured in the same run on the same machine.
 */
import { execFile } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { CoreV1Api, type KubeConfig } from "@kubernetes/client-node";
import {
  CannotRun,
  chooseCluster,
  createRedaction,
  exitCodes,
  loadCluster,
  messageOf,
  openEnvironment,
  patient,
  readOutputs,
  runMain,
  type StackOutputs,
  table,
  waitFor,
} from "../checks";
import type { CheckTarget } from "../components/shared/core/check";
import { labelKeys } from "../components/shared/core/names";
import { type Engine, pulumi, sandboxEngine } from "../sandbox/engine";
import type { DrillName, DrillReport } from "./drill";
import { median } from "./ledger";
import {
  goalMet,
  type Measurement,
  memoryMeasurements,
  memoryUse,
  type NodeStats,
  renderMeasurements,
  renderSection,
  replaceSection,
} from "./measurement";
import { profileOf } from "./profiles";
import type { DrillsReport } from "./report";
import { isLoaded, type LoadedService, loadedServices, measureThroughput } from "./throughput";

const parts = ["preview", "deploy", "memory", "gateway", "drills"] as const;
type Part = (typeof parts)[number];

const usage = `measures the project on the sandbox and writes docs/benchmarks.md

  make bench ARGS="[flags]"

  --only PART    one of ${parts.join(", ")}; may be repeated; the page is then not written
                 preview: against an empty program; deploy: all services against the slowest alone;
                 memory: agents and gateways against servers; gateway: throughput against a direct connection;
                 drills: the longest time without writes when a leader crashes or is asked to stop
  --runs N       of each preview and each update without changes, default 3
  --stack NAME   the deployed stack to measure, default: PULUMI_STACK
`;

/** The most that a ratio may be. Budgets of the write gap belong to the drills; what has no goal is only reported. */
const goals = { preview: 2, deploy: 1.3, memory: 0.15 };

const checkout = join(__dirname, "..");
const page = join(checkout, "docs", "benchmarks.md");
const checksSeconds = 600;

const note = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

async function main(args: string[]): Promise<number> {
  try {
    const { values: flags } = parseArgs({
      args,
      options: {
        only: { type: "string", multiple: true },
        runs: { type: "string", default: "3" },
        stack: { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    });
    if (flags.help === true) {
      process.stdout.write(usage);
      return exitCodes.passed;
    }
    const chosen = chooseParts(flags.only ?? []);
    const runs = Number(flags.runs);
    if (!(Number.isInteger(runs) && runs > 0)) {
      throw new CannotRun(`--runs must be a whole number greater than 0, got "${flags.runs}"`);
    }
    const stack = flags.stack ?? process.env["PULUMI_STACK"] ?? "dev";
    const engine = await sandboxEngine(stack);
    const outputs = await readOutputs({ stack, directory: checkout });
    const config = loadCluster(chooseCluster({}, outputs, process.env));
    const measurements: Measurement[] = [];
    for (const part of chosen) {
      note(`measuring: ${part}`);
      measurements.push(...(await measure(part, { engine, outputs, config, runs })));
    }
    process.stdout.write(renderMeasurements(measurements));
    if (chosen.length === parts.length) writePage(measurements, await countNodes(config));
    return measurements.some((each) => goalMet(each) === false) ? exitCodes.failed : exitCodes.passed;
  } catch (error) {
    note(messageOf(error));
    return exitCodes.cannotRun;
  }
}

function chooseParts(only: string[]): Part[] {
  const unknown = only.find((each) => !parts.some((part) => part === each));
  if (unknown !== undefined) throw new CannotRun(`--only must be one of ${parts.join(", ")}, got "${unknown}"`);
  return only.length === 0 ? [...parts] : parts.filter((part) => only.includes(part));
}

interface Bench {
  engine: Engine;
  outputs: StackOutputs;
  config: KubeConfig;
  runs: number;
}

function measure(part: Part, bench: Bench): Promise<Measurement[]> {
  switch (part) {
    case "preview":
      return measurePreview(bench);
    case "deploy":
      return measureDeploy(bench);
    case "memory":
      return measureMemory(bench);
    case "gateway":
      return measureGateways(bench);
    case "drills":
      return measureDrills(bench);
  }
}

/** The deployed stack without changes against a program without resources: the same engine, SDK, backend and plugins. */
async function measurePreview({ engine, runs }: Bench): Promise<Measurement[]> {
  const empty = await emptyProgram(engine);
  try {
    const own = ["--stack", engine.stack, ...engine.configuration];
    const nothing = ["--stack", empty.stack, "--cwd", empty.folder];
    const up = ["up", "--yes", "--skip-preview", "--non-interactive"];
    // The first run of each fills caches that later ones use.
    await pulumi(engine, "preview", "--non-interactive", ...own);
    await pulumi(engine, ...up, ...nothing);
    const timed = {
      preview: [] as number[],
      emptyPreview: [] as number[],
      update: [] as number[],
      emptyUpdate: [] as number[],
    };
    // By turns, so that a slow minute of the machine hits both.
    for (let run = 0; run < runs; run += 1) {
      timed.preview.push(await secondsOf(() => pulumi(engine, "preview", "--non-interactive", ...own)));
      timed.emptyPreview.push(await secondsOf(() => pulumi(engine, "preview", "--non-interactive", ...nothing)));
      timed.update.push(await secondsOf(() => pulumi(engine, ...up, "--expect-no-changes", ...own)));
      timed.emptyUpdate.push(await secondsOf(() => pulumi(engine, ...up, "--expect-no-changes", ...nothing)));
    }
    return [
      {
        name: "`pulumi preview` without changes",
        value: middle(timed.preview),
        unit: "s",
        reference: { name: "the same of an empty program", value: middle(timed.emptyPreview) },
        goal: goals.preview,
      },
      {
        name: "`pulumi up` without changes",
        value: middle(timed.update),
        unit: "s",
        reference: { name: "the same of an empty program", value: middle(timed.emptyUpdate) },
      },
    ];
  } finally {
    await pulumi(engine, "stack", "rm", "--yes", "--force", "--stack", empty.stack, "--cwd", empty.folder).catch(
      () => "",
    );
    rmSync(empty.folder, { recursive: true, force: true });
  }
}

interface EmptyProgram {
  folder: string;
  stack: string;
}

async function emptyProgram(engine: Engine): Promise<EmptyProgram> {
  const folder = mkdtempSync(join(tmpdir(), "bench-empty-"));
  symlinkSync(join(checkout, "node_modules"), join(folder, "node_modules"));
  copyFileSync(join(checkout, "tsconfig.pulumi.json"), join(folder, "tsconfig.pulumi.json"));
  copyFileSync(join(checkout, "tsconfig.json"), join(folder, "tsconfig.json"));
  copyFileSync(join(checkout, "package.json"), join(folder, "package.json"));
  const runtime = {
    name: "nodejs",
    options: { typescript: true, tsconfig: "tsconfig.pulumi.json", packagemanager: "npm" },
  };
  // JSON is YAML too.
  writeFileSync(join(folder, "Pulumi.yaml"), JSON.stringify({ name: "bench-empty", main: "index.ts", runtime }));
  writeFileSync(join(folder, "index.ts"), 'import "@pulumi/pulumi";\n');
  const stack = "bench-empty";
  await pulumi(engine, "stack", "init", stack, "--no-select", "--cwd", folder);
  return { folder, stack };
}

/** From a ready cluster to green checks: all services together against the slowest of them alone. */
async function measureDeploy({ outputs }: Bench): Promise<Measurement[]> {
  const services = [...new Set(outputs.checks.map((each) => each.service))];
  const alone: { service: string; seconds: number }[] = [];
  for (const service of services) alone.push({ service, seconds: await deploySubset([service]) });
  const together = await deploySubset(services);
  const slowest = alone.reduce((a, b) => (b.seconds > a.seconds ? b : a));
  note(
    table(
      ["SERVICE", "SECONDS"],
      alone.map((each) => [each.service, each.seconds.toFixed(1)]),
    ),
  );
  return [
    {
      name: `from a ready cluster to green checks, ${inWords(services)}`,
      value: together,
      unit: "s",
      reference: { name: `${slowest.service} alone, the slowest`, value: slowest.seconds },
      goal: goals.deploy,
    },
  ];
}

/** Deploys these services as a stack of their own, in a namespace of its own, and removes it. Seconds until all is green. */
async function deploySubset(services: string[]): Promise<number> {
  const stack = `bench-${services.join("-")}`;
  // A stack without a file of its own is one more dev, in the namespace cells-<stack>.
  const engine = await sandboxEngine(stack);
  const own = ["--stack", stack, ...engine.configuration];
  const selection = ["--config", `cells-services:services=${JSON.stringify(services)}`];
  try {
    note(`deploying ${services.join(", ")}`);
    return await secondsOf(async () => {
      await pulumi(engine, "up", "--yes", "--skip-preview", "--non-interactive", ...selection, ...own);
      await waitFor(`green checks of ${stack}`, async () => ({ done: await checkOnce(engine, stack) }), {
        ...patient,
        deadlineSeconds: checksSeconds,
      });
    });
  } finally {
    await pulumi(engine, "destroy", "--yes", "--skip-preview", "--non-interactive", ...selection, ...own);
    await pulumi(engine, "stack", "rm", "--yes", "--stack", stack);
  }
}

/** Throws when a check failed. In a process of its own, as a user runs it. */
async function checkOnce(engine: Engine, stack: string): Promise<void> {
  await tsx(engine, "checks/cli.ts", "--stack", stack, "--directory", checkout);
}

async function tsx(engine: Engine, script: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [join(checkout, "node_modules", "tsx", "dist", "cli.mjs"), join(checkout, script), ...args],
    { env: { ...process.env, ...engine.environment }, maxBuffer: 64 * 1024 * 1024 },
  );
  return stdout;
}

/** Working sets as the kubelets see them: what runs beside the servers against the servers. */
async function measureMemory({ outputs, config }: Bench): Promise<Measurement[]> {
  const core = config.makeApiClient(CoreV1Api);
  const namespaces = [...new Set(outputs.checks.map((each) => each.namespace))];
  const lists = await Promise.all(namespaces.map((namespace) => core.listNamespacedPod({ namespace })));
  const running = lists.flatMap((list) => list.items).filter((pod) => pod.status?.phase === "Running");
  const nodes = [...new Set(running.flatMap((pod) => pod.spec?.nodeName ?? []))];
  const stats = await Promise.all(
    nodes.map(async (name) => {
      const answer: unknown = await core.connectGetNodeProxyWithPath({ name, path: "stats/summary" });
      return (typeof answer === "string" ? JSON.parse(answer) : answer) as NodeStats;
    }),
  );
  const { ensembles, unknown } = memoryUse(
    running.map(({ metadata }) => ({
      name: metadata?.name ?? "",
      namespace: metadata?.namespace ?? "",
      instance: metadata?.labels?.[labelKeys.instance] ?? "others",
      component: metadata?.labels?.[labelKeys.component],
    })),
    stats,
  );
  if (unknown.length > 0) throw new Error(`the kubelets know no memory use of ${unknown.join(", ")}`);
  return memoryMeasurements(ensembles, goals.memory);
}

/** Through the gateway against straight to the leader, for the services that have both. */
async function measureGateways({ outputs, config }: Bench): Promise<Measurement[]> {
  const measurements: Measurement[] = [];
  for (const target of outputs.checks) {
    if (!isLoaded(target)) continue;
    const leader = await leaderOf(target, config);
    note(`load on ${target.name}, led by ${leader}`);
    measurements.push(...(await measureThroughput(config, target, target.service, leader)));
    // With another leader, the direct way was one to a member that refuses writes, or to a replica.
    const now = await leaderOf(target, config);
    if (now !== leader) throw new Error(`${now} leads ${target.name} instead of ${leader}: the numbers are of no use`);
  }
  if (measurements.length === 0) note(`no gateway to measure: neither ${loadedServices.join(" nor ")} is deployed`);
  return measurements;
}

async function leaderOf(target: CheckTarget & { service: LoadedService }, config: KubeConfig): Promise<string> {
  const environment = openEnvironment(config, target, createRedaction(), new AbortController().signal);
  try {
    const workload = await (await profileOf(target.service)).open(target, environment, "bench");
    try {
      const leader = await waitFor(`the leader of ${target.name}`, async () => ({ done: await workload.leader() }), {
        ...patient,
        deadlineSeconds: 30,
      });
      return leader.member;
    } finally {
      await workload.close();
    }
  } finally {
    await environment.close();
  }
}

/** The longest time without writes. */
const measuredDrills: Partial<Record<DrillName, string>> = {
  "leader-kill": "the leader crashes",
  "hand-over": "the leader is asked to stop",
};

async function measureDrills({ engine }: Bench): Promise<Measurement[]> {
  // A drill that fails prints its result too, and is no reason to throw the other numbers away.
  const text = await tsx(
    engine,
    "drills/cli.ts",
    ...Object.keys(measuredDrills),
    "--json",
    "--stack",
    engine.stack,
    "--directory",
    checkout,
  ).catch((error: unknown) => {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    if (stdout?.startsWith("{") === true) return stdout;
    throw new Error(`the drills could not run: ${stderr?.trim() ?? messageOf(error)}`);
  });
  const report = JSON.parse(text) as DrillsReport;
  if (report.drills.length === 0) throw new Error("no drill took place");
  return report.drills.map((drill) => {
    if (drill.result !== "passed") note(`${drill.name} ${drill.drill}: ${drill.reasons.join("; ")}`);
    return gapMeasurement(drill, measuredDrills[drill.drill] ?? drill.drill);
  });
}

function gapMeasurement(drill: DrillReport, event: string): Measurement {
  const passed = drill.result === "passed";
  const lost = `${drill.lostWrites} lost${drill.notes.length > 0 ? ", which is counted" : ""}`;
  const outcome = `${passed ? "" : `${drill.result.toUpperCase()}, `}${drill.acknowledged} writes acknowledged, ${lost}`;
  return {
    name: `${drill.name}: write gap when ${event} (${outcome})`,
    // A drill that lost a write meets no goal, however short the gap was.
    value: passed && drill.gapSeconds !== undefined ? drill.gapSeconds : Number.POSITIVE_INFINITY,
    unit: "s",
    goal: drill.budgetSeconds,
  };
}

function inWords(names: string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1) ?? ""}`;
}

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

function middle(values: number[]): number {
  return median(values) ?? Number.NaN;
}

async function countNodes(config: KubeConfig): Promise<number> {
  return (await config.makeApiClient(CoreV1Api).listNode()).items.length;
}

function writePage(measurements: Measurement[], nodes: number): void {
  const machine = { cores: availableParallelism(), memoryGiB: Math.round(totalmem() / 1024 ** 3), nodes };
  mkdirSync(join(checkout, "docs"), { recursive: true });
  const before = existsSync(page) ? readFileSync(page, "utf8") : "";
  writeFileSync(page, replaceSection(before, renderSection(measurements, machine)));
  note(`wrote ${page}`);
}

if (require.main === module) runMain(main);
