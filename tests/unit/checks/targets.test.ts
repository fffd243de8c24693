import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { main } from "../../../checks/cli";
import { loadCluster } from "../../../checks/cluster";
import { CannotRun } from "../../../checks/failure";
import { chooseCluster, parseOutputs, selectTargets } from "../../../checks/targets";
import { target } from "./target";

const folder = mkdtempSync(join(tmpdir(), "checks-"));

function file(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify(content));
  return path;
}

function kubeconfig(...contexts: string[]): string {
  return file(`kubeconfig-${contexts.join("-")}`, {
    "current-context": contexts[0],
    clusters: [{ name: "c", cluster: { server: "https://127.0.0.1:1" } }],
    users: [{ name: "u", user: {} }],
    contexts: contexts.map((name) => ({ name, context: { cluster: "c", user: "u" } })),
  });
}

describe("the targets of a stack", () => {
  it("are read from its outputs, or from a bare list", () => {
    const checks = [target("etcd")];
    expect(parseOutputs(JSON.stringify({ checks, kubeContext: "a", kubeconfig: null, urls: {} }), "x")).toEqual({
      checks,
      kubeContext: "a",
    });
    expect(parseOutputs(JSON.stringify(checks), "x")).toEqual({ checks });
  });

  it.each([
    ["no JSON", "error: x", /stack "dev" is not JSON/],
    ["no output", "{}", /stack "dev" has no usable list of check targets \(output "checks"\)/],
    ["no targets", '{"checks":[]}', /names no services to check; nothing was proven/],
    ["a secret output", '{"checks":"[secret]"}', /output "checks"/],
    ["half a target", '{"checks":[{"service":"etcd"}]}', /checks\.0\.name/],
  ])("are refused with %s", (_, text, message) => {
    expect(() => parseOutputs(text, 'stack "dev"')).toThrow(message);
  });

  it("are selected by service or name", () => {
    const all = [target("etcd"), target("nats")];
    expect(selectTargets(all, [])).toEqual(all);
    expect(selectTargets(all, ["nats"])).toEqual([all[1]]);
    expect(() => selectTargets(all, ["redis"])).toThrow('no service "redis" in the stack; it has etcd, nats');
  });
});

describe("the cluster", () => {
  const one = kubeconfig("only");
  const two = kubeconfig("first", "second");

  it("must be named by somebody", () => {
    expect(() => chooseCluster({}, {}, { HOME: folder })).toThrow(/no cluster is named/);
    expect(() => chooseCluster({}, {}, { HOME: folder, KUBECONFIG: "" })).toThrow(CannotRun);
  });

  it("is named by a flag before KUBECONFIG, and a context by a flag before the stack", () => {
    expect(chooseCluster({ kubeconfig: one }, {}, { KUBECONFIG: two })).toEqual({ files: [one] });
    expect(chooseCluster({ context: "b" }, { kubeContext: "a" }, { KUBECONFIG: two }).context).toBe("b");
    expect(chooseCluster({}, { kubeContext: "a" }, { KUBECONFIG: two })).toEqual({ files: [two], context: "a" });
  });

  it("is not the current context of several", () => {
    expect(loadCluster({ files: [one] }).getCurrentContext()).toBe("only");
    expect(() => loadCluster({ files: [two] })).toThrow(/2 contexts \(first, second\); choose one with --context/);
    expect(loadCluster({ files: [two], context: "second" }).getCurrentContext()).toBe("second");
    expect(() => loadCluster({ files: [two], context: "third" })).toThrow(/no context "third"/);
  });
});

describe("the command", () => {
  const targets = file("targets.json", { checks: [target("etcd")] });

  it.each([
    ["an unknown flag", ["--nope"], /unknown option '--nope'; see --help/i],
    ["a time-out that is no number", ["--timeout", "soon", "--targets", targets], /a number of seconds, got "soon"/],
    ["a file that does not exist", ["--targets", join(folder, "none.json")], /cannot read the targets/],
    ["a service that does not exist", ["--targets", targets, "--service", "redis"], /no service "redis"/],
    ["no targets", ["--targets", file("empty.json", { checks: [] })], /this is not a success/],
    ["no cluster", ["--targets", targets, "--kubeconfig", kubeconfig("only")], /cannot reach the cluster at https/],
  ])("exits with 2 for %s and says why", async (_, args, message) => {
    const said: string[] = [];
    const code = await main(
      args,
      () => undefined,
      (text) => said.push(text),
    );
    expect(code).toBe(2);
    expect(said.join("")).toMatch(message);
    expect(said.join("")).not.toContain("unexpected");
  });
});
