/** Proves over plain HTTPS that Vault works as its users need it. */
import { randomBytes } from "node:crypto";
import { checkCertificates, refusedWithAlert } from "../shared/check/certificates";
import {
  answerSeconds,
  beginCheck,
  type CheckContext,
  everywhere,
  failIfAny,
  greetMembers,
  type Place,
} from "../shared/check/context";
import { applicationValues, trustOf } from "../shared/check/logins";
import { checkStrangers, refusal } from "../shared/check/strangers";
import type { Check, CheckTarget } from "../shared/core/check";
import { memberHost } from "../shared/core/names";
import { type Peer, type TokenInfo, type VaultClient, VaultError, vaultClient } from "./client";
import { ports, rootName, scheme } from "./layout";
import { describeServer, isServing } from "./membership";
import { monitorRole } from "./policies";

const day = 86_400;
/** The job renews daily: one that lives shorter has been missed for weeks. */
const shortestTokenSeconds = 2 * day;
/** The same for all runs, since a policy may not allow to remove it. */
const probeKey = "cells-services-check";

interface Access {
  ca: string | undefined;
  token: string | undefined;
}

export const check: Check = async (target, environment) => {
  const context = beginCheck(target, environment);
  const { findings, step, member: memberPlace, address } = context;

  let access: Access = { ca: undefined, token: undefined };
  const known = await step(
    "credentials",
    `look at the Secret ${target.adminSecret}, the ConfigMap ${target.trust ?? "(none)"} and the log of the setup job`,
    async () => {
      access = { ca: await trustOf(target, environment), token: undefined };
      const { token } = await environment.secret(target.adminSecret);
      if (!token) throw new Error(`token in the Secret ${target.adminSecret} is missing`);
      access.token = token;
      return `monitoring token${access.ca === undefined ? "" : " and trust bundle"} found`;
    },
  );
  // Members state their health without a token, which helps to find out why the token is missing.
  if (!known && access.ca === undefined && target.tls !== "off") return findings;
  const anonymous: Access = { ...access, token: undefined };

  const serving: Place[] = [];
  const clusters = new Set<string>();
  const seals: Record<string, string> = {};
  await greetMembers(context, async (place) => {
    const client = await connect(place, anonymous);
    const health = await client.health();
    const state = describeServer(health);
    if (!isServing(health)) throw new Error(state);
    serving.push(place);
    clusters.add(health.clusterId ?? "");
    const { type } = await client.sealStatus();
    seals[place.name] = type;
    return `${state}; seal ${type}; vault ${health.version}`;
  });
  const [first] = serving;
  if (first === undefined) return findings;

  await step("cluster", "members of different clusters: look at the volumes and at the marker", async () => {
    if (clusters.size !== 1) throw new Error(`the members belong to different clusters: ${[...clusters].join(", ")}`);
    return `one cluster, ${[...clusters].join("")}`;
  });
  await step("seal", "the members do not run with the seal that is deployed: look at their configuration", async () => {
    failIfAny(sealProblems(seals, target.seal));
    return `${[...new Set(Object.values(seals))].join("")} on ${Object.keys(seals).join(", ")}`;
  });
  if (known) {
    const logs = "look at the logs of the members; a removed member needs a person, see docs/vault.md";
    await step("peers", logs, async () => checkPeers(target, await connect(first, access)));
    await step("monitoring token", "look at the log of the job that keeps the tokens", async () =>
      describeToken(await (await connect(first, access)).lookupSelf(), monitorRole),
    );
    await step("audit", "look at the argument audit and at the log of the setup job", async () => {
      const devices = Object.keys((await (await connect(first, access)).read<object>("sys/audit")) ?? {});
      failIfAny(auditProblems(devices, target.audit));
      return devices.length === 0 ? "requests are not recorded" : `requests are recorded: ${devices.join(", ")}`;
    });
  }
  await step("root token", "the setup has not revoked it: look at its log", async () => {
    const { token } = await environment.secret(rootName(target.name));
    if (token) throw new Error(`the Secret ${rootName(target.name)} still has a root token`);
    return "revoked";
  });

  for (const application of Object.keys(target.applications)) await checkApplication(context, application, serving);

  const places = [...serving, address];
  const metricsPorts = serving.map(({ name }) => memberPlace(name, target.metricsPort));
  const wrong: Access = { ...access, token: `hvs.${randomBytes(18).toString("base64url")}` };
  await checkStrangers(context, {
    places,
    access: anonymous,
    strangers: [
      { check: "anonymous access", who: "a client without a token", access: [anonymous], refusal: denied },
      { check: "wrong token", who: "a client with a wrong token", access: [wrong], refusal: denied },
    ],
    enter: async (place, as) => {
      const client = await connect(place, as);
      return as.token === undefined ? client.mounts() : client.lookupSelf();
    },
    alive: async (place, as) => (await connect(place, as)).health(),
    plainText: {
      hello: `GET /v1/sys/health HTTP/1.1\r\nHost: ${target.host}\r\nConnection: close\r\n\r\n`,
      served: /^HTTP\/1\.[01] (?!400)/,
      refused: /^HTTP\/1\.[01] 400/,
    },
    remedy: "a policy lets everybody in: look at the policies in Vault, and at the log of the members named",
  });
  await step("metrics", "look at the listener for metrics in the configuration, and at the metrics port", async () => {
    const path = "sys/metrics?format=prometheus";
    await everywhere(serving, async (place) =>
      refusal((await connect(place, anonymous)).read(path), noMetrics, "a client without a token"),
    );
    return everywhere(metricsPorts, async (place) => {
      await (await connect(place, anonymous)).read(path);
      return "metrics without a token on their own port only";
    });
  });
  await checkCertificates(context, access.ca, [...places, ...metricsPorts]);
  const { ca } = access;
  if (ca !== undefined) {
    // Vault makes the certificates of this port itself, and shows them to members only.
    await step("peer port", "look at cluster_address in the configuration of the members named", () =>
      everywhere(
        serving.map(({ name }) => memberPlace(name, ports.peer)),
        (place) => refusedWithAlert(place, ca),
      ),
    );
  }
  return findings;
};

