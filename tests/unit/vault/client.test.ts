import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { vaultClient } from "../../../components/vault/client";

let server: Server | undefined;
afterEach(() => server?.close());

/** Answers each request with the next of these, and with the last one from then on. */
async function answering(...answers: [status: number, body: object][]): Promise<{ url: string; asked: () => number }> {
  let asked = 0;
  server = createServer((_, response) => {
    const [status, body] = answers[Math.min(asked, answers.length - 1)] ?? [500, {}];
    asked += 1;
    response.writeHead(status).end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked: () => asked };
}

describe("a request of the setup", () => {
  it.each<[string, [number, object]]>([
    ["a standby that knows no active member", [307, {}]],
    [
      "a member that has just lost the leadership",
      [500, { errors: ["failed to persist policy: node is not the leader"] }],
    ],
    [
      "a standby whose active member is gone",
      [500, { errors: ["local node not active but active cluster node not found"] }],
    ],
  ])("is repeated when it meets %s", async (_, refusal) => {
    const { url, asked } = await answering(refusal, [204, {}]);
    await vaultClient({ url, electionSeconds: 5 }).write("sys/policies/acl/x", {});
    expect(asked()).toBe(2);
  });

  it("is not repeated for any other refusal", async () => {
    const { url, asked } = await answering([403, { errors: ["permission denied"] }]);
    await expect(vaultClient({ url, electionSeconds: 5 }).write("x", {})).rejects.toThrow("permission denied");
    expect(asked()).toBe(1);
  });

  it("ends with the last refusal when nobody is elected", async () => {
    const { url } = await answering([307, {}]);
    await expect(vaultClient({ url, electionSeconds: 0.1 }).write("x", {})).rejects.toThrow(
      "an active member did not come within 0.1 seconds; last seen: x was refused with status 307",
    );
  });
});

it("tells everybody else at once that nobody leads", async () => {
  const { url } = await answering([307, {}]);
  await expect(vaultClient({ url }).write("x", {})).rejects.toThrow("vault refused x: status 307");
});
