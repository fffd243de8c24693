import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { hasIpv6 } from "../../../components/shared/agent/gateway";
import { gatewayConfig } from "../../../components/shared/core/gateway";

describe("the gateway whose DNS is away", () => {
  const config = gatewayConfig(
    { name: "redis", members: 3, port: 6379, maxConnections: 4096 },
    "cells",
    "cluster.local",
    false,
  );

  it.each(["nx", "timeout", "refused", "other"])("keeps the addresses when it is answered: %s", (answer) => {
    expect(config).toContain(`\n  hold ${answer} 1h\n`);
  });
});

it("the agent of the gateway knows whether the kernel has IPv6", async () => {
  expect(await hasIpv6()).toBe(existsSync("/proc/net/if_inet6"));
});
