import { describe, expect, it } from "vitest";
import { type EtcdClusterArguments, resolveEtcd } from "../../../components/etcd";
import { clientService, networkPolicy, peersService } from "../../../components/shared/deploy/network";
import { portOf } from "../../../components/shared/deploy/schema";

const etcd = (args: Partial<EtcdClusterArguments> = {}) => resolveEtcd("etcd", { namespace: "cells", ...args });
const policyOf = (args: Partial<EtcdClusterArguments> = {}) =>
  networkPolicy(etcd(args), { client: 2379, peer: [2380], metrics: [2381] });
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

describe("the Services of clients and of members", () => {
  const specsOf = (args: Partial<EtcdClusterArguments> = {}) =>
    [clientService(etcd(args), 2379), peersService(etcd(args), { client: 2379, peer: 2380 })].map(({ spec }) => spec);

  it("leave the families of their addresses to the cluster", () => {
    for (const spec of specsOf()) expect(spec).not.toHaveProperty("ipFamilyPolicy");
  });

  it.each(["SingleStack", "PreferDualStack", "RequireDualStack"] as const)(
    "have the policy %s that is given, and nothing else changes",
    (ipFamilyPolicy) => {
      expect(specsOf({ ipFamilyPolicy })).toEqual(specsOf().map((spec) => Object.assign({}, spec, { ipFamilyPolicy })));
    },
  );
});

it.each([
  ["http://store", 80],
  ["https://store/path", 443],
  ["http://store:443", 443],
  ["https://store:9000", 9000],
])("reaches %s at port %i", (url, port) => {
  expect(portOf(url)).toBe(port);
});
