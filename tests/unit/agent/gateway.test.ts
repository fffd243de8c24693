import { describe, expect, it } from "vitest";
import { gatewayConfig } from "../../../components/shared/core/gateway";

describe("the gateway whose DNS is away", () => {
  const config = gatewayConfig(
    { name: "redis", members: 3, port: 6379, maxConnections: 4096 },
    "cells",
    "cluster.local",
  );

  it.each(["nx", "timeout", "refused", "other"])("keeps the addresses when it is answered: %s", (answer) => {
    expect(config).toContain(`\n  hold ${answer} 1h\n`);
  });
});
