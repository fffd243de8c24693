import { describe, expect, it } from "vitest";
import { difference, randomProvider } from "../../../sandbox/plugins/random/provider";
import type { Context } from "../../../sandbox/plugins/server/provider";
import type { PropertyMap } from "../../../sandbox/plugins/server/values";

const context: Context = { log: () => undefined, signal: new AbortController().signal };
const provider = randomProvider("0.0.0");
const password = "random:index/randomPassword:RandomPassword";
const randomId = "random:index/randomId:RandomId";
const resource = (type: string) => ({ urn: `urn:pulumi:s::p::${type}::n`, type, name: "n" });
const properties = (value: PropertyMap) => ({ value, secrets: [] });

function create(type: string, value: PropertyMap, preview = false) {
  return provider.create({ ...resource(type), inputs: properties(value), preview, timeoutSeconds: 0 }, context);
}

describe("the stand-in for random", () => {
  it("makes a password of letters and digits, secret, whose id tells nothing", async () => {
    const { id, state } = await create(password, { length: 32, special: false });
    expect(state.value["result"]).toMatch(/^[A-Za-z0-9]{32}$/);
    expect(state.secrets).toContainEqual(["result"]);
    expect(id).toBe("none");
  });

  it("makes another one each time, and none in a preview", async () => {
    const made = await Promise.all([1, 2].map(() => create(password, { length: 32, special: false })));
    expect(made[0]?.state.value["result"]).not.toBe(made[1]?.state.value["result"]);
    expect((await create(password, { length: 32, special: false }, true)).state.value).not.toHaveProperty("result");
  });

  it("makes an id of as many bytes", async () => {
    const { id, state } = await create(randomId, { byteLength: 8 });
    expect(state.value["hex"]).toBe(Buffer.from(id, "base64url").toString("hex"));
    expect(state.value["hex"]).toHaveLength(16);
  });

  it.each<[string, PropertyMap, RegExp]>([
    [password, { length: 0, special: false }, /^length must be a whole number of at least 1, got 0$/],
    [password, { length: 8 }, /^special must be false .*got undefined$/],
    [password, { length: 8, special: false, minLower: 1 }, /^minLower is not part of the stand-in/],
    ["random:index/randomPet:RandomPet", {}, /RandomPet is not part of the stand-in for random, which has/],
  ])("refuses %s %j", async (type, value, reason) => {
    const request = { ...resource(type), olds: undefined, news: properties(value), randomSeed: Buffer.alloc(0) };
    const { failures } = await provider.check(request);
    expect(failures.map((failure) => failure.reason)).toEqual([expect.stringMatching(reason) as string]);
  });

  it("replaces the value for any change, and keeps it without one", () => {
    expect(difference({ length: 8, keepers: { v: "1" } }, { length: 8, keepers: { v: "2" } })).toEqual({
      changed: true,
      detailed: { "keepers.v": "update-replace" },
      deleteBeforeReplace: false,
    });
    expect(difference({ length: 8 }, { length: 8 }).changed).toBe(false);
  });
});
