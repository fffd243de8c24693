import { describe, expect, it } from "vitest";
import type { Health, Server } from "../../../components/vault/client";
import {
  type Action,
  canElect,
  type Identity,
  isCutOff,
  isForgotten,
  isHalfMade,
  judge,
  type Observed,
  type Other,
  status,
} from "../../../components/vault/membership";

const self: Identity = {
  name: "vault-1",
  members: ["vault-0", "vault-1", "vault-2"],
  seal: "shamir",
  keysName: "vault-unseal",
};
const first: Identity = { ...self, name: "vault-0" };
const grown: Identity = { ...self, name: "vault-3", members: [...self.members, "vault-3", "vault-4"] };
const kms: Identity = { ...self, seal: "awskms", keysName: "vault-recovery" };

const serving: Health = {
  initialised: true,
  sealed: false,
  standby: true,
  removed: false,
  following: true,
  clusterId: "c1",
  version: "1.21.2",
};
const active: Health = { ...serving, standby: false, following: undefined };
const sealed: Health = { ...serving, sealed: true, following: undefined, clusterId: undefined };
const empty: Health = { ...sealed, initialised: false };

function seen(server: Health | undefined, changes: Partial<Observed> = {}): Observed {
  return {
    server: server === undefined ? { state: "away", reason: "refused" } : { state: "up", ...server },
    foreignSeal: false,
    volume: { forming: undefined, joined: undefined },
    marker: "absent",
    keys: "absent",
    others: {},
    waitingSeconds: 0,
    readySeconds: 0,
    openingSeconds: undefined,
    cutOffSeconds: 0,
    restarts: 0,
    certificates: "same",
    ...changes,
  };
}

function other(server: Health | undefined, says: { primary?: boolean; ready?: boolean } = {}): Other {
  return { server: seen(server).server, primary: says.primary ?? false, ready: says.ready ?? false };
}

const away = other(undefined);
const vacant = other(empty);
const leading = other(active, { primary: true, ready: true });
const following = other(serving, { ready: true });
const joining = other(sealed);