/** In words; empty when all members have the seal that is deployed. */
export function sealProblems(seals: Record<string, string>, deployed: string | undefined): string[] {
  const [first] = Object.values(seals);
  const expected = deployed ?? first;
  return Object.entries(seals)
    .filter(([, seal]) => seal !== expected)
    .map(([member, seal]) => `${member} has the seal ${seal}, expected ${expected ?? ""}`);
}

/** In words; empty when requests are recorded as deployed. A device that somebody added does not matter. */
export function auditProblems(devices: string[], deployed: CheckTarget["audit"]): string[] {
  if (deployed !== "stdout" || devices.includes("stdout/")) return [];
  return ["requests are not recorded in stdout, which audit asks for"];
}

/** A standby does not answer, but names the active member, which refuses. */
const noMetrics = /permission denied|missing client token|status 307/;
const denied = /permission denied|missing client token|invalid token/;

async function connect(place: Place, { ca, token }: Access): Promise<VaultClient> {
  const { host, port } = await place.dial();
  const url = `${ca === undefined ? "http" : "https"}://${host}:${port}`;
  return vaultClient({ url, ca, servername: place.host, token, timeoutSeconds: answerSeconds });
}

async function checkPeers(target: CheckTarget, client: VaultClient): Promise<string> {
  const [peers, autopilot] = await Promise.all([client.peers(), client.autopilotState()]);
  const reason = whyNotWhole(target, peers);
  if (reason !== undefined) throw new Error(reason);
  const ill = autopilot.servers.filter(({ healthy }) => !healthy).map(({ address }) => address);
  if (!autopilot.healthy) throw new Error(`autopilot does not call it healthy: ${ill.join(", ") || "no reason given"}`);
  const tolerated = Math.floor((target.members.length - 1) / 2);
  if (autopilot.failureTolerance < tolerated) {
    throw new Error(`${autopilot.failureTolerance} members may fail, expected ${tolerated}`);
  }
  const leader = peers.find((peer) => peer.leader);
  return `${peers.length} voters, ${memberOf(target, leader?.address ?? "")} leads, ${tolerated} may fail`;
}

type Members = Pick<CheckTarget, "name" | "namespace" | "members">;

/** undefined: the peers are exactly the members of the StatefulSet, all with a vote, and one leads. */
export function whyNotWhole(target: Members, peers: Peer[]): string | undefined {
  const names = peers.map(({ address }) => memberOf(target, address)).sort();
  const expected = [...target.members].sort();
  if (names.join() !== expected.join()) return `the peers are ${names.join(", ")}, expected ${expected.join(", ")}`;
  const mute = peers.filter(({ voter }) => !voter).map(({ address }) => memberOf(target, address));
  if (mute.length > 0) return `without a vote: ${mute.join(", ")}`;
  const leaders = peers.filter(({ leader }) => leader);
  return leaders.length === 1 ? undefined : `${leaders.length} peers lead`;
}

/** The member with this address, or the address when there is none. */
export function memberOf(target: Members, address: string): string {
  const [host] = address.split(":");
  return target.members.find((member) => memberHost(target.name, target.namespace, member) === host) ?? address;
}

