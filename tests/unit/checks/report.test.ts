import { describe, expect, it } from "vitest";
import { createRedaction, redactDeep } from "../../../checks/redaction";
import { renderJunit, renderText } from "../../../checks/report";
import { summarize } from "../../../checks/run";

const report = summarize(
  [
    {
      service: "etcd",
      name: "etcd",
      namespace: "cells",
      ok: false,
      seconds: 1.5,
      findings: [
        { check: "quorum", ok: true, detail: "3 of 3 members answer", seconds: 0.31 },
        {
          check: "write",
          ok: false,
          detail: 'refused: "<auth>" & more',
          remedy: "look at the Secret etcd-admin",
          seconds: 1,
        },
      ],
      diagnostics: ["pod etcd-0: Running, 1/1 ready, 0 restarts, node a"],
    },
    {
      service: "nats",
      name: "nats",
      namespace: "cells",
      ok: true,
      seconds: 0.2,
      findings: [{ check: "publish", ok: true, detail: "acknowledged", seconds: 0.2 }],
    },
  ],
  1.6,
);

describe("the report for people", () => {
  it("shows every finding, then the failures with what to do next, then the totals", () => {
    expect(renderText(report)).toMatchInlineSnapshot(`
      "SERVICE  CHECK    RESULT  SECONDS  SEEN
      etcd     quorum   ok          0.3  3 of 3 members answer
      etcd     write    FAILED      1.0  refused: "<auth>" & more
      nats     publish  ok          0.2  acknowledged

      etcd (cells): write failed: refused: "<auth>" & more
        next: look at the Secret etcd-admin
        | pod etcd-0: Running, 1/1 ready, 0 restarts, node a

      3 checks of 2 services in 1.6 s: 2 passed, 1 FAILED
      "
    `);
  });
});

describe("the report for JUnit", () => {
  it("counts failures and escapes what is quoted", () => {
    const text = renderJunit(report);
    expect(text).toContain('<testsuites name="checks" tests="3" failures="1" time="1.6">');
    expect(text).toContain('<failure message="refused: &quot;&lt;auth&gt;&quot; &amp; more">');
    expect(text.match(/<testcase /g)).toHaveLength(3);
  });

  it("holds no character that XML cannot hold", () => {
    const findings = [{ check: "a", ok: true, detail: "bell \u0007 end", seconds: 0 }];
    const service = { service: "etcd", name: "etcd", namespace: "cells", ok: true, seconds: 0, findings };
    expect(renderJunit(summarize([service], 0))).toContain("bell ? end");
  });
});

describe("redaction", () => {
  it("removes a secret in every form that a message may quote it in", () => {
    const redaction = createRedaction();
    redaction.add("pa/ss+word");
    const base64 = Buffer.from("pa/ss+word").toString("base64");
    for (const form of ["pa/ss+word", "pa%2Fss%2Bword", base64]) {
      expect(redaction.redact(`url http://u:${form}@h`)).toBe("url http://u:[secret]@h");
    }
  });

  it("removes each line of a key and leaves its frame", () => {
    const redaction = createRedaction();
    redaction.add("-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\nByqGSM49AgEG\n-----END PRIVATE KEY-----\n");
    expect(redaction.redact("bad key ByqGSM49AgEG -----END")).toBe("bad key [secret] -----END");
  });

  it("leaves short words alone, and takes the longer of two secrets first", () => {
    const redaction = createRedaction();
    for (const each of ["root", "secret-one", "secret-one-more"]) redaction.add(each);
    expect(redaction.redact("root has secret-one-more")).toBe("root has [secret]");
  });

  it("reaches every text of a result", () => {
    const redaction = createRedaction();
    redaction.add("hunter22");
    const clean = redactDeep({ ok: false, n: 1, findings: [{ detail: "with hunter22" }] }, redaction);
    expect(clean).toEqual({ ok: false, n: 1, findings: [{ detail: "with [secret]" }] });
  });
});
