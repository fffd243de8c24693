import { describe, expect, it } from "vitest";
import { goalMet } from "../../../drills/measurement";
import { isLoaded, loadJob, loadSettings, throughputs } from "../../../drills/throughput";
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

  it("is compared by the median of the rounds, for each operation", () => {
    const [set, get] = throughputs("redis", {
      SET: { direct: [100, 200, 300], gateway: [1, 192, 900] },
      GET: { direct: [400], gateway: [300] },
    });
    expect(set).toMatchObject({ value: 192, reference: { value: 200 }, unit: "/s" });
    expect([set, get].map((each) => each && goalMet(each))).toEqual([true, false]);
  });
});
