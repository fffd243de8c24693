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
  exitCodes,
  loadCluster,
  messageOf,
  readOutputs,
  type StackOutputs,
  table,
  until,
} from "../checks";
import { type Engine, pulumi, sandboxEngine } from "../sandbox/engine";
import { median } from "./ledger";
import {
  goalMet,
  type Measurement,
  memoryUse,
  type NodeStats,
  renderMeasurements,
  renderSection,
  replaceSection,
} from "./measurement";
import type { DrillsReport } from "./report";

const parts = ["preview", "deploy", "memory", "drills"] as const;
type Part = (typeof parts)[number];

const usage = `measures the project on the sandbox and writes docs/benchmarks.md

  make bench ARGS="[flags]"

  --only PART    one of ${parts.join(", ")}; may be repeated; the page is then not written
  --runs N       of each preview and each update without changes, default 3
  --stack NAME   the deployed stack to measure, default: PULUMI_STACK
`;

/**
 * What is promised. Ratios where there is something to compare with. Budgets of the write gap belong to the drills.
 * A part without a goal is only reported.
 */
const goals: Partial<Record<"preview" | "update" | "deploy" | "memory", number>> = {
  preview: 2,
  deploy: 1.3,
  memory: 0.15,
};

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
        ...goalOf("preview"),
      },
      {
        name: "`pulumi up` without changes",
        value: middle(timed.update),
        unit: "s",
        reference: { name: "the same of an empty program", value: middle(timed.emptyUpdate) },
        ...goalOf("update"),
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
      name: `from a ready cluster to green checks, ${services.join(" and ")}`,
      value: together,
      unit: "s",
      reference: { name: `${slowest.service} alone, the slowest`, value: slowest.seconds },
      ...goalOf("deploy"),
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
      await until(`green checks of ${stack}`, async () => ({ done: await checkOnce(engine, stack) }), {
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
  const use = memoryUse(
    running.map((pod) => ({
      name: pod.metadata?.name ?? "",
      namespace: pod.metadata?.namespace ?? "",
      component: pod.metadata?.labels?.["app.kubernetes.io/component"],
    })),
    stats,
    outputs.checks.map((each) => each.service),
  );
  if (use.unknown.length > 0) throw new Error(`the kubelets know no memory use of ${use.unknown.join(", ")}`);
  return [
    {
      name: "memory of agents that run all the time",
      value: use.agentsMiB,
      unit: "MiB",
      reference: { name: "memory of the servers", value: use.serversMiB },
      ...goalOf("memory"),
    },
  ];
}

/** The write gap when the leader crashes. */
async function measureDrills({ engine }: Bench): Promise<Measurement[]> {
  // A drill that fails prints its result too, and is no reason to throw the other numbers away.
  const text = await tsx(
    engine,
    "drills/cli.ts",
    "leader-kill",
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
  return report.drills.map((drill): Measurement => {
    const passed = drill.result === "passed";
    if (!passed) note(`${drill.name} ${drill.drill}: ${drill.reasons.join("; ")}`);
    const outcome = `${passed ? "" : `${drill.result.toUpperCase()}, `}${drill.acknowledged} writes acknowledged, ${drill.lostWrites} lost`;
    return {
      name: `${drill.name}: write gap when the leader crashes (${outcome})`,
      // A drill that lost a write meets no goal, however short the gap was.
      value: passed && drill.gapSeconds !== undefined ? drill.gapSeconds : Number.POSITIVE_INFINITY,
      unit: "s",
      goal: drill.budgetSeconds,
    };
  });
}

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

function middle(values: number[]): number {
  return median(values) ?? Number.NaN;
}

function goalOf(part: keyof typeof goals): { goal?: number } {
  const goal = goals[part];
  return goal === undefined ? {} : { goal };
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

if (require.main === module) {
  void main(process.argv.slice(2)).then((code) => {
    process.exitCode = code;
  });
}
