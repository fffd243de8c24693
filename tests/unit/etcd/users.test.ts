import { describe, expect, it } from "vitest";
import { keepUsers } from "../../../components/etcd/agent";
import { type EtcdClient, everyKey, type Permission, type Status } from "../../../components/etcd/client";
import { askStatuses } from "../../../components/etcd/members";
import type { Credentials } from "../../../components/shared/core/users";

interface State {
  enabled: boolean;
  users: Map<string, { password: string; roles: string[] }>;
  roles: Map<string, Permission[]>;
}

const foreign =
  "etcd does not accept the password of root, nor those in the Secret that is kept with the data; restore that Secret, or " +
  "the state of the deployment that made the data, or delete the volume claims when their data is not needed";

const admin = { username: "root", password: "admin" };
const cells = (...passwords: string[]) => ({
  cells: passwords.map((password, index) => ({ username: index === 0 ? "cells" : "cells_alternate", password })),
});

const message = "etcd refused auth/authenticate: etcdserver: authentication failed, invalid user ID or password";

/** An etcd that can be killed before its n-th change. */
function fakeEtcd(candidates = [admin.password]) {
  const state: State = { enabled: false, users: new Map(), roles: new Map() };
  let changes = 0;
  let failAfter = Number.POSITIVE_INFINITY;
  const change = (apply: () => void): Promise<void> => {
    if (++changes > failAfter) return Promise.reject(new Error("killed"));
    apply();
    return Promise.resolve();
  };
  const user = (name: string) => {
    const found = state.users.get(name);
    if (found === undefined) throw new Error(`user ${name} not found`);
    return found;
  };
  const client = {
    authEnabled: async () => state.enabled,
    authenticates: async ({ username, password }: Credentials) => state.users.get(username)?.password === password,
    authEnable: () =>
      change(() => {
        if (!user("root").roles.includes("root")) throw new Error("root user does not have root role");
        state.enabled = true;
      }),
    userList: async () => {
      if (state.enabled && !candidates.includes(user("root").password)) {
        throw new Error(message);
      }
      return [...state.users.keys()];
    },
    userAdd: ({ username, password }: Credentials) =>
      change(() => {
        if (state.users.has(username)) throw new Error(`user ${username} exists`);
        state.users.set(username, { password, roles: [] });
      }),
    userDelete: (name: string) => change(() => void state.users.delete(name)),
    userRoles: async (name: string) => user(name).roles,
    userChangePassword: ({ username, password }: Credentials) =>
      change(() => void (user(username).password = password)),
    userGrantRole: (name: string, role: string) => change(() => void user(name).roles.push(role)),
    roleList: async () => [...state.roles.keys()],
    roleAdd: (role: string) =>
      change(() => {
        if (state.roles.has(role)) throw new Error(`role ${role} exists`);
        state.roles.set(role, []);
      }),
    roleDelete: (role: string) =>
      change(() => {
        state.roles.delete(role);
        for (const each of state.users.values()) each.roles = each.roles.filter((own) => own !== role);
      }),
    rolePermissions: async (role: string) => state.roles.get(role) ?? [],
    roleGrant: (role: string, permission: Permission) => change(() => void state.roles.get(role)?.push(permission)),
  } as Partial<EtcdClient> as EtcdClient;
  return {
    state,
    client,
    changes: () => changes,
    killAfter: (count: number) => {
      changes = 0;
      failAfter = count;
    },
  };
}

