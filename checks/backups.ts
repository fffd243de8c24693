import { parseArgs } from "node:util";
import { isInOrder, type Listed } from "../components/shared/core/backup";
import type { CheckTarget } from "../components/shared/core/check";
import { namesOf } from "../components/shared/core/names";
import { CannotRun } from "./failure";
import { runMain, runOnSelected, selectionFlags, selectionUsage } from "./flags";
import { findCronJob, runNow } from "./jobs";
import { duration, size } from "./quantities";
import { table } from "./table";

const usage = `lists the copies of the services of a stack, and whether they were proven by a restore

  npx cells-services backups [flags]

A Job in the cluster reads the store, with the keys that it has there.

${selectionUsage}
  --json             print the result as JSON

exit codes: 0 listed, 1 the newest copy is missing or broken, or the newest proof failed, 2 the store could not be read
`;

/** To pull the image, and to read the manifests. */
const deadlineSeconds = 300;

export interface ServiceCopies {
  service: CheckTarget["service"];
  name: string;
  namespace: string;
  copies: Listed[];
}

function readFlags(args: string[]) {
  const own = { json: { type: "boolean" }, help: { type: "boolean", short: "h" } } as const;
  return parseArgs({ args, options: { ...selectionFlags, ...own } }).values;
}

export function main(args: string[]): Promise<number> {
  return runOnSelected(
    { name: "backups", usage },
    () => readFlags(args),
    async (flags, { targets, config }) => {
      const services: ServiceCopies[] = [];
      for (const { service, name, namespace } of targets) {
        const cronJob = await findCronJob(config, namespace, namesOf(name).backup);
        if (cronJob === undefined) continue;
        const { ok, log } = await runNow(config, cronJob, { args: ["list"], deadlineSeconds });
        if (!ok) throw new CannotRun(`the copies of ${name} in ${namespace} cannot be listed: ${log.trim()}`);
        services.push({ service, name, namespace, copies: copiesIn(log) });
      }
      const text =
        flags.json === true ? `${JSON.stringify(services, undefined, 2)}\n` : renderBackups(services, new Date());
      process.stdout.write(text);
      return services.every((each) => isInOrder(each.copies));
    },
  );
}

/** The last line of the Job; before it are what it has waited for. */
export function copiesIn(log: string): Listed[] {
  return JSON.parse(log.trimEnd().split("\n").at(-1) ?? "") as Listed[];
}

/** A row for each copy, the newest first, and one for a service without any. */
export function renderBackups(services: ServiceCopies[], now: Date): string {
  if (services.length === 0) return "no service has backups: give it the argument backups\n";
  const rows = services.flatMap((each) =>
    each.copies.length === 0
      ? [[each.name, "none", "", "", "", "no copy yet"]]
      : each.copies.map((copy) => [
          each.name,
          copy.id,
          ageOf(copy.manifest?.time, now),
          copy.manifest === undefined ? "" : size(copy.manifest.bytes),
          copy.manifest?.version ?? "",
          proofOf(copy, now),
        ]),
  );
  return `${table(["SERVICE", "COPY", "AGE", "SIZE", "VERSION", "PROOF"], rows, [2, 3])}\n`;
}

function proofOf({ flaw, proof }: Listed, now: Date): string {
  if (flaw !== undefined) return `no copy: ${flaw}`;
  if (proof === undefined) return "not yet";
  return proof.ok ? `proven ${ageOf(proof.time, now)} ago: ${proof.detail}` : `FAILED: ${proof.detail}`;
}

function ageOf(time: string | undefined, now: Date): string {
  return time === undefined ? "" : duration((now.getTime() - Date.parse(time)) / 1000);
}

if (require.main === module) runMain(main);
