import { mkdir, writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type KubeConfig, VersionApi } from "@kubernetes/client-node";
import {
  CannotRun,
  createRedaction,
  exitCodes,
  messageOf,
  openEnvironment,
  redactDeep,
  runMain,
  selected,
  selectionFlags,
  selectionUsage,
  toStderr,
  toStdout,
} from "../checks";
import type { CheckTarget } from "../components/shared/core/check";
import { openBarrier } from "./barrier";
import { type Client, openClient } from "./client";
import {
  applies,
  brokenOff,
  type DrillName,
  type DrillOptions,
  type DrillReport,
  drillNames,
  runDrill,
  type Strike,
  strikeOf,
  takesNode,
} from "./drill";
import { addressOf, type Fault, nodeOf, versionOf } from "./faults";
import type { Proof } from "./ledger";
import { type Facts, renderJunit, renderMarkdown, renderPage } from "./matrix";
import { isDrilled, leaderOf, profileOf } from "./profiles";
import { type DrillsReport, renderDrills, summarizeDrills } from "./report";
import type { Profile } from "./workload";

const usage = `breaks the services of a stack on purpose, and proves with a ledger of acknowledged writes that they survive

  tsx drills/cli.ts [flags] DRILL ... | all

  leader-kill    SIGKILL of the server process of the leader (root)
  leader-pause   SIGSTOP of the server process of the leader, SIGCONT 20 s later: it hangs (root)
  leader-delete  deletes the pod of the leader without a grace period; the server still gets a SIGTERM
  leader-repeat  the same three times, each as soon as a new leader serves writes
  hand-over      deletes the pod of the leader with its grace period, as a drain or a roll does
  member-crash   SIGKILL of the server process of a member that does not lead (root)
  agent-kill     SIGKILL of the agent beside the leader; services without such an agent are left out (root)
  volume-loss    deletes the volume claim and the pod of a member that does not lead
  leader-loss    the same of the leader
  disk-full      fills the volumes of all members to the last byte, and frees the space 30 s later (root)
  node-cut       cuts off the node of the leader for 35 s; needs --node-command
  node-stop      the same with a node that dies, and starts again; needs --node-command
  full-stop      kills all servers and deletes all pods of the service at once

  (root): needs root on the machine that runs the nodes, as in the sandbox

${selectionUsage}
  --together         all services at the same moment, each with a ledger of its own; of the nodes, the one with most leaders
  --node-command C   a command for the shell that gets "cut", "heal", "stop" or "start" and the name of a node; the sandbox
                     gives its own
  --steady SECONDS   of writing before the fault and after the recovery, default 10
  --writers N        concurrent writers, default 6
  --pace MS          between two writes of one writer, default 40
  --budget-factor N  multiplies every time budget, and the attempts of a writer that may fail in a row, default 1: for a
                     machine too small or too slow for the load of all drills
  --repeat N         the whole of it so many times, default 1
  --report FOLDER    also write drills.json, drills.xml (JUnit), drills.md and drills.html: a row for each drill, a column for
                     each service, and a timeline of each run
  --json             print the result as JSON

exit codes: 0 all passed, 1 a write was lost, a budget exceeded or a drill proved nothing, 2 the drills could not run
`;

/** Long enough for every deadline inside a drill; a drill is never cut short in the middle of a fault. */
const noDeadline = new AbortController().signal;

/** A drill of one service. */
interface Task {
  drill: DrillName;
  target: CheckTarget;
  profile: Profile;
}

export async function main(args: string[], print = toStdout, complain = toStderr): Promise<number> {
  const redaction = createRedaction();
  const log = (text: string): void => complain(`${redaction.redact(text)}\n`);
  try {
    const { values: flags, positionals } = readFlags(args);
    if (flags.help === true) {
      print(usage);
      return exitCodes.passed;
    }
    const nodeCommand = flags["node-command"];
    const drills = chooseDrills(positionals, nodeCommand);
    const options = {
      steadySeconds: positive("--steady", flags.steady),
      writers: positive("--writers", flags.writers),
      paceMilliseconds: positive("--pace", flags.pace),
      log,
    };
    const repeat = positive("--repeat", flags.repeat);
    if (!Number.isInteger(repeat)) throw new CannotRun(`--repeat must be a whole number, got "${flags.repeat}"`);
    const factor = positive("--budget-factor", flags["budget-factor"]);
    const { targets, config } = await selected(flags);
    const candidates = await Promise.all(
      targets
        .filter(isDrilled)
        .map(async (target) => ({ target, profile: withBudgets(await profileOf(target.service), factor) })),
    );
    if (candidates.length === 0) throw new CannotRun("only a service of several members can be drilled");
    const tasks = chooseTasks(drills, candidates, positionals.includes("all"));
    const call: Call = { config, redaction, options };
    const { report: folder } = flags;
    const facts = folder === undefined ? {} : await factsOf(config, candidates, repeat);
    if (folder !== undefined) await mkdir(folder, { recursive: true });
    const reports: DrillReport[] = [];
    try {
      for (let round = 0; round < repeat; round += 1) {
        // One after the other: two faults at once would be another drill.
        for (const group of groupsOf(tasks, flags.together)) {
          reports.push(...(await runGroup(group, call, nodeCommand)));
        }
      }
    } finally {
      // Also when a later drill cannot run.
      if (reports.length > 0) {
        const report = redactDeep(summarizeDrills(reports), redaction);
        if (folder !== undefined) await writeReport(folder, report, facts);
        print(flags.json === true ? `${JSON.stringify(report)}\n` : renderDrills(report));
      }
    }
    return summarizeDrills(reports).ok ? exitCodes.passed : exitCodes.failed;
  } catch (error) {
    log(`drills: ${error instanceof CannotRun ? "" : "unexpected error: "}${messageOf(error)}`);
    return exitCodes.cannotRun;
  }
}

