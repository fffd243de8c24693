/** The configuration in the documentation, before the real promtool. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { promtool } from "../../sandbox/servers";
import { run } from "../../sandbox/shell";
import { configurationOf } from "../support/prometheus";

let program: string;

beforeAll(async () => {
  program = await promtool();
});

it("the documented configuration is valid", async () => {
  const folder = mkdtempSync(join(tmpdir(), "prometheus-"));
  try {
    for (const each of ["rules", "vault"]) mkdirSync(join(folder, each));
    writeFileSync(join(folder, "prometheus.yml"), JSON.stringify(configurationOf("cells", ["vault"])));
    writeFileSync(join(folder, "rules", "vault.yaml"), JSON.stringify({ groups: [] }));
    // promtool looks whether it is there.
    writeFileSync(join(folder, "vault", "ca.crt"), "");
    expect(await run(program, ["check", "config", "prometheus.yml"], { cwd: folder })).toContain("SUCCESS");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
