/**
 * What must run in the cluster for the backups of every service:
 *
 *   backup   a CronJob: streams one copy into the store, writes its manifest, lets old copies go
 *   fetch    the first init container of a proof: downloads the newest copy and compares its checksums
 *   prove    a proof, when the throw-away server has the copy: compares what the server says with the manifest
 *   judge    a Job before a restore: says why nothing can be restored, which pulumi up shows of no init container
 *   restore  a Job, in a pod like that of a proof: fills the new ensemble from the copy that it has proven
 *   list     a Job that `make backups` starts: prints all copies as JSON
 */
import type { BackupSettings, Listed, RestoreSettings } from "../core/backup";
import { log } from "../core/log";
import { namesOf } from "../core/names";
import { type BackupService, fetchCopy, makeCopy, newestCopy, proveCopy, readStored } from "./backup";
import { inClusterApi } from "./kubernetes";
import { takeTurn } from "./lease";
import { type Commands, readPod, readSettings } from "./main";
import { fetchRestored, judgeRestore, restoreCopy } from "./restore";
import { openStore } from "./store";

/** A copy that is under way when the next one should begin. */
const turnSeconds = 600;

export function backupCommands(service: BackupService): Commands {
  const place = async () => {
    const settings = readSettings<BackupSettings>();
    const { namespace } = readPod();
    return { settings, namespace, store: await openStore(settings.store) };
  };
  return {
    backup: async () => {
      const at = await place();
      const { name } = at.settings;
      const turn = { lease: namesOf(name).backup, among: `the backups of ${name}`, does: "makes a copy" };
      const endTurn = await takeTurn(turn, readPod().name, at.namespace, inClusterApi(), turnSeconds);
      try {
        await makeCopy(at, service);
      } finally {
        await endTurn();
      }
    },
    fetch: async () => {
      const at = await place();
      if (at.settings.restore === undefined) await fetchCopy(at, service, await newestCopy(at));
      else await fetchRestored(at, at.settings.restore, service, inClusterApi());
    },
    prove: async () => proveCopy(await place(), service),
    judge: async () => {
      const at = await place();
      const { copy } = await judgeRestore(at, wantedBy(at.settings), service, inClusterApi());
      log(`${at.settings.name} can be restored from ${copy?.id}`);
    },
    restore: async () => {
      const at = await place();
      await restoreCopy(at, wantedBy(at.settings), service, inClusterApi());
    },
    list: async () => {
      const listed: Listed[] = await readStored(await place());
      // Thousands of files may belong to a copy.
      const brief = (key: string, value: unknown): unknown => (["objects", "files"].includes(key) ? undefined : value);
      process.stdout.write(`${JSON.stringify(listed, brief)}\n`);
    },
  };
}

function wantedBy({ restore }: BackupSettings): RestoreSettings {
  if (restore === undefined) throw new Error("SETTINGS say nothing of a restore");
  return restore;
}
