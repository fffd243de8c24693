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
  const [etcd, nats] = [target("etcd"), target("nats")];
  const parse = (outputs: unknown) => parseOutputs(JSON.stringify(outputs), 'stack "dev"');

  it.each<[string, unknown]>([
    ["one output", { checks: [etcd, nats] }],
    ["outputs of any name", { first: etcd, url: "https://etcd", second: nats }],
    ["deep in an output", { data: { europe: [{ etcd: { host: "h", checkTarget: etcd } }], other: { nats } } }],
    ["several outputs, the same in each", { checks: [etcd, nats], etcd }],
    ["a bare list", [etcd, nats]],
  ])("are found in %s", (_, outputs) => {
    expect(parse(outputs)).toEqual({ checks: [etcd, nats] });
  });

  it("keep what only one service has", () => {
    const vault = { ...etcd, service: "vault", seal: "awskms", audit: "stdout" };
    expect(parse({ vault })).toEqual({ checks: [vault] });
  });

  it.each<[unknown, unknown]>([
    [{ kubeContext: "a", kubeconfig: null }, { kubeContext: "a" }],
    [{ kubeconfig: "/home/a/config" }, { kubeconfig: "/home/a/config" }],
    [{ kubeconfig: "apiVersion: v1\nkind: Config\n" }, {}],
    [{ kubeconfig: '{"kind":"Config"}', kubeContext: "[secret]" }, {}],
    [{ kubeconfig: { kind: "Config" }, kubeContext: 3 }, {}],
  ])("come with the cluster of %j", (outputs, cluster) => {
    expect(parse({ etcd, ...(outputs as object) })).toEqual({ checks: [etcd], ...(cluster as object) });
  });

  it("must be some", () => {
    const how = "export the checkTarget of each component, for example: export const checks = [etcd.checkTarget]";
    expect(() => parse({ url: "u", password: "[secret]" })).toThrow(
      `stack "dev" has no check target among its outputs (url, password), so nothing can be proven; ${how}; ` +
        "secret outputs are not read: password",
    );
    expect(() => parse({})).toThrow(`(none), so nothing can be proven; ${how}`);
    expect(() => parse({ checks: [] })).toThrow(how);
    expect(() => parseOutputs("error: x", 'stack "dev"')).toThrow(/stack "dev" is not JSON/);
  });

  it("must be those of this version", () => {
    const half = { ...etcd, clientPort: undefined };
    expect(() => parse({ data: { etcd: half } })).toThrow(/data\.etcd\.clientPort: .*; use the checks of the version/);
    expect(() => parse({ etcd: { ...etcd, service: "cassandra" } })).toThrow(/etcd\.service: /);
  });

  it("are selected by namespace", () => {
    const other = { ...nats, namespace: "other" };
    expect(selectTargets([etcd, other], [], "other")).toEqual([other]);
    expect(() => selectTargets([etcd, other], ["etcd"], "other")).toThrow(
      'no service "etcd" in the stack; it has nats',
    );
    expect(() => selectTargets([etcd], [], "none")).toThrow(
      'the stack has no service in the namespace "none"; it has cells',
    );
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
    [
      "a wait that is no number",
      ["--wait", "soon", "--targets", targets],
      /--wait must be a number of seconds, got "soon"/,
    ],
    ["a time-out that is no number", ["--timeout", "soon", "--targets", targets], /a number of seconds, got "soon"/],
    ["a file that does not exist", ["--targets", join(folder, "none.json")], /cannot read the targets/],
    ["a service that does not exist", ["--targets", targets, "--service", "redis"], /no service "redis"/],
    ["no targets", ["--targets", file("empty.json", { checks: [] })], /has no check target among its outputs/],
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
