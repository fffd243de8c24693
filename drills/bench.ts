/**
 * Measures on the sandbox, prints, and writes docs/benchmarks.md. Everything is compared with something else that is
 * measured in the same run on the same machine.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs, promisify } from "node:util";
import { CoreV1Api, type KubeConfig } from "@kubernetes/client-node";
import {
  CannotRun,
  chooseCluster,
  createRedaction,
  exitCodes,
  loadCluster,
  messageOf,
  patient,
  readOutputs,
  runMain,
  type StackOutputs,
  table,
  waitFor,
} from "../checks";
import { labelKeys, serviceKinds } from "../components/shared/core/names";
import type { AgentBundle } from "../components/shared/deploy";
import { openCopy, openProgram, pulumi, type Run, type ThrowAway } from "./engine";
import { median } from "./ledger";
import {
  cpuSeconds,
  goalMet,
  growthMeasurements,
  type Measurement,
  memoryMeasurements,
  type NodeStats,
  type PodRole,
  renderMeasurements,
  renderSection,
  replaceSection,
} from "./measurement";
import { leaderOf, profileOf } from "./profiles";
import { type GoldenResource, growthProgram, plainProgram } from "./programs";
import { gatewayMeasurements, isLoaded, loadedServices, runLoad } from "./throughput";

const parts = ["preview", "state", "growth", "deploy", "memory", "gateway"] as const;
type Part = (typeof parts)[number];

const usage = `measures the project on the sandbox and writes docs/benchmarks.md

  make bench ARGS="[flags]"

  --only PART    one of ${parts.join(", ")}; may be repeated; the page is then not written
                 preview: against a plain program with the same resources and against an empty one; state: its size;
                 growth: preview, state and memory of the engine with 1 to 28 components; deploy: all services against the slowest alone;
                 memory: agents, gateways and servers; gateway: what it adds to the time of an operation
  --runs N       of each preview and each update without changes, default 3
  --stack NAME   the deployed stack to measure, default: PULUMI_STACK

The environment is that of pulumi, and BENCH_CONFIG_FILE is the configuration of the stack; \`make bench\` gives both.
`;

/** The most that a ratio or a value may be; what has no goal is only reported. */
const goals = { preview: 1.3, deploy: 1.3, agentMiB: 25, stateMB: 3 };

/** Of the components in one stack. Seven is one of each kind. */
const growthSteps = [1, 7, 14, 28];

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
    const configFile = process.env["BENCH_CONFIG_FILE"];
    if (configFile === undefined) throw new CannotRun('BENCH_CONFIG_FILE is missing; run "make bench"');
    const outputs = await readOutputs({ stack, directory: checkout });
    const config = loadCluster(chooseCluster({}, outputs, process.env));
    const measurements: Measurement[] = [];
    for (const part of chosen) {
      note(`measuring: ${part}`);
      measurements.push(...(await measure(part, { stack, configFile, outputs, config, runs })));
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
  stack: string;
  configFile: string;
  outputs: StackOutputs;
  config: KubeConfig;
  runs: number;
}

function measure(part: Part, bench: Bench): Promise<Measurement[]> {
  switch (part) {
    case "preview":
      return measurePreview(bench);
    case "state":
      return measureState(bench);
    case "growth":
      return measureGrowth(bench);
    case "deploy":
      return measureDeploy(bench);
    case "memory":
      return measureMemory(bench);
    case "gateway":
      return measureGateways(bench);
  }
}

const preview = (...flags: string[]): Promise<Run> => pulumi("preview", "--non-interactive", ...flags);
const up = (...flags: string[]): Promise<Run> => pulumi("up", "--yes", "--skip-preview", "--non-interactive", ...flags);

/**
 * The deployed stack without changes against a program with the same resources and no logic, and against one without
 * resources: the same engine, SDK, backend and plugins.
 */
