/** Where etcd of dev is copied to by default. */
import { describe, expect, it } from "vitest";
import { parseConfig } from "../../../stacks/config";
import { dev } from "../../../stacks/dev";

function storeWith(values: Record<string, unknown>): unknown {
  const given = Object.entries({ kubeContext: "test", ...values });
  const texts = given.map(([key, value]) => [
    `project:${key}`,
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
  const { config, problems } = parseConfig("project", "dev", Object.fromEntries(texts) as Record<string, string>);
  expect(problems).toEqual([]);
  return config && dev(config).services.etcd?.backups?.store;
}

describe("backups of etcd in dev", () => {
  const store = {
    url: "https://objectstore.cells.svc:9000",
    bucket: "cells-backups",
    credentials: "objectstore-application-backup",
  };

  it.each<[string, Record<string, unknown>, unknown]>([
    ["go to the object store of the stack", {}, store],
    ["go to that in its namespace", { namespace: "shop" }, { ...store, url: "https://objectstore.shop.svc:9000" }],
    ["go there without TLS", { objectstore: { tls: "off" } }, { ...store, url: "http://objectstore.cells.svc:9000" }],
    ["are signed for its region", { objectstore: { region: "here" } }, { ...store, region: "here" }],
    ["are not made without it", { services: ["etcd"] }, undefined],
  ])("%s", (_, values, expected) => {
    expect(storeWith(values)).toEqual(expected);
  });
});
