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
import type { BackupSettings, RestoreSettings } from "../core/backup";
import { log } from "../core/log";
import { namesOf } from "../core/names";
import { type BackupService, fetchCopy, makeCopy, newestCopy, type Place, proveCopy, readStored } from "./backup";
import { inClusterApi } from "./kubernetes";
import { takeTurn } from "./lease";
import { type Commands, readPod, readSettings } from "./main";
import { fetchRestored, judgeRestore, refuseWhileRestoring, restoreCopy } from "./restore";
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
      await inTurn(at, "makes a copy", async () => {
        await refuseWhileRestoring(at, inClusterApi());
        await makeCopy(at, service);
      });
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
      log(`${at.settings.name} can be restored from ${copy.id}`);
    },
    restore: async () => {
      const at = await place();
      await inTurn(at, "restores", () => restoreCopy(at, wantedBy(at.settings), service, inClusterApi()));
    },
    list: async () => {
      process.stdout.write(`${JSON.stringify(await readStored(await place()))}\n`);
    },
  };
}

function wantedBy({ restore }: BackupSettings): RestoreSettings {
  if (restore === undefined) throw new Error("SETTINGS say nothing of a restore");
  return restore;
}

async function inTurn(at: Place, does: string, work: () => Promise<unknown>): Promise<void> {
  const { name } = at.settings;
  const turn = { lease: namesOf(name).backup, among: `the backups of ${name}`, does };
  const endTurn = await takeTurn(turn, readPod().name, at.namespace, inClusterApi(), turnSeconds);
  try {
    await work();
  } finally {
    await endTurn();
  }
}
