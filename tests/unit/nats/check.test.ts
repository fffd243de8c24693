import { createServer, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { check, consumerProblems, plainText } from "../../../components/nats/check";
import { judgePlainText, observePlainText } from "../../../components/shared/check/plaintext";
import { password, targetOf, unreachable } from "../../support/check";

const target = targetOf("nats", { clientPort: 4222, metricsPort: 8222 });

describe("the check when nothing works", () => {
  it("reports every member and does not throw", async () => {
    const findings = await check(target, unreachable());
    expect(findings.map(({ check: step, ok, detail }) => [step, ok, detail])).toEqual([
      ["credentials", true, "administrator admin and trust bundle found"],
      ["member nats-0", false, "the pod nats-0 is not running"],
      ["member nats-1", false, "the pod nats-1 is not running"],
      ["member nats-2", false, "the pod nats-2 is not running"],
    ]);
    for (const { ok, remedy } of findings) expect(remedy === undefined).toBe(ok);
    expect(JSON.stringify(findings)).not.toContain(password);
  });

  it("ends where credentials are missing, and names the Secret", async () => {
    const findings = await check(target, unreachable({ secret: async () => ({ username: "admin" }) }));
    expect(findings).toMatchObject([
      { check: "credentials", ok: false, detail: "username or password in the Secret nats-admin is missing" },
    ]);
  });

  it("says when it was stopped", async () => {
    const signal = AbortSignal.abort(new Error("stopped after 60 seconds"));
    const findings = await check(target, unreachable({ signal }));
    expect(findings).toMatchObject([{ check: "credentials", ok: false, detail: "stopped after 60 seconds" }]);
  });
});

describe("plain text against a member that requires TLS", () => {
  const stops: (() => void)[] = [];
  afterEach(() => {
    for (const stop of stops.splice(0)) stop();
  });

  async function attempt(serve: (socket: Socket) => void): Promise<string[]> {
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      serve(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    stops.push(() => server.close());
    const { port } = server.address() as { port: number };
    const place = { name: "nats-0", host: "nats-0", dial: async () => ({ host: "127.0.0.1", port }) };
    const protocol = plainText({ auth: { username: "admin", password: "secret" } });
    return judgePlainText(await observePlainText(place, protocol), protocol);
  }
  const greeting = 'INFO {"tls_required":true}\r\n';

  it("is refused by an error or by the end of the connection, after a login was sent", async () => {
    let sent = "";
    const error = attempt((socket) => {
      socket.write(greeting);
      socket.on("data", (data) => {
        sent += data.toString();
        socket.write("-ERR 'Secure Connection - TLS Required'\r\n");
      });
    });
    expect(await error).toEqual([]);
    expect(sent).toBe('CONNECT {"user":"admin","pass":"secret","verbose":false}\r\nPING\r\n');
    const end = attempt((socket) => {
      socket.write(greeting);
      socket.on("data", () => socket.destroy());
    });
    expect(await end).toEqual([]);
  });

  it("is found when it is let in", async () => {
    const served = attempt((socket) => {
      socket.write(greeting);
      socket.on("data", () => socket.write("PONG\r\n"));
    });
    expect(await served).toEqual(["a client without TLS was let in"]);
  });

  it("is not refused by a tunnel that breaks before the whole greeting", async () => {
    const none = ["a client without TLS got neither in nor a refusal: no greeting"];
    expect(await attempt((socket) => socket.destroy())).toEqual(none);
    expect(await attempt((socket) => socket.end('INFO {"tls'))).toEqual(none);
  });
});

describe("the consumers of a stream", () => {
  const peer = (name: string, current: boolean) => ({ name, current, active: 0 });

  it("need a leader, and replicas that are current", () => {
    const infos = [
      { name: "good", cluster: { leader: "nats-0", replicas: [peer("nats-1", true), peer("nats-2", true)] } },
      { name: "single", cluster: { leader: "nats-0" } },
      { name: "behind", cluster: { leader: "nats-0", replicas: [peer("nats-1", false)] } },
    ] as unknown as Parameters<typeof consumerProblems>[2];
    expect(consumerProblems("orders", ["good", "single", "behind", "silent"], infos)).toEqual([
      'consumer "behind" of stream "orders": nats-1 is not current',
      'consumer "silent" of stream "orders" has no leader',
    ]);
  });
});
