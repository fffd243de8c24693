/** A defragmentation of a member that is being copied would stop it until the copy ends. */
import { describe, expect, it } from "vitest";
import { defragment, freeSpace } from "../../../components/etcd/agent";
import type { EtcdClient, Status } from "../../../components/etcd/client";
import type { MemberStatus } from "../../../components/etcd/maintenance";

const names = ["etcd-0", "etcd-1", "etcd-2"];
const statusOf = (name: string): Status => ({
  clusterId: "77",
  memberId: name,
  version: "3.6.16",
  leader: "etcd-1",
  learner: false,
  dbSize: 9,
  dbSizeInUse: 1,
  revision: "7",
});
const members: MemberStatus[] = names.map((name) => ({ name, status: statusOf(name) }));

function cluster(copied: string[]) {
  const said: string[] = [];
  const client = async (name: string) =>
    ({
      status: async () => statusOf(name),
      defragment: async () => void said.push(`defragments ${name}`),
    }) as unknown as EtcdClient;
  const reserve = async (name: string) => {
    if (copied.includes(name)) throw new Error("etcd-backup-x is at it");
    said.push(`takes ${name}`);
    return async () => void said.push(`gives ${name} back`);
  };
  return { said, reserve, all: { names, client, ask: async () => ({ members, unreachable: [] }) } };
}

describe("a defragmentation", () => {
  it("is made while nobody may begin a copy", async () => {
    const { said, reserve, all } = cluster([]);
    expect(await defragment(all, "etcd-0", 3, reserve)).toBe(true);
    expect(said).toEqual(["takes etcd-0", "defragments etcd-0", "gives etcd-0 back"]);
  });

  it("leaves out a member that is being copied", async () => {
    const { said, reserve, all } = cluster(["etcd-0"]);
    expect(await defragment(all, "etcd-0", 3, reserve)).toBe(false);
    expect(said).toEqual([]);
  });

  it("gives the member back when it was not to be", async () => {
    const { said, reserve, all } = cluster([]);
    await expect(defragment(all, "etcd-0", 5, reserve)).rejects.toThrow("3 of 5 members answer");
    expect(said).toEqual(["takes etcd-0", "gives etcd-0 back"]);
  });

  it("of the other members allows writes again", async () => {
    const { said, reserve, all } = cluster(["etcd-0"]);
    const client = { compact: async () => undefined, disarm: async () => void said.push("allows writes") };
    const work = { members, chosen: names, full: [{ memberId: "9", alarm: "NOSPACE" }] };
    await expect(freeSpace(all, client, work, reserve)).rejects.toThrow("etcd-0 is being copied");
    expect(said.filter((each) => !/^(takes|gives)/.test(each))).toEqual([
      "defragments etcd-1",
      "defragments etcd-2",
      "allows writes",
    ]);
  });
});