async function measurePreview({ stack, configFile, runs, config }: Bench): Promise<Measurement[]> {
  const golden = JSON.parse(readFileSync(join(checkout, "tests", "golden", "dev.json"), "utf8")) as GoldenResource[];
  const { graph, index } = plainProgram(golden, {
    namespaces: { cells: "bench-plain", "cells-app": "bench-plain-app" },
    placeholders: bundles(),
    provider: providerInputs(config, "bench-plain"),
  });
  const made: ThrowAway[] = [];
  try {
    const empty = await openProgram("bench-empty", { "index.ts": 'import "@pulumi/pulumi";\n' });
    made.push(empty);
    const plain = await openProgram("bench-plain", { "index.ts": index, "graph.json": graph });
    made.push(plain);
    const programs = {
      own: ["--stack", stack, "--config-file", configFile],
      plain: plain.flags,
      empty: empty.flags,
    };
    // The first run of each fills caches that later ones use.
    await preview(...programs.own);
    await up(...programs.plain);
    await up(...programs.empty);
    const names = ["own", "plain", "empty"] as const;
    const previews = { own: [] as number[], plain: [] as number[], empty: [] as number[] };
    const updates = { own: [] as number[], plain: [] as number[], empty: [] as number[] };
    // By turns, so that a slow minute of the machine hits all of them.
    for (let run = 0; run < runs; run += 1) {
      for (const name of names) {
        previews[name].push((await preview("--expect-no-changes", ...programs[name])).seconds);
        updates[name].push((await up("--expect-no-changes", ...programs[name])).seconds);
      }
    }
    const against = (command: string, times: typeof previews): Measurement[] => [
      {
        name: `\`pulumi ${command}\` without changes`,
        value: middle(times.own),
        unit: "s",
        reference: { name: `a plain program with the same ${golden.length} resources`, value: middle(times.plain) },
        goal: goals.preview,
      },
      { name: `\`pulumi ${command}\` of an empty program`, value: middle(times.empty), unit: "s" },
    ];
    return [
      ...against("preview", previews),
      ...against("up", updates),
      // The rest is the engine, the plugins and the resources, which the plain program has too.
      { name: "loading the program, without running it", value: await secondsToLoad(), unit: "s" },
    ];
  } finally {
    for (const program of made.reverse()) await program.remove();
  }
}

/** The modules of the program, compiled as the checks are and not by the language host. */
async function secondsToLoad(): Promise<number> {
  const load =
    'const started = performance.now(); require("./stacks/services"); console.log(performance.now() - started)';
  const tsxHook = join(checkout, "node_modules", "tsx", "dist", "cjs", "index.cjs");
  const args = ["--require", tsxHook, "-e", load];
  // The first time fills the cache of the compiler.
  await promisify(execFile)(process.execPath, args, { cwd: checkout });
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: checkout });
  return Number(stdout) / 1000;
}

/** What the placeholders of the golden graph stand for. */
function bundles(): Record<string, string> {
  return Object.fromEntries(
    [...serviceKinds, "gateway"].flatMap((service) => {
      const file = join(checkout, "dist", "agents", `${service}.json`);
      const { content, checksum } = JSON.parse(readFileSync(file, "utf8")) as AgentBundle;
      return [
        [`[agent bundle of ${service}]`, content],
        [`[checksum of ${service} agent]`, checksum],
      ];
    }),
  );
}

function providerInputs(config: KubeConfig, clusterIdentifier: string): Record<string, string> {
  return { context: config.getCurrentContext(), clusterIdentifier };
}

/** As the engine writes it at each checkpoint. */
async function stateMegabytes(...flags: string[]): Promise<number> {
  return Buffer.byteLength((await pulumi("stack", "export", ...flags)).stdout) / 1e6;
}

async function measureState({ stack }: Bench): Promise<Measurement[]> {
  const value = await stateMegabytes("--stack", stack);
  return [{ name: `state of the stack ${stack}`, value, unit: "MB", goal: goals.stateMB }];
}

/** One stack with more and more components, whose pods are kept from running. */
async function measureGrowth({ config, runs }: Bench): Promise<Measurement[]> {
  const points: { components: number; seconds: number; megabytes: number; engineMiB: number }[] = [];
  for (const components of growthSteps) {
    note(`measuring ${components} components`);
    const name = `bench-growth-${components}`;
    const program = await openProgram(name, {
      "index.ts": growthProgram(components, name, providerInputs(config, name)),
    });
    try {
      await up(...program.flags);
      const previews: Run[] = [];
      for (let run = 0; run < runs; run += 1) previews.push(await preview("--expect-no-changes", ...program.flags));
      points.push({
        components,
        seconds: middle(previews.map((each) => each.seconds)),
        megabytes: await stateMegabytes(...program.flags),
        engineMiB: middle(previews.map((each) => each.engineMiB)),
      });
    } finally {
      await program.remove();
    }
  }
  const over = (value: (point: (typeof points)[number]) => number): { x: number; y: number }[] =>
    points.map((point) => ({ x: point.components, y: value(point) }));
  return [
    ...growthMeasurements(
      "`pulumi preview` without changes",
      "s",
      over((point) => point.seconds),
    ),
    ...growthMeasurements(
      "state",
      "MB",
      over((point) => point.megabytes),
    ),
    ...growthMeasurements(
      "memory of the engine in a preview",
      "MiB",
      over((point) => point.engineMiB),
    ),
  ];
}

