import { describe, expect, it } from "vitest";
import { type EtcdClusterArguments, resolveEtcd } from "../../../components/etcd";
import { networkPolicy } from "../../../components/shared/deploy/network";

const policyOf = (args: Partial<EtcdClusterArguments> = {}) =>
  networkPolicy(resolveEtcd("etcd", { namespace: "cells", ...args }), { client: 2379, peer: [2380], metrics: 2381 });
const ports = [443, 6443].map((port) => ({ protocol: "TCP", port }));

describe("the policy of all pods", () => {
  it("lets them reach the API of Kubernetes wherever it is", () => {
    expect(policyOf()).toMatchObject({ spec: { egress: [{}, {}, { ports }] } });
    expect(JSON.stringify(policyOf())).not.toContain("ipBlock");
  });

  it("lets them reach it at the given addresses only, and changes nothing else", () => {
    const addresses = ["10.96.0.1/32", "192.0.2.0/24", "fd00::/64"];
    const { egress: usual = [], ...others } = policyOf().spec as { egress?: object[] };
    const to = addresses.map((cidr) => ({ ipBlock: { cidr } }));
    expect(policyOf({ egress: { apiServer: addresses } }).spec).toEqual({
      ...others,
      egress: [...usual.slice(0, -1), { to, ports }],
    });
  });
});
