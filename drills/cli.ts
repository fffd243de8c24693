import { parseArgs } from "node:util";
import type { KubeConfig } from "@kubernetes/client-node";
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
  strikeOf,
} from "./drill";
import { isDrilled, profileOf } from "./profiles";
import { renderDrills, summarizeDrills } from "./report";
import type { Profile } from "./workload";

const usage = `breaks the services of a stack on purpose, and proves with a ledger of acknowledged writes that they survive

  tsx drills/cli.ts [flags] DRILL ... | all

  leader-kill    SIGKILL of the server process of the leader (root)
  leader-delete  deletes the pod of the leader without a grace period; the server still gets a SIGTERM
  leader-repeat  the same three times, each as soon as a new leader serves writes
  hand-over      deletes the pod of the leader with its grace period, as a drain or a roll does
  member-crash   SIGKILL of the server process of a member that does not lead (root)
  agent-kill     SIGKILL of the agent beside the leader; services without such an agent are left out (root)
  volume-loss    deletes the volume claim and the pod of a member that does not lead
  full-stop      kills all servers and deletes all pods of the service at once

  (root): needs root on the machine that runs the nodes, as in the sandbox

${selectionUsage}
  --together         full-stop only: all services at the same moment, each with a ledger of its own
  --steady SECONDS   of writing before the fault and after the recovery, default 10
  --writers N        concurrent writers, default 6
  --pace MS          between two writes of one writer, default 40
  --budget-factor N  multiplies every time budget, and the attempts of a writer that may fail in a row, default 1: for a
                     machine too small or too slow for the load of all drills
  --json             print the result as JSON

exit codes: 0 all passed, 1 a write was lost, a budget exceeded or a drill proved nothing, 2 the drills could not run
`;

type Print = (text: string) => void;
const toStdout: Print = (text) => void process.stdout.write(text);
const toStderr: Print = (text) => void process.stderr.write(text);

/** Long enough for every deadline inside a drill; a drill is never cut short in the middle of a fault. */
const noDeadline = new AbortController().signal;

/** A drill of one service. */
interface Task {
  drill: DrillName;
  target: CheckTarget;
  profile: Profile;
}

export async function main(args: string[], print: Print = toStdout, complain: Print = toStderr): Promise<number> {
  const redaction = createRedaction();
  const log = (text: string): void => complain(`${redaction.redact(text)}\n`);
  try {
    const { values: flags, positionals } = readFlags(args);
    if (flags.help === true) {
      print(usage);
      return exitCodes.passed;
    }
    const drills = chooseDrills(positionals, flags.together);
    const options = {
      steadySeconds: positive("--steady", flags.steady),
      writers: positive("--writers", flags.writers),
      paceMilliseconds: positive("--pace", flags.pace),
      log,
    };
    const factor = positive("--budget-factor", flags["budget-factor"]);
    const { targets, config } = await selected(flags);
    const candidates = await Promise.all(
      targets
        .filter(isDrilled)
        .map(async (target) => ({ target, profile: withBudgets(await profileOf(target.service), factor) })),
    );
    if (candidates.length === 0) throw new CannotRun("only a service of several members can be drilled");
    const tasks = chooseTasks(drills, candidates);
    const run = (task: Task, more: Partial<DrillOptions> = {}): Promise<DrillReport> =>
      runTask(task, config, redaction, { ...options, ...more });
    const reports: DrillReport[] = [];
    if (flags.together === true) reports.push(...(await runTogether(tasks, run)));
    // One after the other: two faults at once would be another drill.
    else for (const task of tasks) reports.push(await run(task));
    const report = redactDeep(summarizeDrills(reports), redaction);
    print(flags.json === true ? `${JSON.stringify(report, undefined, 2)}\n` : renderDrills(report));
    return report.ok ? exitCodes.passed : exitCodes.failed;
  } catch (error) {
    log(`drills: ${error instanceof CannotRun ? "" : "unexpected error: "}${messageOf(error)}`);
    return exitCodes.cannotRun;
  }
}

/** A drill that breaks off is a result; one that cannot take place at all is none. */
async function runTask(
  { drill, target, profile }: Task,
  config: KubeConfig,
  redaction: ReturnType<typeof createRedaction>,
  options: DrillOptions,
): Promise<DrillReport> {
  const environment = openEnvironment(config, target, redaction, noDeadline);
  let client: Client | undefined;
  try {
    client = await openClient(config, target.namespace);
    const tunnel = { ...environment.tunnel, service: client.service };
    const strike = strikeOf(drill, { config, target, profile });
    return await runDrill(drill, target, profile, strike, { ...environment, tunnel }, options);
  } catch (error) {
    if (error instanceof CannotRun) throw error;
    return brokenOff(drill, target, profile, error);
  } finally {
    await client?.close();
    await environment.close();
  }
}

/** The fault strikes all when all are ready; when one does not get that far, none is struck. */
async function runTogether(
  tasks: Task[],
  run: (task: Task, more: Partial<DrillOptions>) => Promise<DrillReport>,
): Promise<DrillReport[]> {
  const barrier = openBarrier(tasks.length);
  const names = tasks.map(({ target }) => target.name);
  const results = await Promise.allSettled(
    tasks.map(async (task) => {
      const { name } = task.target;
      let reason = "it broke off";
      try {
        const report = await run(task, { ready: () => barrier.arrive() });
        reason = report.reasons[0] ?? reason;
        return { ...report, fault: `${report.fault}; at the same moment: ${others(names, name)}` };
      } catch (error) {
        reason = messageOf(error);
        throw error;
      } finally {
        // Once all have arrived, this has no effect any more.
        barrier.giveUp(`${name} is not ready for the fault: ${reason}`);
      }
    }),
  );
  return results.map((each) => {
    if (each.status === "rejected") throw each.reason;
    return each.value;
  });
}

const others = (names: string[], name: string): string => names.filter((each) => each !== name).join(", ") || "none";

export function chooseDrills(positionals: string[], together = false): DrillName[] {
  const known = [...drillNames, "all"].join(", ");
  if (positionals.length === 0) throw new CannotRun(`no drill is named; use one of ${known}`);
  const unknown = positionals.filter((each) => each !== "all" && !drillNames.some((name) => name === each));
  if (unknown.length > 0) throw new CannotRun(`no drill ${JSON.stringify(unknown[0])}; use one of ${known}`);
  const drills = drillNames.filter((name) => positionals.includes(name) || positionals.includes("all"));
  if (together && drills.join() !== "full-stop") {
    throw new CannotRun(`--together is for full-stop alone, got ${drills.join(", ")}`);
  }
  return drills;
}

/** Each drill for each service that it makes sense for. A drill that was asked for and fits none proves nothing. */
export function chooseTasks(drills: DrillName[], candidates: Pick<Task, "target" | "profile">[]): Task[] {
  const fitting = drills.filter((drill) => candidates.some(({ profile }) => applies(drill, profile)));
  const [unfit] = drills.filter((drill) => !fitting.includes(drill));
  if (unfit !== undefined && drills.length < drillNames.length) {
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
    failuresInARow: Math.ceil(factor),
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
        steady: { type: "string", default: "10" },
        writers: { type: "string", default: "6" },
        pace: { type: "string", default: "40" },
        "budget-factor": { type: "string", default: "1" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new CannotRun(`${messageOf(error)}; see --help`);
  }
}

if (require.main === module) runMain(main);