/** From a ready cluster to green checks: all services together against the slowest of them alone. */
async function measureDeploy({ outputs, configFile }: Bench): Promise<Measurement[]> {
  const services = [...new Set(outputs.checks.map((each) => each.service))];
  const alone: { service: string; seconds: number }[] = [];
  for (const service of services) alone.push({ service, seconds: await deploySubset([service], configFile) });
  const together = await deploySubset(services, configFile);
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
async function deploySubset(services: string[], configFile: string): Promise<number> {
  const stack = `bench-${services.join("-")}`;
  const copy = await openCopy(stack, configFile, {
    "cells-services:namespace": `cells-${stack}`,
    "cells-services:services": services,
  });
  try {
    note(`deploying ${services.join(", ")}`);
    return await secondsOf(async () => {
      await up(...copy.flags);
      await waitFor(`green checks of ${stack}`, async () => ({ done: await checkOnce(stack) }), {
        ...patient,
        deadlineSeconds: checksSeconds,
      });
    });
  } finally {
    await copy.remove();
  }
}

/** Throws when a check failed. In a process of its own, as a user runs it. */
async function checkOnce(stack: string): Promise<void> {
  await tsx("checks/cli.ts", "--stack", stack, "--directory", checkout);
}

async function tsx(script: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [join(checkout, "node_modules", "tsx", "dist", "cli.mjs"), join(checkout, script), ...args],
    { maxBuffer: 64 * 1024 * 1024 },
  );
  return stdout;
}

/** As the kubelets see it. */
async function measureMemory({ outputs, config }: Bench): Promise<Measurement[]> {
  const namespaces = [...new Set(outputs.checks.map((each) => each.namespace))];
  const { pods, stats } = await observe(config, namespaces);
  return memoryMeasurements(pods, stats, goals.agentMiB);
}

/** The running pods of these namespaces, and what the kubelets of their nodes know. */
async function observe(config: KubeConfig, namespaces: string[]): Promise<{ pods: PodRole[]; stats: NodeStats[] }> {
  const core = config.makeApiClient(CoreV1Api);
  const lists = await Promise.all(namespaces.map((namespace) => core.listNamespacedPod({ namespace })));
  const running = lists.flatMap((list) => list.items).filter((pod) => pod.status?.phase === "Running");
  const nodes = [...new Set(running.flatMap((pod) => pod.spec?.nodeName ?? []))];
  const stats = await Promise.all(
    nodes.map(async (name) => {
      const answer: unknown = await core.connectGetNodeProxyWithPath({ name, path: "stats/summary" });
      return (typeof answer === "string" ? JSON.parse(answer) : answer) as NodeStats;
    }),
  );
  const pods = running.map(({ metadata }) => ({
    name: metadata?.name ?? "",
    namespace: metadata?.namespace ?? "",
    instance: metadata?.labels?.[labelKeys.instance] ?? "others",
    component: metadata?.labels?.[labelKeys.component],
  }));
  return { pods, stats };
}

/** Kubelets read the use of CPU every 10 to 20 seconds. */
const statsMilliseconds = 20_000;

/** Through the gateway against straight to the leader, for the services that have both. */
async function measureGateways({ outputs, config }: Bench): Promise<Measurement[]> {
  const measurements: Measurement[] = [];
  for (const target of outputs.checks) {
    if (!isLoaded(target)) continue;
    const whoLeads = async () => leaderOf(config, target, await profileOf(target.service), createRedaction());
    const leader = await whoLeads();
    note(`load on ${target.name}, led by ${leader}`);
    const used = async (): Promise<number> => {
      await delay(statsMilliseconds);
      const { pods, stats } = await observe(config, [target.namespace]);
      const own = pods.filter(({ instance, component }) => instance === target.name && component === "gateway");
      return cpuSeconds(own, stats);
    };
    const before = await used();
    const result = await runLoad(config, target, target.service, leader);
    measurements.push(...gatewayMeasurements(target.name, result, (await used()) - before));
    // With another leader, the direct way was one to a member that refuses writes, or to a replica.
    const now = await whoLeads();
    if (now !== leader) throw new Error(`${now} leads ${target.name} instead of ${leader}: the numbers are of no use`);
  }
  if (measurements.length === 0) note(`no gateway to measure: neither ${loadedServices.join(" nor ")} is deployed`);
  return measurements;
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
