import { describe, expect, it } from "vitest";
import { gatewayConfig } from "../../../components/shared/core/gateway";

describe("the configuration of the gateway", () => {
  const settings = { name: "redis", members: 3, port: 6379, maxConnections: 4096 };
  const config = gatewayConfig(settings, "cells", "cluster.local", true);

  it("names each member in full", () => {
    const servers = config.split("\n").filter((line) => line.startsWith("  server "));
    expect(servers).toEqual([
      "  server redis-0 redis-0.redis-peers.cells.svc.cluster.local.:6379",
      "  server redis-1 redis-1.redis-peers.cells.svc.cluster.local.:6379",
      "  server redis-2 redis-2.redis-peers.cells.svc.cluster.local.:6379",
    ]);
  });

  it.each([
    [true, ["  bind [::]:6379 v4v6", "  bind [::]:8405 v4v6"]],
    [false, ["  bind :6379", "  bind :8405"]],
  ])("listens on both families where the kernel has IPv6: %s", (ipv6, expected) => {
    const lines = gatewayConfig(settings, "cells", "cluster.local", ipv6).split("\n");
    expect(lines.filter((line) => line.startsWith("  bind "))).toEqual(expected);
  });

  it("keeps connections for probes when clients use all of theirs", () => {
    expect(config).toContain("global\n  maxconn 4160\n");
    expect(config).toContain("frontend clients\n  maxconn 4096\n");
  });

  it("connects to the port of the primary only, and sees a new primary within half a second", () => {
    const steps = config.split("\n").filter((line) => line.startsWith("  tcp-check"));
    expect(steps).toEqual(["  tcp-check connect port 8009", "  tcp-check expect string up", "  tcp-check connect"]);
    expect(config).toContain(" check inter 2s downinter 250ms rise 1 fall 4 ");
  });

  it("asks the agents, closes old sessions on a change, and uses nobody before both have answered", () => {
    expect(config).toContain("tcp-check expect string up");
    const checks = config.split("\n").find((line) => line.includes("default-server")) ?? "";
    for (const word of [
      "agent-check",
      "agent-inter 250ms",
      "agent-port 8009",
      "on-marked-down shutdown-sessions",
      "init-state fully-down",
    ]) {
      expect(checks).toContain(word);
    }
  });
});
