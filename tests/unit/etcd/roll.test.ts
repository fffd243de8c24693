import { describe, expect, it } from "vitest";
import { conditionsOf } from "../../../components/etcd/agent";
import type { Status } from "../../../components/etcd/client";

const names = ["etcd-0", "etcd-1", "etcd-2"];
const member = (name: string, changes: Partial<Status> = {}) => ({
  name,
  status: {
    clusterId: "77",
    memberId: name,
    version: "3.6.16",
    leader: "etcd-1",
    learner: false,
    dbSize: 0,
    dbSizeInUse: 0,
    revision: "100",
    ...changes,
  },
});
const all = names.map((name) => member(name));
const whole = { whole: true, leads: false, detail: "" };

describe("members of etcd in a roll", () => {
  it("are whole when they agree, and one of them leads", () => {
    expect(Object.fromEntries(conditionsOf(names, all, []))).toEqual({
      "etcd-0": whole,
      "etcd-1": { ...whole, leads: true },
      "etcd-2": whole,
    });
  });

  it("are not whole while they lag", () => {
    const seen = conditionsOf(names, [...all.slice(0, 2), member("etcd-2", { revision: "80" })], []);
    expect(seen.get("etcd-2")).toEqual({ ...whole, whole: false, detail: "it is at revision 80, the newest is 100" });
    expect(seen.get("etcd-0")).toEqual(whole);
  });

  it("are none of them whole while one is a learner", () => {
    const seen = conditionsOf(names, [...all.slice(0, 2), member("etcd-2", { learner: true })], []);
    expect([...seen.values()].map(({ whole: each, detail }) => [each, detail])).toEqual(
      names.map(() => [false, "etcd-2 is still a learner"]),
    );
  });

  it("are not whole when they do not answer, in the words of the connection", () => {
    const seen = conditionsOf(names, all.slice(0, 2), ["etcd-2: connect ECONNREFUSED"]);
    expect(seen.get("etcd-2")).toEqual({ ...whole, whole: false, detail: "connect ECONNREFUSED" });
    expect(seen.get("etcd-1")).toEqual({ ...whole, leads: true });
  });
});
