import { describe, expect, it } from "vitest";
import { check } from "../../../components/nats/check";
import type { CheckEnvironment, CheckTarget } from "../../../components/shared/check";

const target: CheckTarget = {
  service: "nats",
  name: "nats",
  namespace: "cells",
  members: ["nats-0", "nats-1", "nats-2"],
  peersService: "nats-peers",
  clientPort: 4222,
  metricsPort: 8222,
  host: "nats.cells.svc",
  tls: "required",
  trust: "nats-ca",
  adminSecret: "nats-admin",
  durability: null,
  applications: { cells: "nats-application-cells" },
};

function environment(changes: Partial<CheckEnvironment> = {}): CheckEnvironment {
  return {
    tunnel: { dial: async (pod) => Promise.reject(new Error(`the pod ${pod} is not running`)) },
    secret: async () => ({ username: "admin", password: "secret" }),
    configMap: async () => ({ "ca.crt": "PEM" }),
    clock: () => 0,
    signal: new AbortController().signal,
    ...changes,
  };
}

describe("the check when nothing works", () => {
  it("reports every member and does not throw", async () => {
    const findings = await check(target, environment());
    expect(findings.map(({ check: step, ok, detail }) => [step, ok, detail])).toEqual([
      ["credentials", true, "administrator admin and trust bundle found"],
      ["member nats-0", false, "the pod nats-0 is not running"],
      ["member nats-1", false, "the pod nats-1 is not running"],
      ["member nats-2", false, "the pod nats-2 is not running"],
    ]);
    for (const { ok, remedy } of findings) expect(remedy === undefined).toBe(ok);
    expect(JSON.stringify(findings)).not.toContain("secret");
  });

  it("ends where credentials are missing, and names the Secret", async () => {
    const findings = await check(target, environment({ secret: async () => ({ username: "admin" }) }));
    expect(findings).toMatchObject([
      { check: "credentials", ok: false, detail: "username or password in the Secret nats-admin is missing" },
    ]);
  });

  it("says when it was stopped", async () => {
    const signal = AbortSignal.abort(new Error("stopped after 60 seconds"));
    const findings = await check(target, environment({ signal }));
    expect(findings).toMatchObject([{ check: "credentials", ok: false, detail: "stopped after 60 seconds" }]);
  });
});