/** Common to all drills. */
interface Call {
  config: KubeConfig;
  redaction: ReturnType<typeof createRedaction>;
  options: DrillOptions;
}

/** Of a drill in a group. */
interface Part extends Required<Pick<DrillOptions, "ready" | "recovered">> {
  /** The node that is taken away, and what takes it: once for all. */
  node?: { name: string; strike(leader: string, target: CheckTarget): Promise<Fault> };
}

/** A drill that breaks off is a result; one that cannot take place at all is none. */
async function runTask({ drill, target, profile }: Task, call: Call, { node, ...waits }: Part): Promise<DrillReport> {
  const { config, redaction, options } = call;
  const environment = openEnvironment(config, target, redaction, noDeadline);
  // Services without a gateway need none.
  let client: Promise<Client> | undefined;
  const service: Client["service"] = async (name, port) => {
    client ??= openClient(config, target.namespace, node?.name);
    return (await client).service(name, port);
  };
  try {
    const tunnel = { ...environment.tunnel, service };
    const strike: Strike = node
      ? (leader) => node.strike(leader, target)
      : strikeOf(drill, { config, target, profile });
    const more = { ...options, ...waits, ...(node === undefined ? {} : { node: node.name }) };
    return await runDrill(drill, target, profile, strike, { ...environment, tunnel }, more);
  } catch (error) {
    if (error instanceof CannotRun) throw error;
    return brokenOff(drill, target, profile, error);
  } finally {
    await client?.then((opened) => opened.close()).catch(() => undefined);
    await environment.close();
  }
}

/** Drills whose faults strike at the same moment. */
export function groupsOf<T extends Pick<Task, "drill">>(tasks: T[], together = false): T[][] {
  if (!together) return tasks.map((task) => [task]);
  return drillNames.map((name) => tasks.filter(({ drill }) => drill === name)).filter(({ length }) => length > 0);
}

/**
 * The fault strikes all when all are ready; when one does not get that far, none is struck. Each goes on writing until all have
 * recovered: services that still start take the machine from the others, whose load would be too small to prove anything.
 */
async function runGroup(tasks: Task[], call: Call, nodeCommand = ""): Promise<DrillReport[]> {
  let node: Part["node"];
  try {
    node = await nodeOfGroup(tasks, call, nodeCommand);
  } catch (error) {
    if (error instanceof CannotRun) throw error;
    return tasks.map(({ drill, target, profile }) => brokenOff(drill, target, profile, error));
  }
  const ready = openBarrier(tasks.length);
  const recovered = openBarrier(tasks.length);
  const names = tasks.map(({ target }) => target.name);
  const results = await Promise.allSettled(
    tasks.map(async (task) => {
      const { name } = task.target;
      let reason = "it broke off";
      try {
        const report = await runTask(task, call, {
          ready: () => ready.arrive(),
          // One that breaks off is a result of its own.
          recovered: () => recovered.arrive().catch(() => undefined),
          ...(node && { node }),
        });
        reason = report.reasons[0] ?? reason;
        return tasks.length === 1
          ? report
          : { ...report, fault: `${report.fault}; at the same moment: ${others(names, name)}` };
      } catch (error) {
        reason = messageOf(error);
        throw error;
      } finally {
        // Once all have arrived, this has no effect any more.
        ready.giveUp(`${name} is not ready for the fault: ${reason}`);
        recovered.giveUp(`${name} has not recovered: ${reason}`);
      }
    }),
  );
  return results.map((each) => {
    if (each.status === "rejected") throw each.reason;
    return each.value;
  });
}

const others = (names: string[], name: string): string => names.filter((each) => each !== name).join(", ");

