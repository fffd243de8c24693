/** Proves over plain HTTPS that Vault works as its users need it. */
import { randomBytes } from "node:crypto";
import { expectUrl, refusal, unrelatedAuthority, untrusted } from "../shared/check/logins";
import type { Check, CheckEnvironment, CheckTarget } from "../shared/core/check";
import { findingRecorder, type Recorder } from "../shared/core/findings";
import { memberHost } from "../shared/core/names";
import { type Peer, type TokenInfo, type VaultClient, VaultError, vaultClient } from "./client";
import { rootName, scheme } from "./layout";
import { describeServer } from "./membership";
import { monitorRole } from "./policies";

/** An answer takes milliseconds; ten seconds cover an election and a slow tunnel. */
const timeoutSeconds = 10;
const day = 86_400;
/** The job renews daily: one that lives shorter has been missed for weeks. */
const shortestTokenSeconds = 2 * day;
/** One for all runs where it cannot be removed again. */
const probeKey = "cells-services-check";

type Step = Recorder["step"];

interface Access {
  ca: string | undefined;
  token: string | undefined;
}

export const check: Check = async (target, environment) => {
  const { findings, step } = findingRecorder(environment);
  const open = (member: string, access: Access, port = target.clientPort): Promise<VaultClient> =>
    connect(target, environment, { member, access, port });

  let access: Access = { ca: undefined, token: undefined };
  const known = await step(
    "credentials",
    `look at the Secret ${target.adminSecret}, the ConfigMap ${target.trust ?? "(none)"} and the log of the setup job`,
    async () => {
      const ca = target.trust === null ? undefined : (await environment.configMap(target.trust))["ca.crt"];
      if (target.trust !== null && !ca) throw new Error(`ca.crt in the ConfigMap ${target.trust} is missing`);
      const { token } = await environment.secret(target.adminSecret);
      access = { ca, token: undefined };
      if (!token) throw new Error(`token in the Secret ${target.adminSecret} is missing`);
      access = { ca, token };
      return `monitoring token${ca === undefined ? "" : " and trust bundle"} found`;
    },
  );
  // Without a token the members can still say what they are, which is what one wants to know then.
  if (!known && access.ca === undefined && target.tls !== "off") return findings;

  const serving: string[] = [];
  const clusters = new Set<string>();
  for (const member of target.members) {
    await step(
      `member ${member}`,
      `look at the pod ${member}, at the log of its containers vault and agent`,
      async () => {
        const client = await open(member, { ...access, token: undefined });
        const health = await client.health();
        const state = describeServer(health);
        if (!health.initialised || health.sealed || health.removed) throw new Error(state);
        if (health.standby && health.following !== true) throw new Error(state);
        serving.push(member);
        clusters.add(health.clusterId ?? "");
        const seal = await client.sealStatus();
        const secured = access.ca === undefined ? "plain text" : "TLS, certificate verified";
        return `${state}; ${secured}; seal ${seal.type}; vault ${health.version}`;
      },
    );
  }
  const [first] = serving;
  if (first === undefined) return findings;
  const everywhere = (attempt: (member: string) => Promise<string>): Promise<string> => onEach(serving, attempt);

  await step("cluster", "members of different clusters: look at the volumes and at the marker", async () => {
    if (clusters.size !== 1) throw new Error(`the members belong to different clusters: ${[...clusters].join(", ")}`);
    return `one cluster, ${[...clusters].join("")}`;
  });
  if (known) {
    await step(
      "peers",
      "look at the logs of the members; a removed member needs a person, see docs/vault.md",
      async () => checkPeers(target, await open(first, access)),
    );
    await step("monitoring token", "look at the log of the job that keeps the tokens", async () =>
      describeToken(await (await open(first, access)).lookupSelf(), monitorRole),
    );
    await step("audit", "look at the argument audit and at the log of the setup job", async () => {
      const devices = Object.keys((await (await open(first, access)).read<object>("sys/audit")) ?? {});
      return devices.length === 0 ? "requests are not recorded" : `requests are recorded: ${devices.join(", ")}`;
    });
  }
  await step("root token", "the setup has not revoked it: look at its log", async () => {
    const { token } = await environment.secret(rootName(target.name));
    if (token) throw new Error(`the Secret ${rootName(target.name)} still has a root token`);
    return "revoked";
  });

  for (const [application, secret] of Object.entries(target.applications)) {
    await checkApplication(target, environment, step, { application, secret, members: serving });
  }

  await step("anonymous access", "a policy lets everybody in: look at the policies in Vault", () =>
    everywhere(async (member) =>
      refusal((await open(member, { ...access, token: undefined })).mounts(), denied, "a client without a token"),
    ),
  );
  await step("wrong token", "look at the log of the member", () =>
    everywhere(async (member) => {
      const token = `hvs.${randomBytes(18).toString("base64url")}`;
      return refusal((await open(member, { ...access, token })).lookupSelf(), denied, "a client with a wrong token");
    }),
  );
  await step("metrics", "look at the listener for metrics in the configuration, and at the metrics port", () =>
    everywhere(async (member) => {
      const path = "sys/metrics?format=prometheus";
      const onClientPort = await open(member, { ...access, token: undefined });
      await refusal(onClientPort.read(path), noMetrics, "a client without a token");
      await (await open(member, { ...access, token: undefined }, target.metricsPort)).read(path);
      return "metrics without a token on their own port only";
    }),
  );
  if (target.tls !== "off") {
    await step("unknown authority", "the member does not show a certificate of its own authority", async () => {
      const ca = await unrelatedAuthority();
      return everywhere(async (member) =>
        refusal((await open(member, { ...access, ca })).health(), untrusted, "a client that trusts another authority"),
      );
    });
    await step("plain text refused", "tls is required: look at the configuration of the member", () =>
      everywhere(async (member) =>
        refusal(
          (await open(member, { ca: undefined, token: undefined })).health(),
          /no health page, status 400/,
          "a client without TLS",
        ),
      ),
    );
  }
  return findings;
};

