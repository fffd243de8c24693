import { describe, expect, it } from "vitest";
import { type ObjectStoreArguments, resolveObjectStore } from "../../../components/objectstore";
import { bucketProblem } from "../../../components/objectstore/arguments";

const args = (changes: object = {}): ObjectStoreArguments => ({
  namespace: "cells",
  buckets: ["files", "more"],
  applications: ["cells"],
  ...changes,
});

describe("the arguments of an object store", () => {
  it("have defaults, and one member", () => {
    expect(resolveObjectStore("s3", args())).toMatchObject({
      members: 1,
      tls: "required",
      deletion: "keep",
      storage: { size: "20Gi" },
      image: "docker.io/versity/versitygw:v1.8.0",
    });
    expect(resolveObjectStore("s3", args()).store).toEqual({
      region: "us-east-1",
      buckets: ["files", "more"],
      applicationBuckets: { cells: ["files", "more"] },
    });
  });

  it.each<[string, object, string]>([
    [
      "members",
      { members: 3 },
      "members cannot be given, since this is one server for development, got 3; " +
        "remove members, and use AWS S3 where data must survive the loss of a volume",
    ],
    [
      "metrics",
      { metrics: { from: [{}] } },
      'metrics cannot be given, since the server has none that can be read, got {"from":[{}]}; remove metrics',
    ],
    [
      "TLS and plain text at once",
      { tls: "optional" },
      'tls must be "required" or "off" because the server serves one of both on its port, got "optional"; use one of these',
    ],
    ["no buckets", { buckets: undefined }, 'buckets is missing; use a list like ["files"]'],
    [
      "an empty list",
      { buckets: [] },
      'buckets must be a list of at least one name, got []; use a list like ["files"]',
    ],
    ["a bucket twice", { buckets: ["files", "files"] }, 'buckets must be distinct, got "files" twice; remove one'],
    [
      "a bucket with capitals",
      { buckets: ["Files"] },
      "buckets must consist of lower case letters, digits and hyphens, with a letter or digit at both ends, " +
        'got "Files"; use a name like "files"',
    ],
    [
      "the administrator as an application",
      { applications: ["admin"] },
      'applications must not contain "admin", which is the administrator; use another name',
    ],
    [
      "several applications without their buckets",
      { applications: ["cells", "backup"] },
      "applicationBuckets is missing, but there are 2 applications; " +
        'say which buckets each of them has, such as { cells: ["files"] }',
    ],
    [
      "buckets of nobody",
      { applicationBuckets: { cels: ["files"], cells: ["more"] } },
      "applicationBuckets.cels is not an argument; did you mean cells",
    ],
    [
      "an application without buckets",
      { applications: ["cells", "backup"], applicationBuckets: { cells: ["files"] } },
      "applicationBuckets.backup must be a list of at least one bucket, got nothing; " +
        "give it a bucket, or remove the application",
    ],
    [
      "an unknown bucket",
      { applicationBuckets: { cells: ["file"] } },
      'applicationBuckets.cells must contain names in buckets, got "file"; add it to buckets, or remove it here',
    ],
    [
      "a bucket of two",
      { applications: ["cells", "backup"], applicationBuckets: { cells: ["files"], backup: ["files"] } },
      'applicationBuckets must name each bucket once, got "files" for cells and backup; remove one',
    ],
    [
      "a region",
      { region: "EU" },
      'region must be lower case letters, digits and hyphens, got "EU"; use a name like "us-east-1"',
    ],
    ["a slip of the pen", { bucket: ["files"] }, "bucket is not an argument; did you mean buckets"],
  ])("refuse %s", (_, changes, message) => {
    expect(() => resolveObjectStore("s3", args(changes))).toThrow(`objectstore "s3": ${message}`);
  });

  it("are judged together", () => {
    expect(() => resolveObjectStore("s3", args({ members: 1, buckets: ["a"], storage: { size: "1Mi" } }))).toThrow(
      'objectstore "s3": 3 arguments are wrong\n',
    );
  });

  it.each([null, "x", 7, ["files"]])("survive nonsense for buckets of applications: %j", (nonsense) => {
    expect(() => resolveObjectStore("s3", args({ applicationBuckets: nonsense }))).toThrow("applicationBuckets");
  });
});

describe("names of buckets", () => {
  it.each(["pydiods1", "personal", "a-b", "0files", "x".repeat(63)])("may be %s", (name) => {
    expect(bucketProblem(name)).toBeUndefined();
  });
  it.each([
    "ab",
    "x".repeat(64),
    "-ab",
    "ab-",
    "a_b",
    "a.b",
    "Files",
    "192.168.1.1",
    "xn--a",
    "a-s3alias",
    "sthree-a",
    "",
  ])("may not be %s", (name) => {
    expect(bucketProblem(name)).toBeTypeOf("string");
  });
});
