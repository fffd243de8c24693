import { beforeEach, expect, it, vi } from "vitest";
import { decoded, type KubernetesApi, type KubernetesObject } from "../../../components/shared/agent/kubernetes";
import type { TokenInfo } from "../../../components/vault/client";
import type { SetupSettings } from "../../../components/vault/layout";
import { applicationRole, monitorRole } from "../../../components/vault/policies";
import type * as setup from "../../../components/vault/setup";

const day = 86_400;
/** By token. */
const known: Record<string, TokenInfo> = {};
const renewed: string[] = [];

vi.mock("../../../components/vault/client", async (importOriginal) => ({
  ...(await importOriginal<object>()),
  vaultClient: ({ token = "" }: { token?: string }) => ({
    lookupSelf: async () => known[token],
    renewSelf: async () => {
      renewed.push(token);
      return 30 * day;
    },
  }),
}));

/** Loaded anew, because test files share their modules: another one may have loaded it with the real client. */
async function renewTokens(refused?: string): Promise<void> {
  vi.resetModules();
  const loaded = await vi.importActual<typeof setup>("../../../components/vault/setup");
  refusal = refused;
  await loaded.renewTokens({ settings, namespace: "cells", api });
}

const settings: SetupSettings = {
  service: "vault",
  name: "vault",
  members: 3,
  tls: "off",
  applications: ["cells", "other"],
  deletion: "keep",
  seal: { type: "shamir" },
  mounts: {},
  policies: {},
  audit: "stdout",
  tokenPeriodDays: 30,
  passwords: { rotation: 0 },
  applicationNamespaces: { cells: "app" },
};

interface Written extends KubernetesObject {
  data?: Record<string, string>;
}

let written: Record<string, Record<string, string>>;
let refusal: string | undefined;

const tokens: Record<string, string> = {
  "vault-admin": "of-admin",
  "vault-application-cells": "of-cells",
  "vault-application-other": "of-other",
};
const pathOf = (namespace: string, secret: string): string => `/api/v1/namespaces/${namespace}/secrets/${secret}`;

const api: KubernetesApi = {
  async get<T extends KubernetesObject>(path: string) {
    const token = Object.entries(tokens).find(([secret]) => path === pathOf("cells", secret))?.[1] ?? "";
    const data = { token: Buffer.from(token).toString("base64"), former: Buffer.from("former").toString("base64") };
    return { data } as KubernetesObject as T;
  },
  create: async () => "exists",
  async apply(path, object: Written) {
    if (refusal !== undefined) throw new Error(refusal);
    written[path] = decoded(object.data);
  },
  remove: () => Promise.reject(new Error("nothing is removed")),
  evict: () => Promise.reject(new Error("nothing is evicted")),
};

beforeEach(() => {
  written = {};
  refusal = undefined;
  renewed.length = 0;
  const ofRole = (role: string, ttlSeconds: number): TokenInfo => ({
    role,
    ttlSeconds,
    policies: [],
    renewable: true,
    orphan: true,
    rotation: 0,
  });
  known["of-admin"] = ofRole(monitorRole, 30 * day);
  known["of-cells"] = ofRole(applicationRole("cells"), 30 * day);
  known["of-other"] = ofRole(applicationRole("other"), 20 * day);
});

it("writes the token of an application to the namespace in which it runs, and no former one", async () => {
  await renewTokens();
  expect(written).toEqual({ [pathOf("app", "vault-application-cells")]: { token: "of-cells" } });
});

it("renews all tokens, also when a namespace is gone, and says which", async () => {
  await expect(renewTokens('namespaces "app" not found')).rejects.toThrow(
    /^vault-application-cells: namespaces "app" not found$/,
  );
  expect(renewed).toEqual(["of-other"]);
});
