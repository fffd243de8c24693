import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { observeData } from "../../../components/objectstore/agent";
import { elements } from "../../../components/objectstore/api";
import { decide, type Identity, type Observed } from "../../../components/objectstore/member";
import type { Marker } from "../../../components/shared/core/marker";

const self: Identity = { name: "s3-0", storeId: "cells-s3", tls: "required" };
const marker: Marker = { clusterId: "cells-s3", members: 1, tls: "on", bootstrappedAt: "2026-01-01T00:00:00Z" };

describe("whether the server may start", () => {
  it.each<[string, Observed, "start" | "refuse", RegExp]>([
    ["first start", { data: "empty", marker: undefined }, "start", /never set up/],
    ["restart", { data: "present", marker: undefined }, "start", /holds buckets/],
    [
      "lost volume",
      { data: "empty", marker },
      "refuse",
      /the volume of s3-0 is empty, but .*2026-01-01.*destroy the component/,
    ],
    ["marker of another", { data: "empty", marker: { ...marker, clusterId: "cells-other" } }, "refuse", /cells-other/],
    ["another number of servers", { data: "empty", marker: { ...marker, members: 3 } }, "refuse", /3 members/],
  ])("%s", (_, observed, kind, reason) => {
    const action = decide(observed, self);
    expect(action.kind).toBe(kind);
    expect(action.reason).toMatch(reason);
  });
});

describe("the volume", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "objectstore-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  it("is empty without a bucket, whatever the server or the file system keeps there", async () => {
    expect(await observeData(join(directory, "none"))).toBe("empty");
    await mkdir(join(directory, ".vgwlocks"));
    await writeFile(join(directory, "file"), "");
    expect(await observeData(directory)).toBe("empty");
    await mkdir(join(directory, "files"));
    expect(await observeData(directory)).toBe("present");
  });
});

describe("answers of the admin API", () => {
  it("are read element by element", () => {
    const answer =
      '<?xml version="1.0"?>\n<ListBucketsResult><Buckets><Name>a</Name><Owner>cells</Owner></Buckets>' +
      "<Buckets><Name>b</Name><Owner></Owner></Buckets></ListBucketsResult>";
    const buckets = elements(answer, "Buckets");
    expect(buckets.map((each) => [elements(each, "Name")[0], elements(each, "Owner")[0]])).toEqual([
      ["a", "cells"],
      ["b", ""],
    ]);
    expect(elements("<ListBucketsResult></ListBucketsResult>", "Buckets")).toEqual([]);
  });
});
