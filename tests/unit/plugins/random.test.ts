import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { random } from "../../../sandbox/plugins/random/random";
import { type PropertyMap, refusals, replacements, typeOf } from "../../../sandbox/plugins/server/resource";

const password = typeOf(random, "random:index/randomPassword:RandomPassword");
const randomId = typeOf(random, "random:index/randomId:RandomId");

describe("the stand-in for random", () => {
  it("makes another password of letters and digits each time, whose id tells nothing", async () => {
    const made = await Promise.all([1, 2].map(() => password.create(undefined, { length: 32, special: false })));
    const [first, second] = made.map(({ outputs }) => outputs?.["result"]);
    expect(first).toMatch(/^[A-Za-z0-9]{32}$/);
    expect(second).not.toBe(first);
    expect(made[0]?.id).toBe("none");
  });

  it("makes an id of as many bytes", async () => {
    const { id, outputs } = await randomId.create(undefined, { byteLength: 8 });
    expect(outputs?.["hex"]).toBe(Buffer.from(id, "base64url").toString("hex"));
    expect(outputs?.["hex"]).toHaveLength(16);
  });

  it("makes a UUID, which is the id as well", async () => {
    const { id, outputs } = await typeOf(random, "random:index/randomUuid:RandomUuid").create(undefined, {});
    expect(outputs).toEqual({ result: id });
    expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  });

  it.each<[PropertyMap, RegExp]>([
    [{ length: 0, special: false }, /^the length must be a whole number of at least 1, got 0$/],
    [{ length: 8 }, /^special must be false in the stand-in for random; use the official plugin$/],
  ])("makes no password of %j", async (inputs, reason) => {
    await expect(password.create(undefined, inputs)).rejects.toThrow(reason);
  });

  it("refuses other inputs and types", () => {
    expect(refusals("random", "RandomId", randomId.inputs, { byteLength: 8, prefix: "a" })).toEqual([
      'RandomId has no input "prefix" in the stand-in for random; it has byteLength; use the official plugin',
    ]);
    expect(() => typeOf(random, "random:index/randomPet:RandomPet")).toThrow(/RandomPet is not part of the stand-in/);
  });

  it("has every type that a component uses", () => {
    const folder = join(__dirname, "..", "..", "..", "components");
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
    const imported = files.flatMap((file) =>
      [...readFileSync(join(folder, file), "utf8").matchAll(/"@pulumi\/random\/(\w+)"/g)].map(([, name]) => name),
    );
    const known = Object.keys(random.types).map((token) => token.split(/[/:]/)[2]);
    expect(known.sort()).toEqual([...new Set(imported)].sort());
  });

  it("replaces the value for any change", () => {
    expect(replacements(password, { length: 8, special: false }, { length: 9, special: false })).toEqual(["length"]);
  });
});
