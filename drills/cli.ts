import { parseArgs } from "node:util";
import {
  CannotRun,
  chooseCluster,
  createRedaction,
  exitCodes,
  loadCluster,
  messageOf,
  openEnvironment,
  reachCluster,
  readOutputs,
  redactDeep,
  selectTargets,
} from "../checks";
import { brokenOff, type DrillName, type DrillReport, drillNames, faultOf, runDrill } from "./drill";
import { renderDrills, summarizeDrills } from "./report";

const usage = `breaks the services of a stack on purpose, and proves with a ledger of acknowledged writes that they survive

  tsx drills/cli.ts [flags] leader-kill | leader-delete | member-crash | volume-loss | all

  leader-kill    SIGKILL of the server process of the leader; needs root on the machine of the nodes (sandbox)
  leader-delete  deletes the pod of the leader without a grace period; the server still gets a SIGTERM
  member-crash   the crash for a member that does not lead
  volume-loss    deletes the volume claim and the pod of a member that does not lead

  --service NAME     only this service; may be repeated
  --stack NAME, --directory DIR, --targets FILE, --kubeconfig FILE, --context NAME   as for the checks
  --steady SECONDS   of writing before the fault and after the recovery, default 10
  --writers N        concurrent writers, default 6
  --pace MS          between two writes of one writer, default 40
  --json             print the result as JSON

exit codes: 0 all passed, 1 a write was lost, a budget exceeded or a drill proved nothing, 2 the drills could not run
`;

type Print = (text: string) => void;
const toStdout: Print = (text) => void process.stdout.write(text);
const toStderr: Print = (text) => void process.stderr.write(text);

/** Long enough for every deadline inside a drill; a drill is never cut short in the middle of a fault. */
const noDeadline = new AbortController().signal;

export async function main(args: string[], print: Print = toStdout, complain: Print = toStderr): Promise<number> {
  const redaction = createRedaction();
  const log = (text: string): void => complain(`${redaction.redact(text)}\n`);
  try {
    const { values: flags, positionals } = readFlags(args);
    if (flags.help === true) {
      print(usage);
      return exitCodes.passed;
    }
    const drills = chooseDrills(positionals);
    const options = {
      steadySeconds: positive("--steady", flags.steady),
      writers: positive("--writers", flags.writers),
      paceMilliseconds: positive("--pace", flags.pace),
      log,
    };
    const outputs = await readOutputs(flags);
    const targets = selectTargets(outputs.checks, flags.service ?? []);
    const config = loadCluster(chooseCluster(flags, outputs, process.env));
    await reachCluster(config, targets[0]?.namespace ?? "default");
    const reports: DrillReport[] = [];
    // One after the other: two faults at once would be another drill.
    for (const target of targets) {
      for (const drill of drills) {
        const environment = openEnvironment(config, target, redaction, noDeadline);
        try {
          reports.push(await runDrill(drill, target, faultOf(drill, target, config), environment, options));
        } catch (error) {
          if (error instanceof CannotRun) throw error;
          reports.push(brokenOff(drill, target, error));
        } finally {
          await environment.close();
        }
      }
    }
    const report = redactDeep(summarizeDrills(reports), redaction);
    print(flags.json === true ? `${JSON.stringify(report, undefined, 2)}\n` : renderDrills(report));
    return report.ok ? exitCodes.passed : exitCodes.failed;
  } catch (error) {
    log(`drills: ${error instanceof CannotRun ? "" : "unexpected error: "}${messageOf(error)}`);
    return exitCodes.cannotRun;
  }
}

export function chooseDrills(positionals: string[]): DrillName[] {
  const known = [...drillNames, "all"].join(", ");
  if (positionals.length === 0) throw new CannotRun(`no drill is named; use one of ${known}`);
  const unknown = positionals.filter((each) => each !== "all" && !drillNames.some((name) => name === each));
  if (unknown.length > 0) throw new CannotRun(`no drill ${JSON.stringify(unknown[0])}; use one of ${known}`);
  return drillNames.filter((name) => positionals.includes(name) || positionals.includes("all"));
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
        service: { type: "string", multiple: true },
        stack: { type: "string" },
        directory: { type: "string" },
        targets: { type: "string" },
        kubeconfig: { type: "string" },
        context: { type: "string" },
        steady: { type: "string", default: "10" },
        writers: { type: "string", default: "6" },
        pace: { type: "string", default: "40" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new CannotRun(`${messageOf(error)}; see --help`);
  }
}

if (require.main === module) {
  void main(process.argv.slice(2)).then((code) => {
    process.exitCode = code;
    // A client library that keeps a handle must not keep a pipeline waiting. Unreferenced: it delays nobody else.
    setTimeout(() => process.exit(code), 2000).unref();
  });
}
