import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { servePages } from "../../../components/shared/agent/pages";

it("a page answers, says that it is not well, or why it failed; any other path is nothing", async () => {
  const server = await servePages(0, {
    "/live": () => ({ ok: true, text: "running" }),
    "/ready": () => ({ ok: false, text: "not yet\n" }),
    "/metrics": () => Promise.reject(new Error("the volume is away")),
  });
  onTestFinished(async () => {
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  });
  const { port } = server.address() as AddressInfo;
  const answers = ["/live", "/ready", "/metrics", "/"].map(async (path) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return [response.status, await response.text()];
  });
  expect(await Promise.all(answers)).toEqual([
    [200, "running\n"],
    [503, "not yet\n"],
    [503, "the volume is away\n"],
    [404, ""],
  ]);
});
