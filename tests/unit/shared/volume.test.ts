import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { keepOwnVolume } from "../../../components/shared/agent/volume";

const own = { name: "etcd-1", namespace: "cells" };
let volume: string;

beforeEach(async () => {
  volume = await mkdtemp(join(tmpdir(), "volume-"));
});
afterEach(() => rm(volume, { recursive: true }));

describe("the volume of a member", () => {
  it("is its own for life", async () => {
    await keepOwnVolume(volume, own);
    await keepOwnVolume(volume, own);
    expect(await readdir(volume)).toEqual(["cells-services.json"]);
  });

  it.each([
    ["another member", { ...own, name: "etcd-2" }],
    ["another namespace", { ...own, namespace: "restored" }],
  ])("is not that of %s", async (_, other) => {
    await keepOwnVolume(volume, own);
    await expect(keepOwnVolume(volume, other)).rejects.toThrow(
      `the volume of ${other.name} in the namespace ${other.namespace} is noted as {"member":"etcd-1","namespace":"cells"}`,
    );
    await keepOwnVolume(volume, own);
  });
});
