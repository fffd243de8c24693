import { parseArgs } from "node:util";
import { namesOf } from "../components/shared/core/names";
import { CannotRun } from "./failure";
import { runMain, runOnSelected, selectionFlags, selectionUsage, toStdout } from "./flags";
import { findCronJob, runNow } from "./jobs";

const usage = `makes a copy of the services of a stack now, or proves the newest one

  npx cells-services backup [flags]

Without --service it is all services that have backups, one after the other.

${selectionUsage}
  --proof            restore the newest copy into a throw-away server instead

exit codes: 0 done, 1 a copy or a proof failed, 2 it could not begin
`;

function readFlags(args: string[]) {
  const own = { proof: { type: "boolean" }, help: { type: "boolean", short: "h" } } as const;
  return parseArgs({ args, options: { ...selectionFlags, ...own } }).values;
}

export function main(args: string[]): Promise<number> {
  return runOnSelected(
    { name: "backup", usage },
    () => readFlags(args),
    async (flags, { targets, config }) => {
      const results: boolean[] = [];
      for (const { name, namespace } of targets) {
        const { backup, proof } = namesOf(name);
        const cronJob = await findCronJob(config, namespace, flags.proof === true ? proof : backup);
        if (cronJob === undefined) {
          if (flags.service !== undefined) throw new CannotRun(`${name} has no backups: give it the argument backups`);
          continue;
        }
        const { ok } = await runNow(config, cronJob, { say: toStdout });
        results.push(ok);
      }
      if (results.length === 0) throw new CannotRun("no service has backups: give one the argument backups");
      return results.every((ok) => ok);
    },
  );
}

if (require.main === module) runMain(main);
