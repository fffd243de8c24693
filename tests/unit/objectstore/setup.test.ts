import { describe, expect, it } from "vitest";
import { establish } from "../../../components/objectstore/agent";
import type { Admin, Buckets } from "../../../components/objectstore/api";
import type { Store } from "../../../components/objectstore/layout";
import { bucketPolicy, role, type User } from "../../../components/objectstore/rights";

const store: Store = {
  region: "us-east-1",
  buckets: ["files", "backups", "spare"],
  applicationBuckets: { cells: ["files"], backup: ["backups"] },
};
const users: User[] = ["cells", "backup"].map((name) => ({ accessKeyId: name, secretAccessKey: `of${name}`, role }));

/** What a server keeps, behind the calls that the setup makes. */
class Server {
  readonly users = new Map<string, User>();
  readonly buckets = new Map<string, { owner: string; policy?: string }>();
  changes = 0;
  /** The setup dies before this change. */
  killedAt = Number.POSITIVE_INFINITY;

  private change(apply: () => void): Promise<void> {
    if (this.changes >= this.killedAt) return Promise.reject(new Error("killed"));
    this.changes += 1;
    apply();
    return Promise.resolve();
  }

  readonly admin: Admin = {
    users: async () => [...this.users.values()],
    createUser: (user) => this.change(() => this.users.set(user.accessKeyId, user)),
    updateUser: (user) => this.change(() => this.users.set(user.accessKeyId, user)),
    deleteUser: (name) => this.change(() => this.users.delete(name)),
    owners: async () => new Map([...this.buckets].map(([name, { owner }]) => [name, owner])),
    changeOwner: (bucket, owner) => this.change(() => this.buckets.set(bucket, { owner })),
  };

  readonly api: Buckets = {
    list: async () => [...this.buckets.keys()],
    create: (name) => this.change(() => this.buckets.set(name, { owner: "admin" })),
    policy: async (name) => this.buckets.get(name)?.policy,
    putPolicy: (name, policy) =>
      this.change(() => this.buckets.set(name, { owner: this.buckets.get(name)?.owner ?? "", policy })),
  };

  setup(wanted: User[] = users): Promise<void> {
    return establish({ admin: this.admin, buckets: this.api, store, users: wanted, root: "admin" });
  }
}

async function whole(): Promise<Server> {
  const server = new Server();
  await server.setup();
  return server;
}

describe("the setup", () => {
  it("gives each application its user and its bucket, and the rest to the administrator", async () => {
    const server = await whole();
    expect([...server.users.values()]).toEqual(users);
    expect(Object.fromEntries(server.buckets)).toEqual({
      files: { owner: "cells", policy: JSON.stringify(bucketPolicy("files", "cells")) },
      backups: { owner: "backup", policy: JSON.stringify(bucketPolicy("backups", "backup")) },
      spare: { owner: "admin" },
    });
  });

  it("changes nothing when there is nothing to do", async () => {
    const server = await whole();
    const { changes } = server;
    await server.setup();
    expect(server.changes).toBe(changes);
  });

  it("comes to the same end wherever it was killed", async () => {
    const reference = await whole();
    for (let at = 0; at < reference.changes; at++) {
      const server = new Server();
      server.killedAt = at;
      await expect(server.setup(), `killed before change ${at}`).rejects.toThrow("killed");
      server.killedAt = Number.POSITIVE_INFINITY;
      await server.setup();
      expect(server.users).toEqual(reference.users);
      expect(server.buckets).toEqual(reference.buckets);
    }
  });

  it("keeps the bucket of an application that is gone, without its user", async () => {
    const server = await whole();
    server.buckets.set("old", { owner: "cells" });
    await server.setup(users.slice(0, 1));
    expect([...server.users.keys()]).toEqual(["cells"]);
    expect([...server.buckets.keys()]).toEqual(["files", "backups", "spare", "old"]);
  });
});
