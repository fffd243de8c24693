import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { overwrite, toAnswer } from "../../../components/shared/agent/hosts";
import { type Answer, clusterDomain, followAnswers, ownAddress } from "../../../components/shared/core/hosts";

describe("the domain of the cluster", () => {
  it("follows the namespace in the search list, whatever else is in it", () => {
    const written =
      "search cells.svc.k8s.example.org svc.k8s.example.org k8s.example.org corp.example\nnameserver 10.96.0.10\n";
    expect(clusterDomain(written, "cells")).toBe("k8s.example.org");
  });

  it("is taken from the last search line, as resolvers do", () => {
    const written = "search corp.example\nsearch cells.svc.cluster.local\n";
    expect(clusterDomain(written, "cells")).toBe("cluster.local");
  });

  it("is refused when the pod does not use the DNS of the cluster", () => {
    expect(() => clusterDomain("nameserver 1.1.1.1\n", "cells")).toThrow(
      "/etc/resolv.conf has no search domain that starts with cells.svc.",
    );
  });
});

describe("the hosts file of a member", () => {
  const kubelet = [
    "# Kubernetes-managed hosts file.",
    "127.0.0.1\tlocalhost",
    "10.1.0.5\tdb-0.db-peers.cells.svc.k8s.example\tdb-0",
    "",
  ].join("\n");
  const [own, other] = ["db-0.db-peers.cells.svc", "db-1.db-peers.cells.svc"];
  const follow = (text: string, answers: Record<string, Answer>): string =>
    followAnswers(text, new Map(Object.entries(answers)), "k8s.example");
  const lines = (text: string): string[] => text.split("\n").slice(2);
  const begun = follow(kubelet, { [own]: { address: "10.1.0.5" } });
  const known = follow(begun, { [other]: { address: "10.1.1.7" } });

  it("keeps what the kubelet wrote, and has each member under the name that others use", () => {
    expect(known).toContain(kubelet);
    expect(lines(known).slice(1)).toEqual([
      "10.1.0.5\tdb-0.db-peers.cells.svc\tdb-0.db-peers.cells.svc.k8s.example",
      "10.1.1.7\tdb-1.db-peers.cells.svc\tdb-1.db-peers.cells.svc.k8s.example",
      "",
    ]);
  });

  it("knows the address of its pod, the first one where it has two", () => {
    const dual = `${kubelet}2001:db8::5\tdb-0.db-peers.cells.svc.k8s.example\tdb-0\n`;
    expect(ownAddress(dual, "db-0")).toBe("10.1.0.5");
    expect(ownAddress(known, "db-0")).toBe("10.1.0.5");
    expect(ownAddress("fd00::5\tdb-0.db-peers.cells.svc.k8s.example\tdb-0\n", "db-0")).toBe("fd00::5");
    expect(() => ownAddress(kubelet, "db-1")).toThrow("/etc/hosts has no line that names db-1");
  });

  it("is written in place, and nothing is left behind a shorter one", async () => {
    const folder = await mkdtemp(join(tmpdir(), "hosts-"));
    const file = join(folder, "hosts");
    try {
      await writeFile(file, known);
      await overwrite(file, begun, known.length);
      expect(await readFile(file, "utf8")).toBe(begun);
      await overwrite(file, known, begun.length);
      expect(await readFile(file, "utf8")).toBe(known);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("follows a pod that was replaced", () => {
    const moved = follow(known, { [other]: { address: "10.1.2.9" } });
    expect(moved).toContain("10.1.2.9\tdb-1.");
    expect(moved).not.toContain("10.1.1.7");
  });

  it("stays as it was while the DNS is silent", () => {
    expect(follow(known, { [other]: "silent" })).toBe(known);
  });

  it("gives up an address that belongs to nobody, and may soon belong to somebody else", () => {
    expect(follow(known, { [other]: "none" })).toBe(begun);
  });

  it.each([
    ["ENOTFOUND", "none"],
    ["ENODATA", "none"],
    ["ETIMEOUT", "silent"],
    ["ESERVFAIL", "silent"],
    ["ECONNREFUSED", "silent"],
    [undefined, "silent"],
  ] as const)("takes %s of the DNS as: %s", (code, answer) => {
    expect(toAnswer(code)).toBe(answer);
  });
});
