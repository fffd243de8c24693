import { randomBytes, randomInt, randomUUID } from "node:crypto";
import type { ResourceType, StandIn, Value } from "../server/resource";

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

const password: ResourceType<undefined> = {
  inputs: ["length", "special", "keepers.rotation"],
  replaces: ["length", "special", "keepers"],
  create: async (_, { length, special }) => {
    if (special !== false) throw new Error("special must be false in the stand-in for random; use the official plugin");
    const result = Array.from({ length: count(length) }, () => letters[randomInt(letters.length)]).join("");
    // The password must not become the id, which is no secret.
    return { id: "none", outputs: { result } };
  },
  delete: async () => undefined,
};

const id: ResourceType<undefined> = {
  inputs: ["byteLength"],
  replaces: ["byteLength"],
  create: async (_, { byteLength }) => {
    const bytes = randomBytes(count(byteLength));
    return { id: bytes.toString("base64url"), outputs: { hex: bytes.toString("hex") } };
  },
  delete: async () => undefined,
};

const uuid: ResourceType<undefined> = {
  inputs: [],
  replaces: [],
  create: async () => {
    const result = randomUUID();
    return { id: result, outputs: { result } };
  },
  delete: async () => undefined,
};

function count(length: Value | undefined): number {
  if (typeof length === "number" && Number.isSafeInteger(length) && length >= 1) return length;
  throw new Error(`the length must be a whole number of at least 1, got ${JSON.stringify(length)}`);
}

/** The stand-in for the official `random` plugin. A value is nowhere but in the state. */
export const random: StandIn<undefined> = {
  name: "random",
  settings: [],
  connect: () => undefined,
  types: {
    "random:index/randomPassword:RandomPassword": password,
    "random:index/randomId:RandomId": id,
    "random:index/randomUuid:RandomUuid": uuid,
  },
};
