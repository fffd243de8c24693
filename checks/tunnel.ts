import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { PassThrough, Writable } from "node:stream";
import { type KubeConfig, PortForward } from "@kubernetes/client-node";
import type { Tunnel } from "../components/shared/core/check";
import { messageOf } from "../components/shared/core/errors";
import { within } from "../components/shared/core/wait";

/** One connection to a port of a pod, by whatever means. */
export interface Channel {
  /** Calls back when the data has left this process. */
  send(data: Buffer, sent: () => void): void;
  /** Stops the other side from sending. */
  pause(): void;
  resume(): void;
  close(): void;
}

export interface ChannelEvents {
  data(data: Buffer): void;
  /** What the other side says about a failure, such as a refused connection. */
  error(message: string): void;
  /** `clean` when the other side ended the connection in order. */
  closed(clean: boolean): void;
}

/** Finds a pod that is ready behind a Service, and the port of the pod that the port of the Service leads to. */
export type Resolve = (service: string, port: number) => Promise<{ pod: string; port: number }>;

export type Connect = (pod: string, port: number, events: ChannelEvents) => Promise<Channel>;

export interface TunnelManager extends Tunnel {
  /** Why the latest connection to this port of this pod failed. */
  lastError(pod: string, port: number): string | undefined;
  /** Ends all connections and listeners. */
  close(): Promise<void>;
}

/**
 * After the client has ended its side, the answer may still be on its way. A forwarded port cannot pass on the end of one
 * direction alone, so the connection ends when the pod ends it or when this time has passed.
 */
const lingerMilliseconds = 2000;

export function openTunnel(connect: Connect, resolve: Resolve): TunnelManager {
  const forwards = new Map<string, Promise<Server>>();
  const open = new Set<() => void>();
  const errors = new Map<string, string>();
  let closed = false;

  const accept = async (socket: Socket, pod: string, port: number): Promise<void> => {
    const key = `${pod}:${port}`;
    let channel: Channel | undefined;
    let linger: NodeJS.Timeout | undefined;
    const fail = (message: string): void => {
      // The first message is the cause; what follows only says that the connection is gone.
      if (socket.destroyed) return;
      errors.set(key, message);
      socket.resetAndDestroy();
    };
    const stop = (): void => {
      socket.destroy();
      channel?.close();
    };
    open.add(stop);
    socket.on("drain", () => channel?.resume());
    // An error is always followed by "close", where the channel ends too.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(linger);
      open.delete(stop);
      channel?.close();
    });
    try {
      channel = await connect(pod, port, {
        data: (data) => {
          if (socket.writable && !socket.write(data)) channel?.pause();
        },
        error: (message) => fail(message),
        closed: (clean) => {
          if (!clean) fail(`the connection to ${pod} port ${port} broke`);
          else if (!socket.destroyed) socket.destroySoon();
        },
      });
    } catch (error) {
      return fail(messageOf(error));
    }
    if (socket.destroyed) return channel.close();
    const connected = channel;
    socket.on("data", (data) => {
      // One piece on its way at a time: what the pod does not take yet stays in the client's own socket.
      socket.pause();
      connected.send(data, () => socket.resume());
    });
    socket.on("end", () => {
      linger = setTimeout(stop, lingerMilliseconds);
    });
    socket.resume();
  };

  const listen = async (pod: string, port: number): Promise<Server> => {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
      void accept(socket, pod, port);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return server;
  };

  const dial = async (pod: string, port: number): Promise<{ host: string; port: number }> => {
    if (closed) throw new Error(`the tunnel to ${pod} port ${port} was asked for after its end`);
    const key = `${pod}:${port}`;
    const forward = forwards.get(key) ?? listen(pod, port);
    forwards.set(key, forward);
    const address = (await forward).address();
    if (address === null || typeof address === "string") throw new Error(`no local port for ${pod} port ${port}`);
    return { host: "127.0.0.1", port: address.port };
  };

  return {
    dial,
    async service(name, port) {
      const target = await resolve(name, port);
      return dial(target.pod, target.port);
    },
    lastError: (pod, port) => errors.get(`${pod}:${port}`),
    async close() {
      closed = true;
      const servers = await Promise.all(forwards.values());
      const ended = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
      for (const stop of [...open]) stop();
      await Promise.all(ended);
    },
  };
}

/** The part of a WebSocket of package `ws` that a channel needs. */
interface Socketlike {
  send(data: Buffer, sent: (error?: Error) => void): void;
  pause(): void;
  resume(): void;
  close(): void;
  terminate(): void;
  on(event: "close", listener: (code: number) => void): void;
  on(event: "error", listener: (error: Error) => void): void;
}

const connectSeconds = 10;
/** An orderly end of a WebSocket: normal closure, or a close frame without a code. */
const cleanCodes = [1000, 1005];
/** The data of the one forwarded port is channel 0 of the WebSocket. */
const dataChannel = 0;

/**
 * Connects through the API server (`pods/portforward`): one WebSocket for each connection. The library reads; sending is
 * done here, because the library neither waits for slow receivers nor survives a write after the end.
 */
export function portForward(config: KubeConfig, namespace: string): Connect {
  const forward = new PortForward(config);
  return async (pod, port, events) => {
    const data = new Writable({
      write(chunk: Buffer, _encoding, done) {
        events.data(chunk);
        done();
      },
    });
    const errors = new Writable({
      write(chunk: Buffer, _encoding, done) {
        if (chunk.length > 0) events.error(explain(pod, port, chunk.toString("utf8")));
        done();
      },
    });
    const noInput = new PassThrough();
    const opening = forward.portForward(
      namespace,
      pod,
      [port],
      data,
      errors,
      noInput,
    ) as Promise<unknown> as Promise<Socketlike>;
    let socket: Socketlike;
    try {
      socket = await within(opening, connectSeconds, "port forward");
    } catch (error) {
      opening.then((late) => late.terminate()).catch(() => undefined);
      throw new Error(`cannot forward to ${pod} port ${port}: ${messageOf(error)}`);
    }
    let ended = false;
    let closing: NodeJS.Timeout | undefined;
    // Without a listener an error of an established WebSocket would end the process; "close" follows.
    socket.on("error", () => undefined);
    socket.on("close", (code) => {
      ended = true;
      clearTimeout(closing);
      events.closed(cleanCodes.includes(code));
    });
    return {
      send(data, sent) {
        socket.send(Buffer.concat([Buffer.of(dataChannel), data]), () => sent());
      },
      pause: () => socket.pause(),
      resume: () => socket.resume(),
      close() {
        if (ended || closing !== undefined) return;
        socket.resume();
        socket.close();
        // The API server may take its time to answer the close frame, and the client is gone already.
        closing = setTimeout(() => socket.terminate(), 500);
      },
    };
  };
}

/** The kubelet wraps the cause in names of sandboxes and network namespaces that say nothing to a reader. */
function explain(pod: string, port: number, text: string): string {
  const cause = /connect: ([a-z ]+)/.exec(text)?.[1]?.trim() ?? text.trim();
  return `cannot connect to port ${port} of ${pod}: ${cause}`;
}
