import { describe, expect, it } from "vitest";
import { type NatsClusterArguments, resolveNats } from "../../../components/nats";
import { fileStoreBytes, pace, serverConfig, usersConfig } from "../../../components/nats/manifest";

function config(args: Partial<NatsClusterArguments> = {}): string {
  return serverConfig(resolveNats("nats", { namespace: "cells", ...args }), "cells");
}

const lines = (text: string): string[] => text.split("\n").filter((line) => !/^\s*(#.*)?$/.test(line));

describe("the configuration of the server", () => {
  it("is complete", () => {
    expect(lines(config())).toEqual(
      lines(`
server_name: $POD_NAME
port: 4222
max_payload: 1048576
http_port: 8222
pid_file: "/run/nats/nats.pid"
lame_duck_duration: "30s"
lame_duck_grace_period: "10s"
tls {
  cert_file: "/etc/nats-server-tls/tls.crt"
  key_file: "/etc/nats-server-tls/tls.key"
  timeout: 10
}
jetstream {
  store_dir: "/data"
  max_file_store: 6871947673
  max_memory_store: 268435456
  sync_interval: always
}
cluster {
  name: "cells-nats"
  port: 6222
  no_advertise: true
  routes: [
    "nats://nats-0.nats-peers.cells.svc:6222"
    "nats://nats-1.nats-peers.cells.svc:6222"
    "nats://nats-2.nats-peers.cells.svc:6222"
  ]
  tls {
    cert_file: "/etc/nats-peer-tls/tls.crt"
    key_file: "/etc/nats-peer-tls/tls.key"
    ca_file: "/etc/nats-trust/ca.crt"
    verify_cert_and_check_known_urls: true
    timeout: 10
  }
}
include "accounts.conf"
`),
    );
  });

  it("accepts plain text beside TLS when it is optional, from clients only", () => {
    const optional = lines(config({ tls: "optional" }));
    expect(optional).toContain("allow_non_tls: true");
    expect(optional.filter((line) => line !== "allow_non_tls: true")).toEqual(lines(config()));
  });

  it("has no certificates without TLS", () => {
    expect(config({ tls: "off" })).not.toMatch(/tls|crt|key/);
  });

  it("leaves syncing to the server's default when replication is enough", () => {
    expect(config({ durability: "replicated" })).not.toContain("sync_interval");
  });

  it("lists five members", () => {
    expect(config({ members: 5 }).match(/nats:\/\//g)).toHaveLength(5);
  });

  it("leaves a fifth of the volume free", () => {
    const ensemble = resolveNats("nats", { namespace: "cells", storage: { size: "10Gi" } });
    expect(fileStoreBytes(ensemble)).toBe(8 * 2 ** 30);
  });

  it("gives memory streams a quarter of the memory", () => {
    expect(config({ resources: { limits: { memory: "4Gi" } } })).toContain(`max_memory_store: ${2 ** 30}`);
  });

  it.each([
    ["1Mi", 2 ** 20],
    ["8Mi", 8 * 2 ** 20],
    ["31Mi", 31 * 2 ** 20],
  ])("takes messages of %s", (maxPayload, bytes) => {
    expect(lines(config({ maxPayload }))).toContain(`max_payload: ${bytes}`);
  });

  it.each([
    ["1000k", 'must be at least 1Mi, got "1000k"; use 1Mi or more'],
    ["32Mi", 'must be at most 31Mi, because streams store no larger messages, got "32Mi"; send large data in parts'],
    ["1.5Mi", 'must be a whole number with a unit, got "1.5Mi"; use a size like "8Mi"'],
    [8, 'must be a whole number with a unit, got 8; use a size like "8Mi"'],
  ])("refuses messages of %s", (maxPayload, message) => {
    expect(() => config({ maxPayload } as object)).toThrow(`maxPayload ${message}`);
  });

  it("ends its lame duck mode before it is killed", () => {
    const seconds = Number(/lame_duck_duration: "(\d+)s"/.exec(config())?.[1]);
    // The least that the server accepts.
    expect(seconds).toBeGreaterThanOrEqual(30);
    expect(pace.terminationGraceSeconds).toBeGreaterThanOrEqual(seconds + 20);
  });
});

describe("the users", () => {
  it("have an account for each application, and none reaches another's", () => {
    const users = usersConfig({
      admin: [{ username: "admin", password: "secretA" }],
      reconciler: [{ username: "reconciler", password: "secretR" }],
      applications: {
        cells: [
          { username: "cells_alternate", password: "secretC" },
          { username: "cells", password: "secretF" },
        ],
        portal: [{ username: "portal", password: "secretP" }],
      },
    });
    const [tag = "", ...others] = lines(users).reverse();
    expect(tag).toMatch(/^server_tags: \["users:[0-9a-f]+"\]$/);
    expect(others.reverse()).toEqual(
      lines(`
accounts {
  SYS {
    users: [
      { user: "admin", password: "secretA" }
      {
        user: "reconciler:SYS", password: "secretR"
        permissions {
          publish: ["$SYS.REQ.SERVER.*.RELOAD"]
          subscribe: ["_INBOX_RECONCILER.>"]
        }
      }
    ]
  }
  "cells" {
    jetstream: enabled
    users: [
      { user: "cells_alternate", password: "secretC" }
      { user: "cells", password: "secretF" }
      {
        user: "reconciler:cells", password: "secretR"
        permissions {
          publish: ["$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.UPDATE.*"]
          subscribe: ["_INBOX_RECONCILER.>", "$JS.EVENT.ADVISORY.STREAM.>"]
        }
      }
    ]
  }
  "portal" {
    jetstream: enabled
    users: [
      { user: "portal", password: "secretP" }
      {
        user: "reconciler:portal", password: "secretR"
        permissions {
          publish: ["$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.UPDATE.*"]
          subscribe: ["_INBOX_RECONCILER.>", "$JS.EVENT.ADVISORY.STREAM.>"]
        }
      }
    ]
  }
}
system_account: SYS
`),
    );
  });

  it("are only those of the servers without applications", () => {
    expect(usersConfig({ admin: [], reconciler: [], applications: {} })).not.toContain("jetstream");
  });
});
