import { describe, expect, it } from "vitest";
import type { Store } from "../../../components/objectstore/layout";
import {
  type Bucket,
  bucketActions,
  bucketPolicy,
  decideBuckets,
  decideUsers,
  objectActions,
  role,
  type User,
} from "../../../components/objectstore/rights";

const cells: User = { accessKeyId: "cells", secretAccessKey: "one", role };

describe("users", () => {
  it.each<[string, User[], User[], string[]]>([
    ["first run", [], [cells], ["create-user"]],
    ["nothing to do", [cells], [cells], []],
    ["a new password", [cells], [{ ...cells, secretAccessKey: "two" }], ["update-user"]],
    ["too many rights", [{ ...cells, role: "admin" }], [cells], ["update-user"]],
    ["no application any more", [cells, { ...cells, accessKeyId: "old" }], [cells], ["delete-user"]],
  ])("%s", (_, existing, wanted, kinds) => {
    expect(decideUsers(existing, wanted).map(({ kind }) => kind)).toEqual(kinds);
  });
});

describe("buckets", () => {
  const store: Store = {
    region: "us-east-1",
    buckets: ["files", "spare"],
    applicationBuckets: { cells: ["files"] },
  };
  const files: Bucket = { name: "files", owner: "cells", policy: bucketPolicy("files", "cells") };
  const spare: Bucket = { name: "spare", owner: "admin", policy: undefined };

  it.each<[string, Bucket[], string[]]>([
    ["first run", [], ["create-bucket files", "change-owner files", "put-policy files", "create-bucket spare"]],
    ["nothing to do", [files, spare], []],
    [
      "killed after the bucket was made",
      [{ ...files, owner: "admin", policy: undefined }, spare],
      ["change-owner files", "put-policy files"],
    ],
    ["killed after the owner was set", [{ ...files, policy: undefined }, spare], ["put-policy files"]],
    ["killed while the bucket was made", [files, { ...spare, owner: "" }], ["change-owner spare"]],
    ["another policy", [{ ...files, policy: bucketPolicy("files", "portal") }, spare], ["put-policy files"]],
    [
      "another owner, whose policy goes with it",
      [{ ...files, owner: "portal" }, spare],
      ["change-owner files", "put-policy files"],
    ],
    ["more than is wanted: kept", [files, spare, { ...files, name: "old" }], []],
  ])("%s", (_, existing, wanted) => {
    const actions = decideBuckets(existing, store, "admin");
    expect(actions.map(({ kind, bucket }) => `${kind} ${bucket}`)).toEqual(wanted);
  });

  it("never lets an application delete a bucket, or say who gets in", () => {
    const actions = [...bucketActions, ...objectActions];
    expect(actions.filter((action) => /DeleteBucket|CreateBucket|Policy|Acl|\*/.test(action))).toEqual([]);
    const { Statement: statements } = bucketPolicy("files", "cells");
    for (const { Principal: principal } of statements) expect(principal).toEqual({ AWS: ["cells"] });
    expect(statements.flatMap(({ Resource: resources }) => resources)).toEqual([
      "arn:aws:s3:::files",
      "arn:aws:s3:::files/*",
    ]);
  });

  it("has policies that fit into the extended attributes of ext4", () => {
    const longest = bucketPolicy("x".repeat(63), "a".repeat(51));
    // A block of 4 KiB holds all attributes of a directory; the others need a few hundred bytes.
    expect(JSON.stringify(longest).length).toBeLessThan(2048);
  });
});