describe("users", () => {
  it("are made with their roles before authentication is enabled", async () => {
    const { state, client } = fakeEtcd();
    await keepUsers(client, admin, cells("secret"));
    expect(state.enabled).toBe(true);
    expect(Object.fromEntries(state.users)).toEqual({
      root: { password: "admin", roles: ["root"] },
      cells: { password: "secret", roles: ["application:cells"] },
    });
    expect(state.roles.get("application:cells")).toEqual([everyKey]);
  });

  it("are not touched when they are as they should be", async () => {
    const { client, changes } = fakeEtcd();
    await keepUsers(client, admin, cells("secret"));
    const before = changes();
    await keepUsers(client, admin, cells("secret"));
    expect(changes()).toBe(before);
  });

  it("come out the same when the setup is killed at any change", async () => {
    for (let killed = 0; killed < 12; killed++) {
      const etcd = fakeEtcd(["earlier", admin.password]);
      etcd.killAfter(killed);
      await keepUsers(etcd.client, { ...admin, password: "earlier" }, cells("earlier")).catch(() => undefined);
      if (etcd.state.enabled) continue;
      etcd.killAfter(Number.POSITIVE_INFINITY);
      await keepUsers(etcd.client, admin, cells("secret"));
      expect(etcd.state.enabled).toBe(true);
      expect(etcd.state.users.get("root")).toEqual({ password: "admin", roles: ["root"] });
      expect(etcd.state.users.get("cells")).toEqual({ password: "secret", roles: ["application:cells"] });
    }
  });

  it("of a setup that was killed, and of an application that was removed then, keep nobody from the next run", async () => {
    const other = { other: [{ username: "other", password: "secret" }] };
    const applications: Record<string, Credentials[]>[] = [{}, cells("zero"), other];
    for (const next of applications) {
      for (let killed = 0; killed < 14; killed++) {
        const etcd = fakeEtcd();
        etcd.killAfter(killed);
        await keepUsers(etcd.client, admin, cells("zero", "one")).catch(() => undefined);
        etcd.killAfter(Number.POSITIVE_INFINITY);
        await keepUsers(etcd.client, admin, next);
        expect(etcd.state.enabled).toBe(true);
        // A user without a role may be left, which may use no key.
        const withRole = [...etcd.state.users].filter(([, { roles }]) => roles.length > 0).map(([name]) => name);
        expect(withRole).toEqual(["root", ...Object.keys(next)]);
      }
    }
  });

  const stranger = (roles: string[]) => ({ password: "of a stranger", roles });
  it.each<[string, (state: State) => void, string]>([
    ["with the rights of root", ({ users }) => users.set("evil", stranger(["root"])), 'the user "evil" with "root"'],
    [
      "with the role of an application",
      ({ users, roles }) => {
        roles.set("application:cells", [everyKey]);
        users.set("backup", stranger(["application:cells"]));
      },
      'the user "backup" with "application:cells"',
    ],
    [
      "that is an application's, with more rights",
      ({ users }) => users.set("cells", stranger(["root"])),
      'the user "cells" with "root"',
    ],
    ["that has a role of its own", ({ roles }) => roles.set("guest", [everyKey]), 'the role "guest"'],
  ])("of a stranger, %s, keep etcd from letting them in", async (_, come, words) => {
    const { state, client } = fakeEtcd();
    come(state);
    await expect(keepUsers(client, admin, cells("secret"))).rejects.toThrow(
      `somebody else made users or roles while etcd asked for no password: ${words}; authentication was not enabled`,
    );
    expect(state.enabled).toBe(false);
  });

  it("of a stranger are judged no more when etcd asks for passwords, as a person may have made them", async () => {
    const { state, client } = fakeEtcd();
    await keepUsers(client, admin, cells("secret"));
    state.users.set("guest", stranger(["root"]));
    await keepUsers(client, admin, cells("secret"));
    expect(state.users.get("guest")).toEqual(stranger(["root"]));
  });

  it("get a changed password", async () => {
    const { state, client } = fakeEtcd();
    await keepUsers(client, admin, cells("one"));
    await keepUsers(client, admin, cells("two"));
    expect(state.users.get("cells")?.password).toBe("two");
  });

  it("are removed with their application, but users of somebody else stay", async () => {
    const { state, client } = fakeEtcd();
    await keepUsers(client, admin, cells("one"));
    state.users.set("guest", { password: "g", roles: ["guest"] });
    state.users.set("backup", { password: "b", roles: ["application:cells"] });
    await keepUsers(client, admin, {});
    expect([...state.users.keys()]).toEqual(["root", "guest", "backup"]);
    expect([...state.roles.keys()]).toEqual([]);
  });

  it("are not touched with a foreign administrator password", async () => {
    const { client, changes, state } = fakeEtcd();
    await keepUsers(client, admin, {});
    (state.users.get("root") as { password: string }).password = "of another deployment";
    const before = changes();
    await expect(keepUsers(client, admin, {})).rejects.toThrow(foreign);
    expect(changes()).toBe(before);
  });

  it("get the administrator's new password by one that is kept", async () => {
    const { client, state } = fakeEtcd(["new", "kept"]);
    await keepUsers(client, { ...admin, password: "kept" }, {});
    await keepUsers(client, { ...admin, password: "new" }, {});
    expect(state.users.get("root")?.password).toBe("new");
  });

  it("take turns, so that the former one is not touched by a rotation", async () => {
    const { client, changes, state } = fakeEtcd();
    await keepUsers(client, admin, cells("zero"));
    const before = changes();
    await keepUsers(client, admin, cells("zero", "one"));
    expect(state.users.get("cells")?.password).toBe("zero");
    expect(state.users.get("cells_alternate")).toEqual({ password: "one", roles: ["application:cells"] });
    // The new user, and its role.
    expect(changes()).toBe(before + 2);
    await keepUsers(client, admin, cells("two", "one"));
    expect(state.users.get("cells")?.password).toBe("two");
    await keepUsers(client, admin, {});
    expect([...state.users.keys()]).toEqual(["root"]);
    expect([...state.roles.keys()]).toEqual([]);
  });
});

describe("the status of all members", () => {
  const status = { clusterId: "77" } as Status;
  const members = (answers: Record<string, () => Promise<Status>>) =>
    askStatuses(Object.keys(answers), async (member) => ({ status: answers[member] as () => Promise<Status> }));

  it("tells who does not answer", async () => {
    const away = () => Promise.reject(new Error("connection refused"));
    expect(await members({ "etcd-0": away, "etcd-1": async () => status })).toEqual({
      members: [{ name: "etcd-1", status }],
      unreachable: ["etcd-0: connection refused"],
    });
  });

  it("is not waited for with a foreign administrator password", async () => {
    const refused = () => Promise.reject(new Error(message));
    await expect(members({ "etcd-0": refused, "etcd-1": async () => status })).rejects.toThrow(foreign);
  });
});
