import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Etcd3, type Watcher } from "etcd3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { resolveEtcd } from "../../components/etcd";
import { keepUsers } from "../../components/etcd/agent";
import { etcdClient } from "../../components/etcd/client";
import { paths } from "../../components/etcd/layout";
import { baseConfig } from "../../components/etcd/manifest";
import { within } from "../../components/shared/core/wait";
import { until } from "../../sandbox/shell";
import { binary } from "../../sandbox/toolchain";

/** What docs/etcd.md says of login tokens, with one real server on this machine that has the configuration of the component. */
const root = { username: "root", password: "of-root" };
const cells = { username: "cells", password: "of-cells" };
const folder = mkdtempSync(join(tmpdir(), "etcd-tokens-"));
const servers: ChildProcess[] = [];
const clients: Etcd3[] = [];

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** `ttl` replaces the life of a token, for which a test cannot wait. */
async function startServer(name: string, tokens: { ttlHours?: number }, ttl?: string): Promise<string> {
  const base = baseConfig(resolveEtcd("etcd", { namespace: "cells", tls: "off", tokens }), name);
  const data = join(folder, name);
  mkdirSync(data, { mode: 0o700 });
  const key = join(folder, "key");
  writeFileSync(key, "a key of this test");
  const [client, peer, metrics] = await Promise.all([freePort(), freePort(), freePort()]);
  const own = (port: number) => `http://127.0.0.1:${port}`;
  const token = String(base["auth-token"]).replace(`${paths.token}/key`, key);
  const config = {
    ...base,
    name,
    "data-dir": data,
    "listen-peer-urls": own(peer),
    "initial-advertise-peer-urls": own(peer),
    "initial-cluster": `${name}=${own(peer)}`,
    "listen-client-urls": own(client),
    "advertise-client-urls": own(client),
    "listen-metrics-urls": own(metrics),
    "auth-token": ttl === undefined ? token : token.replace(/ttl=\w+/, `ttl=${ttl}`),
  };
  const file = join(folder, `${name}.json`);
  writeFileSync(file, JSON.stringify(config));
  servers.push(spawn(binary("etcd"), [`--config-file=${file}`], { stdio: "ignore" }));
  await until(`the server ${name}`, 30, async () => ((await fetch(`${own(metrics)}/readyz`)).ok ? true : undefined));
  return own(client);
}

const agent = (url: string) => etcdClient({ url, ca: undefined, credentials: [root] });

function login(url: string, auth?: typeof cells): Etcd3 {
  const client = new Etcd3({ hosts: url, ...(auth === undefined ? {} : { auth }) });
  clients.push(client);
  return client;
}

const watch = (client: Etcd3, key: string): Promise<Watcher> =>
  within(client.watch().key(key).create(), 10, `a watch on ${key}`);

/** The error with which etcd refuses a watch on the stream that the client has open. */
async function refusal(client: Etcd3, key: string): Promise<string> {
  const watcher = client.watch().key(key).watcher();
  const [error] = (await within(once(watcher, "error"), 10, `the refusal of a watch on ${key}`)) as [Error];
  return error.message;
}

async function delivers(watcher: Watcher, writer: Etcd3, key: string): Promise<void> {
  const event = once(watcher, "put");
  await writer.put(key).value("seen");
  await within(event, 10, `the watch on ${key} to deliver a write`);
}

function post(url: string, path: string, body: object, token?: string): Promise<Response> {
  const headers = token === undefined ? {} : { authorization: token };
  return fetch(`${url}/v3/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
}

async function tokenOf(url: string, { username: name, password }: typeof cells): Promise<string> {
  return ((await (await post(url, "auth/authenticate", { name, password })).json()) as { token: string }).token;
}

const claims = (token: string) =>
  JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as { exp: number; username: string };

afterAll(async () => {
  for (const client of clients) client.close();
  for (const server of servers) {
    server.kill("SIGKILL");
    await once(server, "exit");
  }
  rmSync(folder, { recursive: true, force: true });
});

describe("a login token of etcd", () => {
  let url: string;
  let stranger: Watcher;

  beforeAll(async () => {
    url = await startServer("long", { ttlHours: 5 });
    stranger = await watch(login(url), "before");
    await keepUsers(agent(url), root, { cells: [cells] });
  });

  it("lives as long as the argument says", async () => {
    const { exp, username } = claims(await tokenOf(url, cells));
    expect(username).toBe("cells");
    expect(exp - Date.now() / 1000).toBeGreaterThan(5 * 3600 - 60);
    expect(exp - Date.now() / 1000).toBeLessThanOrEqual(5 * 3600);
  });

  it("is not asked of a watch that began before authentication, which is why no client gets in before", async () => {
    await delivers(stranger, login(url, cells), "before");
    await expect(login(url).get("before").string()).rejects.toThrow("user name is empty");
  });

  it("opens no key after a change of users, but the watch that is open goes on", async () => {
    const client = login(url, cells);
    const open = await watch(client, "open");
    const changed = { ...cells, password: "of-cells-too" };
    await keepUsers(agent(url), root, { cells: [changed] });
    expect(await refusal(client, "other")).toContain("revision of auth store is old");
    const after = login(url, changed);
    await delivers(open, after, "open");
    await delivers(await watch(after, "other"), after, "other");
  });

  it("of root opens no key after a change of its password, but goes on to administer", async () => {
    const token = await tokenOf(url, root);
    const users = () => post(url, "auth/user/list", {}, token);
    const keys = () => post(url, "kv/range", { key: "AA==" }, token);
    expect([(await users()).status, (await keys()).status]).toEqual([200, 200]);
    await agent(url).userChangePassword({ ...root, password: "of-root-too" });
    expect((await users()).status).toBe(200);
    expect(await (await keys()).text()).toContain("revision of auth store is old");
  });
});

describe("a login token of etcd that has ended", () => {
  it("opens no further watch and renews no lease on an open stream, but the watch that is open goes on", async () => {
    const url = await startServer("short", {}, "2s");
    await keepUsers(agent(url), root, { cells: [cells] });
    const client = login(url, cells);
    const open = await watch(client, "open");
    const lease = client.lease(3);
    const failed = once(lease, "keepaliveFailed") as Promise<[Error]>;
    await lease.grant();
    const [error] = await within(failed, 20, "the end of the renewals");
    expect(error.message).toContain("invalid auth token");
    expect(await refusal(client, "other")).toContain("invalid auth token");
    const after = login(url, cells);
    await delivers(open, after, "open");
    await delivers(await watch(after, "other"), after, "other");
    // A request makes the client log in again.
    await client.put("open").value("again");
  });
});
