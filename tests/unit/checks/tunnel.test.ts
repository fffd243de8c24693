import { once } from "node:events";
import { connect as dial, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { type ChannelEvents, type Connect, openTunnel } from "../../../checks/tunnel";

interface Fake {
  events: ChannelEvents;
  received: Buffer[];
  sent: (() => void)[];
  paused: number;
  closed: number;
}

/** A pod that answers when the test says so. */
function fake(autoSend = true): { connect: Connect; channels: Fake[] } {
  const channels: Fake[] = [];
  const connect: Connect = async (_pod, _port, events) => {
    const state: Fake = { events, received: [], sent: [], paused: 0, closed: 0 };
    channels.push(state);
    return {
      send(data, sent) {
        state.received.push(data);
        if (autoSend) sent();
        else state.sent.push(sent);
      },
      pause: () => void (state.paused += 1),
      resume: () => undefined,
      close: () => void (state.closed += 1),
    };
  };
  return { connect, channels };
}

async function client(address: { host: string; port: number }): Promise<Socket> {
  const socket = dial({ ...address, allowHalfOpen: true });
  // The end of a tunnel may reset what is still open.
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return socket;
}

const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

const noServices = (): Promise<never> => Promise.reject(new Error("no such service"));

describe("a tunnel", () => {
  it("has one local port for each port of a pod, and one channel for each connection", async () => {
    const { connect, channels } = fake();
    const tunnel = openTunnel(connect, noServices);
    const first = await tunnel.dial("etcd-0", 2379);
    expect(await tunnel.dial("etcd-0", 2379)).toEqual(first);
    expect((await tunnel.dial("etcd-1", 2379)).port).not.toBe(first.port);
    await client(first);
    await client(first);
    await soon();
    expect(channels).toHaveLength(2);
    await tunnel.close();
    expect(channels.every((each) => each.closed > 0)).toBe(true);
  });

  it("delivers an answer that comes after the client has ended its side", async () => {
    const { connect, channels } = fake();
    const tunnel = openTunnel(connect, noServices);
    const socket = await client(await tunnel.dial("etcd-0", 2379));
    socket.end("question");
    await soon();
    const channel = channels[0];
    expect(Buffer.concat(channel?.received ?? []).toString()).toBe("question");
    channel?.events.data(Buffer.from("answer"));
    channel?.events.closed(true);
    expect(await text(socket)).toBe("answer");
    await tunnel.close();
  });

  it("resets the connection and remembers why when the pod cannot be reached", async () => {
    const tunnel = openTunnel(() => Promise.reject(new Error("no such pod")), noServices);
    const socket = dial(await tunnel.dial("etcd-9", 2379));
    const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
    expect(error.code).toBe("ECONNRESET");
    expect(tunnel.lastError("etcd-9", 2379)).toBe("no such pod");
    await tunnel.close();
  });

  it("resets the connection on an error of the pod's side, and keeps the first cause", async () => {
    const { connect, channels } = fake();
    const tunnel = openTunnel(connect, noServices);
    const socket = await client(await tunnel.dial("etcd-0", 1));
    await soon();
    const failed = once(socket, "error");
    channels[0]?.events.error("connection refused");
    channels[0]?.events.closed(false);
    await failed;
    expect(tunnel.lastError("etcd-0", 1)).toBe("connection refused");
    await tunnel.close();
  });

  it("takes no more from the client than the pod takes", async () => {
    const { connect, channels } = fake(false);
    const tunnel = openTunnel(connect, noServices);
    const socket = await client(await tunnel.dial("etcd-0", 2379));
    socket.write(Buffer.alloc(1024 * 1024));
    await soon();
    expect(channels[0]?.received).toHaveLength(1);
    channels[0]?.sent.shift()?.();
    await soon();
    expect(channels[0]?.received).toHaveLength(2);
    await tunnel.close();
  });

  it("stops the pod when the client does not read", async () => {
    const { connect, channels } = fake();
    const tunnel = openTunnel(connect, noServices);
    const socket = await client(await tunnel.dial("etcd-0", 2379));
    socket.pause();
    await soon();
    for (let piece = 0; piece < 16; piece += 1) channels[0]?.events.data(Buffer.alloc(1024 * 1024));
    expect(channels[0]?.paused).toBeGreaterThan(0);
    await tunnel.close();
  });

  it("cannot be used after its end", async () => {
    const tunnel = openTunnel(fake().connect, noServices);
    await tunnel.close();
    await expect(tunnel.dial("etcd-0", 2379)).rejects.toThrow(/after its end/);
  });
});