/** A standby does not answer, but names the active member, which refuses. */
const noMetrics = /permission denied|missing client token|status 307/;
const denied = /permission denied|missing client token|invalid token/;

async function connect(
  target: CheckTarget,
  environment: CheckEnvironment,
  { member, access, port }: { member: string; access: Access; port: number },
): Promise<VaultClient> {
  const { host, port: local } = await environment.tunnel.dial(member, port);
  const servername = memberHost(target.name, target.namespace, member);
  return clientAt(access, { host, port: local, servername });
}

/** Through the tunnel the address is local, but the certificate must be that of the name. */
function clientAt(
  { ca, token }: Access,
  { host, port, servername }: { host: string; port: number; servername: string },
): VaultClient {
  const secured = ca !== undefined;
  const url = `${secured ? "https" : "http"}://${host}:${port}`;
  return vaultClient({ url, ca, servername: secured ? servername : undefined, token, timeoutSeconds });
}

/** Every member: one that runs with another configuration would let in whom the others refuse. */
async function onEach(members: string[], attempt: (member: string) => Promise<string>): Promise<string> {
  const answers = await Promise.allSettled(members.map(attempt));
  const failures = answers.flatMap((answer, index) =>
    answer.status === "rejected" ? [`${members[index] ?? ""}: ${(answer.reason as Error).message}`] : [],
  );
  if (failures.length > 0) throw new Error(failures.join("; "));
  const [first] = answers;
  return first?.status === "fulfilled" ? `${first.value}, by ${members.join(", ")}` : "";
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

/** undefined: exactly the members of the StatefulSet, all of them with a vote, and one leader. */
export function whyNotWhole(
  target: Pick<CheckTarget, "name" | "namespace" | "members">,
  peers: Peer[],
): string | undefined {
  const names = peers.map(({ address }) => memberOf(target, address)).sort();
  const expected = [...target.members].sort();
  if (names.join() !== expected.join()) return `the peers are ${names.join(", ")}, expected ${expected.join(", ")}`;
  const mute = peers.filter(({ voter }) => !voter).map(({ address }) => memberOf(target, address));
  if (mute.length > 0) return `without a vote: ${mute.join(", ")}`;
  const leaders = peers.filter(({ leader }) => leader);
  return leaders.length === 1 ? undefined : `${leaders.length} peers lead`;
}

/** The member with this address, or the address when there is none. */
export function memberOf(target: Pick<CheckTarget, "name" | "namespace" | "members">, address: string): string {
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

interface Application {
  application: string;
  secret: string;
  members: string[];
}

/** With nothing but what its own Secret says, as the application will do it. */
async function checkApplication(
  target: CheckTarget,
  environment: CheckEnvironment,
  step: Step,
  { application, secret, members }: Application,
): Promise<void> {
  const remedy = `look at the Secret ${secret} and at the logs of the jobs setup and tokens`;
  let access: Access = { ca: undefined, token: undefined };
  let mounts: string[] = [];
  const open = (member: string): Promise<VaultClient> =>
    connect(target, environment, { member, access, port: target.clientPort });
  const usable = await step(`application ${application}: token`, remedy, async () => {
    const values = await environment.secret(secret);
    expectUrl(values, `${scheme(target.tls)}://${target.host}:${target.clientPort}`);
    const { token, "ca.crt": ca } = values;
    if (!token) throw new Error(`token in the Secret ${secret} is missing`);
    if (target.tls !== "off" && !ca) throw new Error(`ca.crt in the Secret ${secret} is missing`);
    access = { token, ca: target.tls === "off" ? undefined : ca };
    mounts = (values["mounts"] ?? "").split(",").filter((mount) => mount !== "");
    const info = await (await open(members[0] ?? "")).lookupSelf();
    return describeToken(info, info.role ?? "");
  });
  if (!usable) return;
  await step(`application ${application}: address`, "look at the Service and at which members are ready", async () => {
    const { host, port } = await environment.tunnel.service(target.name, target.clientPort);
    const client = clientAt(access, { host, port, servername: target.host });
    await client.lookupSelf();
    return `${target.host} leads to a member`;
  });
  for (const mount of mounts) {
    await step(`application ${application}: mount ${mount}`, "look at mounts and policies of the component", () =>
      checkMount(members, open, mount),
    );
  }
  await step(`application ${application}: nothing else`, "its policy opens too much: look at it in Vault", async () => {
    const client = await open(members[0] ?? "");
    const outside: Record<string, () => Promise<unknown>> = {
      "the list of mounts": () => client.mounts(),
      "the list of policies": () => client.list("sys/policies/acl"),
      "a key of another mount": () => client.write(`${probeKey}-outside/data/x`, { data: { x: "1" } }),
      "a token for others": () => client.write("auth/token/create", {}),
    };
    for (const [what, attempt] of Object.entries(outside)) {
      await refusal(attempt(), denied, `${application}, asking for ${what},`);
    }
    return `refused: ${Object.keys(outside).join(", ")}`;
  });
}

/** Writes through one member and reads through all; standbys pass on what they are asked. */
async function checkMount(
  members: string[],
  open: (member: string) => Promise<VaultClient>,
  mount: string,
): Promise<string> {
  const [first = "", ...others] = members;
  const client = await open(first);
  const key = probeKey;
  const may = await mayDo(client, [`${mount}/data/${key}`, `${mount}/metadata/${key}`, `${mount}/metadata/`]);
  const [data = [], metadata = [], list = []] = may;
  if (!data.includes("create") || !data.includes("update") || !data.includes("read")) {
    return "not tried: its policy does not allow a key of the check";
  }
  const value = randomBytes(8).toString("hex");
  await client.write(`${mount}/data/${key}`, { data: { value } });
  const done = [`written through ${first}`];
  for (const member of members) {
    const found = await (await open(member)).read<{ data?: { value?: string } }>(`${mount}/data/${key}`);
    if (found?.data?.value !== value) throw new Error(`${member} did not read what was written through ${first}`);
  }
  done.push(`read through ${[first, ...others].join(", ")}`);
  if (list.includes("list")) {
    const keys = await client.list(`${mount}/metadata`);
    if (!keys.includes(key)) throw new Error("a key that was written is not in the list");
    done.push("listed");
  }
  if (metadata.includes("delete")) {
    await client.remove(`${mount}/metadata/${key}`);
    done.push("removed");
  } else if (data.includes("delete")) {
    await client.remove(`${mount}/data/${key}`);
    done.push("deleted");
  }
  return done.join(", ");
}

/** What the client's token may do, for each path. */
export async function mayDo(client: VaultClient, paths: string[]): Promise<string[][]> {
  const answer = await client.write<{ data?: Record<string, string[]> }>("sys/capabilities-self", { paths });
  if (answer?.data === undefined) throw new VaultError("sys/capabilities-self", 200, ["no capabilities in the answer"]);
  return paths.map((path) => answer.data?.[path] ?? []);
}