describe("what is done for a member", () => {
  const forming = { forming: "a1", joined: undefined };
  const joined = { forming: undefined, joined: "c1" };
  it.each<[string, Observed, Identity, Action | undefined]>([
    ["nothing while the server is away", seen(undefined), self, undefined],

    // Initialisation: only the first member, only when it was never done, only when everybody is here and empty.
    [
      "the first initialises when all are empty",
      seen(empty, { others: { "vault-1": vacant, "vault-2": vacant } }),
      first,
      { kind: "initialise" },
    ],
    ["others never do", seen(empty, { others: { "vault-0": vacant, "vault-2": vacant } }), self, undefined],
    ["not while one is away", seen(empty, { others: { "vault-1": vacant, "vault-2": away } }), first, undefined],
    ["not when one has data", seen(empty, { others: { "vault-1": joining, "vault-2": vacant } }), first, undefined],
    [
      "not when the marker says that it was done",
      seen(empty, { marker: { clusterId: "c1" }, others: { "vault-1": vacant, "vault-2": vacant } }),
      first,
      undefined,
    ],
    [
      "not when the marker is not known",
      seen(empty, { marker: "unknown", others: { "vault-1": vacant, "vault-2": vacant } }),
      first,
      undefined,
    ],
    [
      "not when there are keys of data that may come back",
      seen(empty, { keys: { attempt: "a0" }, others: { "vault-1": vacant, "vault-2": vacant } }),
      first,
      undefined,
    ],
    [
      "not when the keys are not known",
      seen(empty, { keys: "unknown", others: { "vault-1": vacant, "vault-2": vacant } }),
      first,
      undefined,
    ],

    // Interrupted at any point: the note on the volume tells of the attempt, the Secret of the one that was finished.
    ["the answer was stored", seen(sealed, { volume: forming, keys: { attempt: "a1" } }), first, { kind: "commit" }],
    [
      "the answer was lost",
      seen(sealed, { volume: forming }),
      first,
      { kind: "discard", reason: "its initialisation was interrupted, so nobody has its keys" },
    ],
    [
      "the answer was lost, and the key service has unsealed it",
      seen(active, { volume: forming }),
      { ...kms, name: "vault-0" },
      { kind: "discard", reason: "its initialisation was interrupted, so nobody has its keys" },
    ],
    [
      "the call was interrupted halfway",
      seen(empty, { volume: forming }),
      first,
      { kind: "discard", reason: "its initialisation was interrupted, so nobody has its keys" },
    ],
    [
      "the stored answer is that of an attempt before",
      seen(sealed, { volume: forming, keys: { attempt: "a0" } }),
      first,
      { kind: "discard", reason: "its initialisation was interrupted, so nobody has its keys" },
    ],
    ["not known whether it was stored", seen(sealed, { volume: forming, keys: "unknown" }), first, undefined],

    // Joining, one at a time.
    [
      "joins the active member",
      seen(empty, { others: { "vault-0": leading, "vault-2": away } }),
      self,
      { kind: "join", leader: "vault-0" },
    ],
    [
      "the first joins too when its volume was lost",
      seen(empty, { marker: { clusterId: "c1" }, others: { "vault-1": leading, "vault-2": following } }),
      first,
      { kind: "join", leader: "vault-1" },
    ],
    [
      "after those with a smaller number",
      seen(empty, { others: { "vault-0": leading, "vault-1": vacant } }),
      { ...self, name: "vault-2" },
      undefined,
    ],
    [
      "after one that is on its way",
      seen(empty, { others: { "vault-0": leading, "vault-2": joining } }),
      self,
      undefined,
    ],
    [
      "but not after one that never comes",
      seen(empty, { others: { "vault-0": leading, "vault-2": joining }, waitingSeconds: 60 }),
      self,
      { kind: "join", leader: "vault-0" },
    ],
    [
      "nobody that is active but not formed for certain",
      seen(empty, { others: { "vault-0": other(active), "vault-2": vacant } }),
      self,
      undefined,
    ],

    [
      "a further one joins, whatever the others know of it",
      seen(empty, { marker: { clusterId: "c1" }, others: { "vault-0": leading, "vault-4": vacant } }),
      grown,
      { kind: "join", leader: "vault-0" },
    ],

    // Unsealing.
    ["unseals with the shares", seen(sealed, { keys: { attempt: "a1" } }), self, { kind: "unseal" }],
    [
      "tries with the mounted shares while the API is away",
      seen(sealed, { keys: "unknown" }),
      self,
      { kind: "unseal" },
    ],
    ["not without shares", seen(sealed), self, undefined],
    [
      "not a server again that is at work with them",
      seen(sealed, { keys: { attempt: "a1" }, openingSeconds: 899 }),
      self,
      undefined,
    ],
    [
      "but restarts one that does not open",
      seen(sealed, { keys: { attempt: "a1" }, openingSeconds: 900 }),
      self,
      { kind: "restart", reason: "it was given the key shares and did not open" },
    ],
    ["never with awskms", seen(sealed, { keys: { attempt: "a1" } }), kms, undefined],
    [
      "not when the data were made with another seal",
      seen(sealed, { keys: { attempt: "a1" }, foreignSeal: true }),
      self,
      undefined,
    ],

    // Removed.
    [
      "removed before it had served",
      seen({ ...sealed, removed: true }),
      self,
      { kind: "discard", reason: "it was removed before it had served" },
    ],
    ["removed after it had served", seen({ ...sealed, removed: true }, { volume: joined }), self, undefined],

    // Serving.
    ["notes that it has served", seen(serving, { readySeconds: 30 }), self, { kind: "record", clusterId: "c1" }],
    ["not before the log was replayed for certain", seen(serving, { readySeconds: 29 }), self, undefined],
    ["once", seen(serving, { readySeconds: 99, volume: joined }), self, undefined],
    ["reads new certificates", seen(serving, { volume: joined, certificates: "changed" }), self, { kind: "reload" }],
  ])("%s", (_, observed, identity, action) => {
    expect(judge(observed, identity).action).toEqual(action);
  });
});

describe("a member without a lasting active member", () => {
  const cutOff: Health = { ...serving, following: false };
  const joined = { forming: undefined, joined: "c1" };
  const up = (health: Health): Server => ({ state: "up", ...health });
  const gone: Server = { state: "away", reason: "refused" };
  const actionOf = (server: Health, changes: Partial<Observed>) => judge(seen(server, changes), self).action;

  it("is restarted after a while, whatever it takes itself for", () => {
    expect(actionOf(cutOff, { volume: joined, cutOffSeconds: 59 })).toBeUndefined();
    expect(actionOf(cutOff, { volume: joined, cutOffSeconds: 60 })?.kind).toBe("restart");
    expect(actionOf(active, { volume: joined, cutOffSeconds: 60 })?.kind).toBe("restart");
  });

  it("gets twice the time after each restart", () => {
    expect(actionOf(cutOff, { volume: joined, cutOffSeconds: 239, restarts: 2 })).toBeUndefined();
    expect(actionOf(cutOff, { volume: joined, cutOffSeconds: 240, restarts: 2 })?.kind).toBe("restart");
  });

  it("is not restarted while it replays what it has missed before it ever served", () => {
    expect(actionOf(cutOff, { cutOffSeconds: 900 })).toBeUndefined();
  });

  it("is one that is open, and was no full member for a quarter of a minute", () => {
    expect(isCutOff(up(active), 14)).toBe(true);
    expect(isCutOff(up(active), 15)).toBe(false);
    expect(isCutOff(up(sealed), 0)).toBe(false);
    expect(isCutOff(gone, 0)).toBe(false);
  });

  it("waits for a majority that is open: alone, a restart cures nothing", () => {
    expect(canElect([up(cutOff), gone])).toBe(true);
    expect(canElect([up(sealed), gone])).toBe(false);
    expect(canElect([up(serving), gone, gone, gone])).toBe(false);
  });
});

