import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { SocksClient } from "socks";
import { afterEach, describe, expect, it } from "vitest";
import { openProxy, type Proxy } from "../../../components/mongodb/proxy";
import type { Tunnel } from "../../../components/shared/core/check";

const open: { close(): void }[] = [];
afterEach(() => {
  for (const each of open.splice(0)) each.close();
});

/** Answers everything with its own name in front. */
async function member(name: string): Promise<{ host: string; port: number }> {
  const server: Server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", (data) => socket.write(`${name}: ${data.toString()}`));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  open.push(server);
  return { host: "127.0.0.1", port: (server.address() as { port: number }).port };
}

async function proxyTo(dial: Tunnel["dial"]): Promise<Proxy> {
  const proxy = await openProxy({ dial, service: dial });
  open.push(proxy);
  return proxy;
}

async function connect(proxy: Proxy, host: string, port = 27017): Promise<Socket> {
  const { socket } = await SocksClient.createConnection({
    proxy: { host: proxy.host, port: proxy.port, type: 5 },
    command: "connect",
    destination: { host, port },
    timeout: 2_000,
  });
  socket.on("error", () => undefined);
  open.push({ close: () => socket.destroy() });
  return socket;
}

async function ask(socket: Socket, text: string): Promise<string> {
  socket.write(text);
  const [answer] = (await once(socket, "data")) as [Buffer];
  return answer.toString();
}

describe("the proxy of the check", () => {
  it("reaches each member by its name in the cluster", async () => {
    const dialled: [string, number][] = [];
    const proxy = await proxyTo(async (pod, port) => {
      dialled.push([pod, port]);
      return member(pod);
    });
    for (const pod of ["mongodb-0", "mongodb-1"]) {
      const socket = await connect(proxy, `${pod}.mongodb-peers.cells.svc`);
      expect(await ask(socket, "hello")).toBe(`${pod}: hello`);
    }
    expect(dialled).toEqual([
      ["mongodb-0", 27017],
      ["mongodb-1", 27017],
    ]);
  });

  it("ends a connection whose member cannot be reached, and goes on", async () => {
    const proxy = await proxyTo(async (pod) => {
      if (pod === "mongodb-0") throw new Error("the pod mongodb-0 is not running");
      return member(pod);
    });
    await expect(connect(proxy, "mongodb-0.mongodb-peers.cells.svc")).rejects.toThrow();
    const socket = await connect(proxy, "mongodb-1.mongodb-peers.cells.svc");
    expect(await ask(socket, "hello")).toBe("mongodb-1: hello");
  });

  it("tells the client when the member has gone", async () => {
    const server = createServer((socket) => socket.destroy());
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    open.push(server);
    const { port } = server.address() as { port: number };
    const socket = await connect(await proxyTo(async () => ({ host: "127.0.0.1", port })), "mongodb-0.x");
    await once(socket, "close");
  });

  it("ends all connections when it is closed", async () => {
    const proxy = await proxyTo(member);
    const socket = await connect(proxy, "mongodb-0.mongodb-peers.cells.svc");
    proxy.close();
    await once(socket, "close");
  });
});
