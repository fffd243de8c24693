/** A SOCKS5 proxy through the tunnel: the driver connects to members by names that resolve only inside the cluster. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { Tunnel } from "../shared/core/check";

export interface Proxy {
  host: string;
  port: number;
  close(): void;
}

/** The first label of a member's name is its pod. The name `address.host` leads to the Service. */
export async function openProxy(tunnel: Tunnel, address?: { host: string; service: string }): Promise<Proxy> {
  const dial = (name: string, port: number): ReturnType<Tunnel["dial"]> =>
    name === address?.host ? tunnel.service(address.service, port) : tunnel.dial(name.split(".")[0] ?? name, port);
  const open = new Set<Socket>();
  const server = createServer((client) => {
    open.add(client);
    client.on("error", () => client.destroy());
    client.on("close", () => open.delete(client));
    serve(client, dial).catch(() => client.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  return {
    host: "127.0.0.1",
    port,
    close: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

/** RFC 1928, without authentication, CONNECT to a name only. */
async function serve(client: Socket, dial: Tunnel["dial"]): Promise<void> {
  const read = reader(client);
  const [version, methods = 0] = await read(2);
  if (version !== 5) throw new Error("not SOCKS5");
  await read(methods);
  client.write(Buffer.of(5, 0));
  const [, kind, , type] = await read(4);
  if (kind !== 1 || type !== 3) throw new Error("not a connection to a name");
  const [length = 0] = await read(1);
  const name = (await read(length)).toString("latin1");
  const port = (await read(2)).readUInt16BE();
  const target = await dial(name, port);
  const server = connect(target.port, target.host);
  server.on("error", () => client.destroy());
  server.on("close", () => client.destroy());
  client.on("close", () => server.destroy());
  await once(server, "connect");
  // The client does not use the address in this answer.
  client.write(Buffer.of(5, 0, 0, 1, 0, 0, 0, 0, 0, 0));
  client.pipe(server).pipe(client);
}

/** Reads exactly so many bytes. The rest stays in the socket. */
function reader(socket: Socket): (bytes: number) => Promise<Buffer> {
  return async (bytes) => {
    for (;;) {
      const chunk = bytes === 0 ? Buffer.alloc(0) : (socket.read(bytes) as Buffer | null);
      if (chunk !== null) return chunk;
      if (socket.readableEnded || socket.destroyed) throw new Error("the connection ended");
      await once(socket, "readable");
    }
  };
}