describe("what is said of a member", () => {
  it.each<[Observed, Identity, boolean, boolean, string]>([
    [seen(undefined), self, false, false, "does not answer: refused"],
    [seen(active), self, true, true, "is active"],
    [seen(serving), self, true, false, "is standby and follows the active member"],
    [
      seen({ ...serving, following: undefined }),
      self,
      false,
      false,
      "is standby, but has no answer of an active member",
    ],
    [seen(active, { volume: { forming: "a", joined: undefined } }), first, false, false, "is being initialised"],
    [seen(sealed, { keys: { attempt: "a" } }), self, false, false, "is sealed and is being unsealed"],
    [
      seen(sealed),
      self,
      false,
      false,
      "is sealed, and the Secret vault-unseal with the key shares is missing; restore it; the data is kept",
    ],
    [seen(sealed), kms, false, false, "is sealed: the key service has not opened it; look at the log of the server"],
    [
      seen(sealed, { foreignSeal: true }),
      self,
      false,
      false,
      "is sealed: its data were made with another kind of seal; set seal as it was",
    ],
    [
      seen({ ...sealed, removed: true }, { volume: { forming: undefined, joined: "c1" } }),
      self,
      false,
      false,
      "was removed from the cluster; its data is kept; delete its volume claim and its pod to have it filled again",
    ],
    [
      seen({ ...sealed, removed: true }),
      self,
      false,
      false,
      "was removed from the cluster before it had served; it begins again",
    ],
    [seen(empty), self, false, false, "is not initialised: waiting for vault-0"],
    [
      seen(empty, { others: { "vault-1": vacant, "vault-2": away } }),
      first,
      false,
      false,
      "is not initialised: waiting for vault-2 before the cluster is formed",
    ],
    [
      seen(empty, { keys: { attempt: "a0" }, others: { "vault-1": vacant, "vault-2": vacant } }),
      first,
      false,
      false,
      "is not initialised: the Secret vault-unseal has the keys of data that is not here; bring the volumes with that data " +
        "back, or, when nobody wants that data, delete the Secret",
    ],
    [
      seen(empty, { others: { "vault-0": leading, "vault-2": joining } }),
      self,
      false,
      false,
      "is not initialised: it joins vault-0 after vault-2",
    ],
    [
      seen(empty, { marker: { clusterId: "c1" }, others: { "vault-1": away, "vault-2": vacant } }),
      first,
      false,
      false,
      "is not initialised: the cluster was formed before and no active member answers; bring a member with data back, " +
        "or destroy the component, delete its marker and volume claims if they were kept, and deploy it again",
    ],
  ])("%#", (observed, identity, ready, primary, text) => {
    expect(status(observed, identity)).toMatchObject({ ready, primary, detail: `${identity.name} ${text}` });
  });

  it.each<[string, Observed, Identity, boolean]>([
    ["data of another kind of seal", seen(sealed, { foreignSeal: true }), self, true],
    ["missing key shares", seen(sealed), self, true],
    ["key shares that are not known", seen(sealed, { keys: "unknown" }), self, false],
    ["a key service that has not opened it", seen(sealed), kms, false],
    ["lost volumes", seen(empty, { marker: { clusterId: "c1" }, others: { "vault-1": away } }), first, true],
    ["an API server that is away", seen(empty, { marker: "unknown", others: { "vault-1": away } }), first, false],
    [
      "keys of data that is not here",
      seen(empty, { keys: { attempt: "a1" }, others: { "vault-1": vacant, "vault-2": vacant } }),
      first,
      true,
    ],
    ["a removal", seen({ ...serving, removed: true }, { volume: { forming: undefined, joined: "c1" } }), self, false],
    ["nothing", seen(serving), self, false],
  ])("refuses, or waits, because of %s", (_, observed, identity, refused) => {
    expect(status(observed, identity).refused).toBe(refused);
  });

  it("counts a member that is away as neither sealed nor removed", () => {
    expect(status(seen(undefined), self).metrics).toEqual({ up: 0, initialised: 0, sealed: 0, removed: 0 });
    expect(status(seen(sealed), self).metrics).toEqual({ up: 1, initialised: 1, sealed: 1, removed: 0 });
  });
});

it("knows a server that was stopped while it began", () => {
  const said = "vault refused sys/init: could not bootstrap clustered storage: cluster already has state";
  expect(isHalfMade(new Error(said))).toBe(true);
  expect(isHalfMade(new Error("vault refused sys/init: Vault is already initialized"))).toBe(false);
});

it("knows a server whose answer the leader does not expect any more", () => {
  const said = "vault refused sys/unseal: no expected answer for the server id provided";
  expect(isForgotten(new Error(said))).toBe(true);
  expect(isForgotten(new Error("vault refused sys/unseal: invalid key"))).toBe(false);
});
