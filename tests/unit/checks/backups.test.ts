import { describe, expect, it } from "vitest";
import { copiesIn, renderBackups, type ServiceCopies } from "../../../checks/backups";
import { jobOf } from "../../../checks/jobs";
import type { Listed, Summary } from "../../../components/shared/core/backup";

const now = new Date("2026-01-31T12:00:00Z");

function copy(time: string, changes: Partial<Listed> = {}): Listed {
  const manifest: Summary = {
    service: "etcd",
    name: "etcd",
    namespace: "cells",
    version: "3.6.16",
    lineage: "77",
    position: {},
    time,
    bytes: 3 * 2 ** 20,
    seconds: 1,
  };
  return { id: time.slice(0, 10), manifest, flaw: undefined, proof: undefined, ...changes };
}

const of = (...copies: Listed[]): ServiceCopies => ({ service: "etcd", name: "etcd", namespace: "cells", copies });
const lines = (...services: ServiceCopies[]) => renderBackups(services, now).trimEnd().split("\n").slice(1);

describe("the table of copies", () => {
  const time = "2026-01-31T11:00:00Z";
  it.each<[Listed, string]>([
    [copy(time), "etcd     2026-01-31  60 min  3.0 MiB  3.6.16   not yet"],
    [copy("2026-01-29T12:00:00Z"), "etcd     2026-01-29  2 d  3.0 MiB  3.6.16   not yet"],
    [
      copy(time, { proof: { ok: true, sha256: "ab", time, detail: "3 keys", seconds: 2 } }),
      "etcd     2026-01-31  60 min  3.0 MiB  3.6.16   proven 60 min ago: 3 keys",
    ],
    [
      copy(time, { proof: { ok: false, sha256: "ab", time, detail: "its sha256 is cd", seconds: 2 } }),
      "etcd     2026-01-31  60 min  3.0 MiB  3.6.16   FAILED: its sha256 is cd",
    ],
    [
      copy(time, { flaw: "its file snapshot.db is gone" }),
      "etcd     2026-01-31  60 min  3.0 MiB  3.6.16   no copy: its file snapshot.db is gone",
    ],
    [
      copy(time, { manifest: undefined, flaw: "it has no manifest: it was interrupted" }),
      "etcd     2026-01-31                         no copy: it has no manifest",
    ],
  ])("has a row for %j", (stored, row) => {
    expect(lines(of(stored))[0]?.replace(/ +/g, " ")).toContain(row.replace(/ +/g, " "));
  });

  it("says what has none", () => {
    expect(lines(of())[0]).toContain("no copy yet");
    expect(renderBackups([], now)).toContain("no service has backups");
  });
});

describe("the log of the Job", () => {
  it("ends with the copies, whatever it has waited for before", () => {
    const waited = "2026-01-31T11:00:00Z waiting for an answer of the store https://s3: ECONNREFUSED\n";
    expect(copiesIn(`${waited}${JSON.stringify([{ id: "1" }])}\n`)).toEqual([{ id: "1" }]);
  });
});

describe("a run of a CronJob now", () => {
  const container = { name: "copy", args: ["backup"] };
  const cronJob = {
    metadata: { name: "etcd-backup", namespace: "cells", uid: "7" },
    spec: {
      schedule: "13 2 * * *",
      jobTemplate: {
        metadata: { labels: { team: "x" } },
        spec: { backoffLimit: 2, template: { spec: { containers: [container] } } },
      },
    },
  };

  it("belongs to the CronJob, is not repeated, and goes by itself", () => {
    expect(jobOf(cronJob, "now", undefined)).toMatchObject({
      metadata: { name: "etcd-backup-now", namespace: "cells", labels: { team: "x" }, ownerReferences: [{ uid: "7" }] },
      spec: { backoffLimit: 0, ttlSecondsAfterFinished: 3600, template: { spec: { containers: [container] } } },
    });
  });

  it("may run another command, and leaves the CronJob as it is", () => {
    const job = jobOf(cronJob, "now", ["list"]);
    expect(job.spec?.template.spec?.containers[0]?.args).toEqual(["list"]);
    expect(container.args).toEqual(["backup"]);
  });
});