function describeToken(token: TokenInfo, role: string): string {
  if (token.policies.join() !== role)
    throw new Error(`its policies are ${token.policies.join(", ")}, expected ${role}`);
  if (!token.renewable || !token.orphan) throw new Error("it cannot be renewed for ever");
  const days = (token.ttlSeconds / day).toFixed(1);
  if (token.ttlSeconds < shortestTokenSeconds) throw new Error(`it lives for ${days} more days only`);
  return `renewable, lives for ${days} more days`;
}

/** Uses only what the Secret of the application holds, as the application will. */
async function checkApplication(
  { target, environment, step, address }: CheckContext,
  application: string,
  members: Place[],
): Promise<void> {
  const secret = target.applications[application] ?? "";
  const remedy = `look at the Secret ${secret} and at the logs of the jobs setup and tokens`;
  let access: Access = { ca: undefined, token: undefined };
  let mounts: string[] = [];
  const open = (place: Place): Promise<VaultClient> => connect(place, access);
  const usable = await step(`application ${application}: token`, remedy, async () => {
    const { values, ca } = await applicationValues(target, environment, application, () => ({
      url: `${scheme(target.tls)}://${target.host}:${target.clientPort}`,
    }));
    const { token } = values;
    if (!token) throw new Error(`token in the Secret ${secret} is missing`);
    access = { token, ca };
    mounts = (values["mounts"] ?? "").split(",").filter((mount) => mount !== "");
    return everywhere(members, async (member) => {
      const info = await (await open(member)).lookupSelf();
      return describeToken(info, info.role ?? "");
    });
  });
  if (!usable) return;
  await step(`application ${application}: address`, "look at the Service and at which members are ready", async () => {
    await (await open(address)).lookupSelf();
    return `${target.host} leads to a member`;
  });
  for (const mount of mounts) {
    await step(`application ${application}: mount ${mount}`, "look at mounts and policies of the component", () =>
      checkMount(members, open, mount),
    );
  }
  await step(`application ${application}: nothing else`, "its policy opens too much: look at it in Vault", async () => {
    const client = await open(address);
    const outside: Record<string, () => Promise<unknown>> = {
      "the list of mounts": () => client.mounts(),
      "the list of policies": () => client.list("sys/policies/acl"),
      "a key of another mount": () => client.write(`${probeKey}-outside/data/x`, { data: { x: "1" } }),
      "a token for others": () => client.write("auth/token/create", {}),
    };
    await everywhere(Object.keys(outside), async (what) =>
      refusal(outside[what]?.() ?? Promise.resolve(), denied, `${application}, asking for ${what},`),
    );
    return `refused: ${Object.keys(outside).join(", ")}`;
  });
}

/** Writes through one member and reads through all; standbys pass on what they are asked. */
async function checkMount(
  members: Place[],
  open: (member: Place) => Promise<VaultClient>,
  mount: string,
): Promise<string> {
  const [first] = members;
  if (first === undefined) throw new Error("no member answers");
  const client = await open(first);
  const [path, pathOfMetadata] = [`${mount}/data/${probeKey}`, `${mount}/metadata/${probeKey}`];
  const [data = [], metadata = [], list = []] = await mayDo(client, [path, pathOfMetadata, `${mount}/metadata/`]);
  failIfAny(mountProblems(mount, data));
  const value = randomBytes(8).toString("hex");
  await client.write(path, { data: { value } });
  const read = await everywhere(members, async (member) => {
    const found = await (await open(member)).read<{ data?: { value?: string } }>(path);
    if (found?.data?.value !== value) throw new Error(`it did not read what was written through ${first.name}`);
    return "read";
  });
  const done = [`written through ${first.name}`, read];
  if (list.includes("list")) {
    const keys = await client.list(`${mount}/metadata`);
    if (!keys.includes(probeKey)) throw new Error("a key that was written is not in the list");
    done.push("listed");
  }
  if (metadata.includes("delete")) {
    await client.remove(pathOfMetadata);
    done.push("removed");
  } else if (data.includes("delete")) {
    await client.remove(path);
    done.push("deleted");
  }
  return done.join(", ");
}

/** In words; empty when the policy allows the check to write a key and to read it: otherwise nothing is proven. */
export function mountProblems(mount: string, capabilities: string[]): string[] {
  const missing = ["create", "update", "read"].filter((each) => !capabilities.includes(each)).join(", ");
  const path = `${mount}/data/${probeKey}`;
  return missing === "" ? [] : [`not tried: the policy does not allow ${missing} at ${path}; add this path to it`];
}

/** What the client's token may do, for each path. */
export async function mayDo(client: VaultClient, paths: string[]): Promise<string[][]> {
  const answer = await client.write<{ data?: Record<string, string[]> }>("sys/capabilities-self", { paths });
  if (answer?.data === undefined) throw new VaultError("sys/capabilities-self", 200, ["no capabilities in the answer"]);
  return paths.map((path) => answer.data?.[path] ?? []);
}