async function nodeOfGroup(tasks: Task[], { config, redaction }: Call, command: string): Promise<Part["node"]> {
  const [first] = tasks;
  if (first === undefined || !takesNode(first.drill)) return undefined;
  const nodes = tasks.map(async ({ target, profile }) =>
    nodeOf({ config, target }, await leaderOf(config, target, profile, redaction)),
  );
  const name = mostFrequent(await Promise.all(nodes));
  const node = { name, address: await addressOf(config, name), command };
  let struck: Promise<Fault> | undefined;
  const strike = strikeOf(first.drill, { ...first, config, node });
  return {
    name,
    async strike(leader, target) {
      const own = await nodeOf({ config, target }, leader);
      struck ??= strike(leader);
      const { proof, ...fault } = await struck;
      return { ...fault, proof: proof.then((seen) => aboutLeader(seen, own === name, tasks.length)) };
    },
  };
}

/** A drill of one service is about its leader; of several services some lose a follower. */
export function aboutLeader({ proven, detail }: Proof, lost: boolean, services: number): Proof {
  return lost
    ? { proven, detail: `${detail}; the leader was on it` }
    : { proven: proven && services > 1, detail: `${detail}; the leader was on another node` };
}

export function mostFrequent(names: string[]): string {
  const count = (name: string): number => names.filter((each) => each === name).length;
  return [...names].sort((a, b) => count(b) - count(a) || a.localeCompare(b))[0] ?? "";
}

const isDrill = (name: string): name is DrillName => drillNames.some((each) => each === name);

export function chooseDrills(positionals: string[], nodeCommand: string | undefined): DrillName[] {
  const known = [...drillNames, "all"].join(", ");
  if (positionals.length === 0) throw new CannotRun(`no drill is named; use one of ${known}`);
  const unknown = positionals.filter((each) => each !== "all" && !isDrill(each));
  if (unknown.length > 0) throw new CannotRun(`no drill ${JSON.stringify(unknown[0])}; use one of ${known}`);
  const named = positionals.find((name) => nodeCommand === undefined && isDrill(name) && takesNode(name));
  if (named !== undefined) throw new CannotRun(`${named} needs --node-command; see --help`);
  const possible = drillNames.filter((name) => nodeCommand !== undefined || !takesNode(name));
  return possible.filter((name) => positionals.includes(name) || positionals.includes("all"));
}

/** Each drill for each service that it makes sense for. A drill that was asked for and fits none proves nothing. */
export function chooseTasks(drills: DrillName[], candidates: Pick<Task, "target" | "profile">[], all = false): Task[] {
  const fitting = drills.filter((drill) => candidates.some(({ profile }) => applies(drill, profile)));
  const [unfit] = drills.filter((drill) => !fitting.includes(drill));
  if (unfit !== undefined && !all) {
    const names = candidates.map(({ target }) => target.name).join(", ");
    throw new CannotRun(`${unfit} needs a service with an agent beside its server, got ${names}`);
  }
  return candidates.flatMap((candidate) =>
    drills.filter((drill) => applies(drill, candidate.profile)).map((drill) => ({ drill, ...candidate })),
  );
}

export function withBudgets<T extends Pick<Profile, "budgets">>(profile: T, factor: number): T {
  const entries = Object.entries(profile.budgets).map(([name, seconds]) => [name, seconds * factor]);
  // The patience of a writer is not multiplied: what takes longer exceeds it more often.
  return {
    ...profile,
    budgets: Object.fromEntries(entries) as Profile["budgets"],
    failuresInARow: Math.round(factor),
  };
}

async function writeReport(folder: string, report: DrillsReport, facts: Facts): Promise<void> {
  const { drills } = report;
  await writeFile(join(folder, "drills.json"), `${JSON.stringify({ ...report, facts })}\n`);
  await writeFile(join(folder, "drills.xml"), renderJunit(drills));
  await writeFile(join(folder, "drills.md"), renderMarkdown(drills, facts));
  await writeFile(join(folder, "drills.html"), renderPage(drills, facts));
}

async function factsOf(
  config: KubeConfig,
  candidates: Pick<Task, "target" | "profile">[],
  repeat: number,
): Promise<Facts> {
  const { gitVersion } = await config.makeApiClient(VersionApi).getCode();
  const servers = await Promise.all(
    candidates.map(
      async ({ target, profile }) => `${target.name} ${await versionOf({ config, target }, profile.container)}`,
    ),
  );
  return {
    date: new Date().toISOString().slice(0, 10),
    servers: servers.join(", "),
    Kubernetes: gitVersion,
    machine: `${cpus().length} processors, ${(totalmem() / 2 ** 30).toFixed(0)} GiB of memory, where the drills ran`,
    runs: `${repeat} of each drill`,
  };
}

function positive(flag: string, text: string): number {
  const number = Number(text);
  if (!(number > 0)) throw new CannotRun(`${flag} must be a number greater than 0, got "${text}"`);
  return number;
}

function readFlags(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        ...selectionFlags,
        together: { type: "boolean" },
        "node-command": { type: "string" },
        steady: { type: "string", default: "10" },
        writers: { type: "string", default: "6" },
        pace: { type: "string", default: "40" },
        "budget-factor": { type: "string", default: "1" },
        repeat: { type: "string", default: "1" },
        report: { type: "string" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new CannotRun(`${messageOf(error)}; see --help`);
  }
}

if (require.main === module) runMain(main);
