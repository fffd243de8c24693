import { describe, expect, it } from "vitest";
import { check } from "../../../components/mongodb/check";
import type { CheckEnvironment, CheckTarget } from "../../../components/shared/core/check";

const target: CheckTarget = {
  service: "mongodb",
  name: "mongodb",
  namespace: "cells",
  members: ["mongodb-0", "mongodb-1", "mongodb-2"],
  peersService: "mongodb-peers",
  clientPort: 27017,
  metricsPort: 8008,
  host: "mongodb.cells.svc",
  tls: "required",
  trust: "mongodb-ca",
  adminSecret: "mongodb-admin",
  durability: null,
  applications: { cells: "mongodb-application-cells" },
};

function environment(changes: Partial<CheckEnvironment> = {}): CheckEnvironment {
  return {
    tunnel: {
      dial: async (pod) => Promise.reject(new Error(`the pod ${pod} is not running`)),
      service: async (name) => Promise.reject(new Error(`no pod is ready behind ${name}`)),
    },
    secret: async () => ({ username: "admin", password: "very-secret" }),
    configMap: async () => ({ "ca.crt": "PEM" }),
    clock: () => 0,
    signal: new AbortController().signal,
    ...changes,
  };
}

// The driver tries a member for two seconds.
describe("the check when nothing works", { timeout: 30_000 }, () => {
  it("reports every member, says what to look at, and does not throw", async () => {
    const findings = await check(target, environment());
    expect(findings.map(({ check: step, ok }) => [step, ok])).toEqual([
      ["credentials", true],
      ["member mongodb-0", false],
      ["member mongodb-1", false],
      ["member mongodb-2", false],
    ]);
    for (const { ok, remedy } of findings) expect(remedy === undefined).toBe(ok);
    expect(JSON.stringify(findings)).not.toContain("very-secret");
  });

  it("ends where credentials are missing, and names the Secret", async () => {
    const findings = await check(target, environment({ secret: async () => ({ username: "admin" }) }));
    expect(findings).toMatchObject([
      { check: "credentials", ok: false, detail: "username or password in the Secret mongodb-admin is missing" },
    ]);
  });

  it("says when it was stopped", async () => {
    const signal = AbortSignal.abort(new Error("stopped after 60 seconds"));
    const findings = await check(target, environment({ signal }));
    expect(findings).toMatchObject([{ check: "credentials", ok: false, detail: "stopped after 60 seconds" }]);
  });
});
