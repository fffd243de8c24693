import { describe, expect, it } from "vitest";
import { type ClusterView, membershipProblems } from "../../../components/etcd/check";

const members = ["etcd-0", "etcd-1", "etcd-2"];
const view = (member: string, changes: Partial<ClusterView> = {}): ClusterView => ({
  member,
  names: members,
  learners: [],
  leader: "etcd-1",
  ...changes,
});

describe("the members of an etcd cluster", () => {
  it("agree", () =>
    expect(
      membershipProblems(
        members,
        members.map((each) => view(each)),
      ),
    ).toEqual([]));

  it.each<[Partial<ClusterView>, string]>([
    [{ names: ["etcd-0", "etcd-2"] }, "etcd-2 knows etcd-0, etcd-2, expected etcd-0, etcd-1, etcd-2"],
    [
      { names: ["etcd-0", "etcd-1", ""] },
      "etcd-2 knows (never started), etcd-0, etcd-1, expected etcd-0, etcd-1, etcd-2",
    ],
    [{ learners: ["etcd-2"] }, "etcd-2 sees as learners: etcd-2"],
    [{ leader: "etcd-0" }, "no agreement on a leader: etcd-1, etcd-0"],
    [{ leader: undefined }, "no agreement on a leader: etcd-1, none"],
  ])("%j", (changes, problem) => {
    expect(membershipProblems(members, [view("etcd-0"), view("etcd-1"), view("etcd-2", changes)])).toEqual([problem]);
  });

  it("are all named when they disagree", () => {
    const views = members.map((each) => view(each, { learners: ["etcd-2"], leader: undefined }));
    expect(membershipProblems(members, views)).toEqual([
      ...members.map((each) => `${each} sees as learners: etcd-2`),
      "no agreement on a leader: none",
    ]);
  });
});
