import { describe, expect, it } from "vitest";
import { resolveMongodb } from "../../../components/mongodb";
import { address, connectionString, databaseOf } from "../../../components/mongodb/layout";
import { cacheGigabytes, logMegabytes, serverConfig } from "../../../components/mongodb/manifest";

const resolve = (changes: object = {}) => resolveMongodb("mongodb", { namespace: "cells", ...changes });

describe("the arguments of MongoDB", () => {
  it.each([
    [{ members: 2 }, "members must be odd so that a majority exists, got 2; use 3 or 5"],
    [{ members: 1 }, "members must be at least 3 so that one may fail, got 1; use 3 or 5"],
    [{ storage: { size: "1Gi" } }, 'storage.size must be at least 3Gi, got "1Gi"; use 3Gi or more'],
    [
      { applications: ["admin"] },
      'applications must not contain "admin", which is a database of the server itself; use another name',
    ],
    [
      { applications: ["local"] },
      'applications must not contain "local", which is a database of the server itself; use another name',
    ],
    [
      { resources: { requests: { memory: "128Mi" }, limits: { memory: "511Mi" } } },
      'resources.limits.memory must be at least 512Mi, half of it for the cache of the server, got "511Mi"; use 512Mi or more',
    ],
    [{ oplogSize: "989Mi" }, 'oplogSize must be at least 990Mi, got "989Mi"; use 990Mi or more'],
    [{ oplogSize: "2" }, 'oplogSize must be a whole number with a unit, got "2"; use a size like "2Gi"'],
    [{ oplogSize: 2048 }, 'oplogSize must be a whole number with a unit, got 2048; use a size like "2Gi"'],
    [
      { oplogSize: "5Gi" },
      'oplogSize must be at most half of storage.size (8Gi), because the data need the rest, got "5Gi"; use less, or a larger volume',
    ],
    [{ arbiter: true }, "arbiter is not an argument; use one of"],
  ])("refuses %j", (changes, message) => {
    expect(() => resolve(changes)).toThrow(message);
  });

  it.each(["4.4.29", "6.3.1", "8.1.0"])("refuses version %s, which a set does not come to in one step", (version) => {
    expect(() => resolve({ version })).toThrow(
      "version must be of the release 5.0, 6.0, 7.0 or 8.0, because a set goes from one release to the next only, " +
        `got "${version}"; use a version like "6.0.27"`,
    );
  });

  it("accepts the next release", () => {
    for (const version of ["5.0.4", "7.0.14", "8.0.4"]) expect(resolve({ version }).version).toBe(version);
  });

  it("takes the compatibility version that fits the version", () => {
    expect(resolve({ version: "7.0.14", featureCompatibilityVersion: "6.0" }).featureCompatibilityVersion).toBe("6.0");
    expect(() => resolve({ version: "7.0.14", featureCompatibilityVersion: "5.0" })).toThrow(
      'featureCompatibilityVersion must be 6.0 or 7.0 with version 7.0.14, got "5.0"; use 7.0',
    );
  });
});

describe("the configuration of mongod", () => {
  it("gives the cache half of the memory limit beyond 256 MiB, and at least what the server takes", () => {
    expect(cacheGigabytes(resolve({ resources: { limits: { memory: "4Gi" } } }))).toBe(1.87);
    expect(cacheGigabytes(resolve({ resources: { requests: { memory: "128Mi" }, limits: { memory: "512Mi" } } }))).toBe(
      0.25,
    );
  });

  it("keeps a twentieth of the volume for members that were away, and at least the least that the server takes", () => {
    expect(logMegabytes(resolve({ storage: { size: "100Gi" } }))).toBe(5120);
    expect(logMegabytes(resolve({ storage: { size: "3Gi" } }))).toBe(990);
  });

  it.each([
    ["4Gi", 4096],
    ["990Mi", 990],
    ["2G", 1907],
  ])("keeps %s for members that were away", (oplogSize, megabytes) => {
    expect(serverConfig(resolve({ oplogSize }))).toHaveProperty("replication.oplogSizeMB", megabytes);
  });

  it.each([
    ["required", "requireTLS"],
    ["optional", "preferTLS"],
  ] as const)("with tls %s is in mode %s and asks clients for no certificate", (tls, mode) => {
    expect(serverConfig(resolve({ tls }))).toMatchObject({
      net: { bindIpAll: true, ipv6: true, tls: { mode, allowConnectionsWithoutCertificates: true } },
      security: { authorization: "enabled" },
    });
  });

  it("without tls has none, and still passwords", () => {
    const config = serverConfig(resolve({ tls: "off" }));
    expect(config).not.toHaveProperty("net.tls");
    expect(config).toHaveProperty("security.authorization", "enabled");
  });
});

describe("the address of the set", () => {
  it("names every member, the set, the database, and no password", () => {
    const given = { name: "mongodb", namespace: "cells", members: 3, tls: "required" as const, database: "cells" };
    expect(address(given)).toBe(
      "mongodb://mongodb-0.mongodb-peers.cells.svc:27017,mongodb-1.mongodb-peers.cells.svc:27017," +
        "mongodb-2.mongodb-peers.cells.svc:27017/cells?replicaSet=mongodb&w=majority&tls=true",
    );
  });

  it("takes user and password where clients want them", () => {
    const user = { username: "cells", password: "a/b@c" };
    expect(connectionString("mongodb://a:27017,b:27017/cells?replicaSet=mongodb", user)).toBe(
      "mongodb://cells:a%2Fb%40c@a:27017,b:27017/cells?replicaSet=mongodb",
    );
  });

  it("has no hyphen in the name of a database", () => {
    expect(databaseOf("my-app")).toBe("my_app");
  });
});
