import { describe, expect, it } from "vitest";
import { resolveEtcd } from "../../../components/etcd";
import { memberConfig } from "../../../components/etcd/agent";
import { baseConfig } from "../../../components/etcd/manifest";
import type { TlsMode } from "../../../components/shared/core/check";
import { ensembleSettings } from "../../support/settings";

function base(tls: TlsMode, size = "8Gi"): Record<string, unknown> {
  return baseConfig(resolveEtcd("etcd", { namespace: "cells", tls, storage: { size } }), "etcd-1f");
}

describe("the configuration of etcd", () => {
  it.each<[TlsMode, string, boolean]>([
    ["required", "https://[::]:2379", true],
    ["optional", "https://[::]:2379,http://[::]:2379", true],
    ["off", "http://[::]:2379", false],
  ])("listens for clients with tls %s", (tls, urls, certificates) => {
    const config = base(tls);
    expect(config["listen-client-urls"]).toBe(urls);
    expect("client-transport-security" in config).toBe(certificates);
    // Members never speak plain text to each other while there are certificates.
    expect(config["listen-peer-urls"]).toBe(certificates ? "https://[::]:2380" : "http://[::]:2380");
    expect(certificates).toBe("peer-transport-security" in config);
  });

  it("asks peers for certificates", () => {
    expect(base("optional")["peer-transport-security"]).toMatchObject({ "client-cert-auth": true });
  });

  it.each([
    ["2Gi", 2 ** 30],
    ["8Gi", 4 * 2 ** 30],
    ["100Gi", 8 * 2 ** 30],
  ])("limits the database on a volume of %s", (size, quota) => {
    expect(base("off", size)["quota-backend-bytes"]).toBe(quota);
  });

  it("never gives up durability", () => {
    expect(JSON.stringify(base("required"))).not.toContain("fsync");
    expect(base("required")["strict-reconfig-check"]).toBe(true);
  });

  it.each([
    [{}, "ttl=720h"],
    [{ ttlHours: 1 }, "ttl=1h"],
    [{ ttlHours: 8760 }, "ttl=8760h"],
  ])("lets a login token live as the arguments %j say", (tokens, ttl) => {
    const config = baseConfig(resolveEtcd("etcd", { namespace: "cells", tokens }), "etcd-1f");
    expect(String(config["auth-token"]).split(",")).toContain(ttl);
  });

  it.each([
    [0, "0"],
    [8761, "8761"],
    [1.5, "1.5"],
    ["10m", '"10m"'],
  ])("refuses a login token that is to live %s hours", (ttlHours, shown) => {
    expect(() => resolveEtcd("etcd", { namespace: "cells", tokens: { ttlHours: ttlHours as number } })).toThrow(
      `etcd "etcd": tokens.ttlHours must be a whole number from 1 to 8760, got ${shown}; use 720`,
    );
  });

  it("gives a member its own names only", () => {
    const start = { state: "new", cluster: "etcd-1=https://etcd-1.etcd-peers.cells.svc:2380" };
    const config = memberConfig(base("required"), ensembleSettings, { name: "etcd-1", namespace: "cells" }, start);
    expect(config).toMatchObject({
      name: "etcd-1",
      "advertise-client-urls": "https://etcd-1.etcd-peers.cells.svc:2379",
      "initial-advertise-peer-urls": "https://etcd-1.etcd-peers.cells.svc:2380",
      "initial-cluster": start.cluster,
      "initial-cluster-state": "new",
      "peer-transport-security": { "client-cert-auth": true, "allowed-hostname": ["etcd.cells.svc"] },
    });
  });
});
