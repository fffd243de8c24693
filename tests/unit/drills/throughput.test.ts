import { describe, expect, it } from "vitest";
import { goalMet } from "../../../drills/measurement";
import { gatewayMeasurements, isLoaded, loadJob, loadSettings } from "../../../drills/throughput";
import { target } from "../checks/target";

describe("the load through a gateway", () => {
  const redis = { ...target("redis"), clientPort: 6379 };
  const settings = loadSettings(redis, "redis", "redis-1");
  const pod = loadJob(redis, settings).spec?.template;

  it("goes to the leader by one way and to the one address by the other, with the same connections", () => {
    expect(settings).toMatchObject({
      routes: { direct: "redis-1.redis-peers.cells.svc", gateway: "redis.cells.svc" },
      port: 6379,
      tls: true,
    });
    expect(isLoaded({ service: "mysql" })).toBe(true);
    expect(isLoaded({ service: "etcd" })).toBe(false);
  });

  it("comes from a pod that the policy takes for one of the ensemble, and that no Service or budget selects", () => {
    expect(pod?.metadata?.labels?.["app.kubernetes.io/component"]).toBe("agent");
    expect(pod?.metadata?.labels?.["app.kubernetes.io/instance"]).toBe("redis");
  });

  it("has its credentials as files only", () => {
    const [container] = pod?.spec?.containers ?? [];
    expect(container?.env).toEqual([{ name: "LOAD", value: JSON.stringify(settings) }]);
    expect(pod?.spec?.volumes?.[1]?.secret?.secretName).toBe("redis-application-cells");
    expect(() => loadJob({ ...redis, applications: {} }, settings)).toThrow(/no application to log in as/);
  });

  it("fits the level restricted", () => {
    expect(pod?.spec?.securityContext).toMatchObject({
      runAsNonRoot: true,
      seccompProfile: { type: "RuntimeDefault" },
    });
    expect(pod?.spec?.containers[0]?.securityContext).toMatchObject({
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
    });
  });

  it("is what the gateway adds to the median of the rounds, but for the first, and its CPU for all operations", () => {
    const round = (p50: number, p99: number) => ({ p50, p99, operations: 1000 });
    const measured = gatewayMeasurements(
      "redis",
      {
        SET: {
          direct: [round(9, 9), round(1, 4), round(1, 4)],
          gateway: [round(9, 9), round(1.25, 6), round(1.25, 6)],
        },
      },
      0.036,
    );
    expect(measured.map(({ name, value, unit }) => [name, value, unit])).toEqual([
      ["redis: SET at 1000/s, added to p50 by the gateway (1.00 ms without it)", 0.25, "ms"],
      ["redis: SET at 1000/s, added to p99 by the gateway (4.00 ms without it)", 2, "ms"],
      ["redis: CPU of the gateway for each operation", 12, "µs"],
    ]);
    expect(measured.map(goalMet)).toEqual([true, undefined, undefined]);
  });
});
