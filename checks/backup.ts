import { parseArgs } from "node:util";
import { messageOf } from "../components/shared/core/errors";
import { namesOf } from "../components/shared/core/names";
import { CannotRun, exitCodes } from "./failure";
import { runMain, selected, selectionFlags, selectionUsage } from "./flags";
import { findCronJob, runNow } from "./jobs";

const usage = `makes a copy of the services of a stack now, or proves the newest one

  npx cells-services backup [flags]

Without --service it is all services that have backups, one after the other.

${selectionUsage}
  --proof            restore the newest copy into a throw-away server instead

exit codes: 0 done, 1 a copy or a proof failed, 2 it could not begin
`;

type Print = (text: string) => void;
const toStdout: Print = (text) => void process.stdout.write(text);
const toStderr: Print = (text) => void process.stderr.write(text);

export async function main(args: string[], print: Print = toStdout, complain: Print = toStderr): Promise<number> {
  try {
    const flags = parseArgs({
      args,
      options: { ...selectionFlags, proof: { type: "boolean" }, help: { type: "boolean", short: "h" } },
    }).values;
    if (flags.help === true) {
      print(usage);
      return exitCodes.passed;
    }
    const { targets, config } = await selected(flags);
    const results: boolean[] = [];
    for (const { name, namespace } of targets) {
      const { backup, proof } = namesOf(name);
      const cronJob = await findCronJob(config, namespace, flags.proof === true ? proof : backup);
      if (cronJob !== undefined) results.push((await runNow(config, cronJob, { say: print })).ok);
      else if (flags.service !== undefined) throw new CannotRun(`${name} has no backups: give it the argument backups`);
    }
    if (results.length === 0) throw new CannotRun("no service has backups: give one the argument backups");
    return results.every((ok) => ok) ? exitCodes.passed : exitCodes.failed;
  } catch (error) {
    complain(`backup: ${messageOf(error)}\n`);
    return exitCodes.cannotRun;
  }
}

if (require.main === module) runMain(main);
