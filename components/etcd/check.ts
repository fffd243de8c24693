/** Proves with a real client that etcd works as its users need it. The client is loaded when the check runs, not with every preview. */
import { randomBytes } from "node:crypto";
import type { Etcd3, IOptions } from "etcd3";
import { checkCertificates, observeCertificate } from "../shared/check/certificates";
import { type Connections, connections, probeName } from "../shared/check/connections";
import {
  answering,
  answerSeconds,
  beginCheck,
  type CheckContext,
  everywhere,
  failIfAny,
  observeAll,
  type Place,
} from "../shared/check/context";
import { type Access, enterAsApplication } from "../shared/check/logins";
import { checkMembers } from "../shared/check/members";
import { checkStrangers, loginStrangers, refusal } from "../shared/check/strangers";
import type { Check } from "../shared/core/check";
import { valueIn } from "../shared/core/exposition";
import { within } from "../shared/core/wait";
import { ports, scheme } from "./layout";

const withoutPassword = /user name is empty|permission denied/;

export const check: Check = (target, environment) => {
  const context = beginCheck(target, environment);
  const { step, member, address } = context;
  const session = openSession();
  const greet = async (client: Etcd3): Promise<string> => {
    const { version, dbSize } = await client.maintenance.status();
    return `etcd ${version}, database ${dbSize} bytes`;
  };
  return checkMembers(context, session, greet, async ({ access, clients, places }) => {
    const [first, ...others] = [...clients];
    if (first === undefined) return;
    const [writer, client] = first;
    const logs = "look at the logs of the members, and of the maintenance when there is a learner";
    await step("membership", logs, () => checkMembership(context, clients));
    await step(
      "alarms",
      "look at the log of the maintenance; NOSPACE: delete what is not needed, the next maintenance then frees the space and allows writes",
      async () => {
        const { alarms } = await client.maintenance.alarm({ action: "Get" });
        if (alarms.length > 0) throw new Error(`raised: ${alarms.map(({ alarm }) => String(alarm)).join(", ")}`);
        return "none raised";
      },
    );

    const prefix = `${probeName("cells-services/check/")}/`;
    const key = `${prefix}replication`;
    const value = randomBytes(8).toString("hex");
    const majority = "a majority must answer: look at readiness and network policy of the members";
    await step("replication", majority, async () => {
      await client.put(key).value(value);
      const read = await everywhere(clients.keys(), async (each) => {
        const seen = await answering(clients, each).get(key).string();
        if (seen !== value) throw new Error("it did not read what was written");
        return "read";
      });
      return `written through ${writer}; ${read}`;
    });
    const last = others.at(-1) ?? first;
    await step("watch", "look at the network between the members", () => checkWatch(prefix, first, last));
    await step("durability", "etcd must not run with unsafe-no-fsync", () => checkDurability(context, prefix, clients));

    /** Logs in, and reads what needs the right to read. */
    const enter = async (place: Place, as: Access): Promise<unknown> =>
      (await session.open(place, as)).get(key).string();
    await step("address", "look at the Service and at which members are ready", async () => {
      if ((await enter(address, access)) !== value) throw new Error(`${target.host} did not read what was written`);
      return `${target.host} leads to a member`;
    });
    for (const application of Object.keys(target.applications)) {
      const granted = await enterAsApplication(context, application, {
        places,
        expected: () => ({ url: `${scheme(target.tls)}://${target.host}:${target.clientPort}` }),
        enter,
      });
      if (granted === undefined) continue;
      await step(`rights ${application}`, "look at the role of the user, and at the log of the setup job", async () =>
        checkApplication(await session.open(address, granted), prefix, application),
      );
    }

    await checkStrangers(context, {
      places,
      access,
      enter,
      strangers: loginStrangers(access, { anonymous: withoutPassword, wrongPassword: /authentication failed/ }),
      plainText: {
        hello: `GET /version HTTP/1.1\r\nHost: ${target.host}\r\nConnection: close\r\n\r\n`,
        served: /^HTTP\/1\.[01] (?!400)/,
      },
      remedy: "authentication is not enabled: look at the log of the setup job",
    });
    const update = "run 3.6.9, 3.5.28 or newer: older versions ask for no password here, and none for raising an alarm";
    await step("anonymous members", update, () =>
      everywhere(places, async (place) => {
        const { cluster } = await session.open(place, { ...access, auth: undefined });
        const list = cluster.memberList({ linearizable: true });
        return refusal(list, withoutPassword, "a list of the members without a password");
      }),
    );
    const peers = [...clients.keys()].map((each) => member(each, ports.peer));
    await checkCertificates(context, access.ca, [...places, ...peers]);
    await step("clean-up", `delete the keys that begin with ${prefix}`, async () => {
      const { deleted } = await client.delete().prefix(prefix);
      return `${deleted} test keys removed`;
    });
  });
};

type Clients = ReadonlyMap<string, Etcd3>;

async function checkMembership({ target }: CheckContext, clients: Clients): Promise<string> {
  const { seen, failures } = await observeAll(target.members, (member) => observeCluster(clients, member));
  failIfAny([...failures, ...membershipProblems(target.members, seen)]);
  return `${target.members.join(", ")}; leader ${seen[0]?.leader ?? ""}`;
}

export type ClusterView = Awaited<ReturnType<typeof observeCluster>>;

/** What one member says about the cluster. */
async function observeCluster(clients: Clients, member: string) {
  const client = answering(clients, member);
  const { members } = await client.cluster.memberList({ linearizable: true });
  const { leader } = await client.maintenance.status();
  return {
    member,
    /** Empty for one that has never started. */
    names: members.map(({ name }) => name),
    learners: members.filter((each) => (each as { isLearner?: boolean }).isLearner === true).map(({ name }) => name),
    /** undefined: there is none. */
    leader: leader === "0" ? undefined : (members.find(({ ID }) => ID === leader)?.name ?? leader),
  };
}

/** In words; empty when the members know each other as voters and follow one leader. */
export function membershipProblems(members: string[], views: ClusterView[]): string[] {
  const expected = [...members].sort().join(", ");
  const leaders = [...new Set(views.map(({ leader }) => leader ?? "none"))];
  return [
    ...views.flatMap(({ member, names, learners }) => {
      const known = names.map((name) => name || "(never started)").sort();
      return [
        ...(known.join(", ") === expected ? [] : [`${member} knows ${known.join(", ")}, expected ${expected}`]),
        ...(learners.length === 0 ? [] : [`${member} sees as learners: ${learners.join(", ")}`]),
      ];
    }),
    ...(leaders.length === 1 && leaders[0] !== "none" ? [] : [`no agreement on a leader: ${leaders.join(", ")}`]),
  ];
}

type Client = [member: string, client: Etcd3];

/** A watch on one member must deliver what is written through another one. */
async function checkWatch(prefix: string, writer: Client, watching: Client): Promise<string> {
  const key = `${prefix}watch`;
  const watcher = await within(watching[1].watch().key(key).create(), answerSeconds, "the watch to begin");
  try {
    const event = new Promise<string>((resolve, reject) => {
      watcher.on("put", (kv) => resolve(kv.value.toString()));
      watcher.on("error", reject);
    });
    await writer[1].put(key).value("seen");
    await within(event, answerSeconds, `a watch on ${watching[0]} to deliver a write through ${writer[0]}`);
    return `${watching[0]} delivered a write through ${writer[0]}`;
  } finally {
    await within(watcher.cancel(), answerSeconds, "the watch to end").catch(() => undefined);
  }
}

/** A write must make every member force its log to disk: with unsafe-no-fsync the counter stands still. */
async function checkDurability(context: CheckContext, prefix: string, clients: Clients): Promise<string> {
  const key = `${prefix}durability`;
  const members = [...clients.keys()];
  const readAll = () => Promise.all(members.map((member) => readSyncs(context, member)));
  const before = await readAll();
  const [writer] = clients.values();
  await writer?.put(key).value("synced");
  // When a member has read the write from a majority, the write is in its own log.
  for (const client of clients.values()) await client.get(key).string();
  const after = await readAll();
  const idle = members.filter((_, index) => (after[index] ?? 0) <= (before[index] ?? 0));
  if (idle.length > 0) throw new Error(`no sync to disk for a write on ${idle.join(", ")}`);
  return `a write was synced to disk on ${members.join(", ")}`;
}

async function readSyncs({ target, environment, member: place }: CheckContext, member: string): Promise<number> {
  const { host, port } = await place(member, target.metricsPort).dial();
  const signal = AbortSignal.any([environment.signal, AbortSignal.timeout(answerSeconds * 1000)]);
  const metrics = await (await fetch(`http://${host}:${port}/metrics`, { signal })).text();
  return valueIn(metrics, "etcd_disk_wal_fsync_duration_seconds_count");
}

async function checkApplication(client: Etcd3, prefix: string, application: string): Promise<string> {
  const key = `${prefix}application/${application}`;
  await client.put(key).value(application);
  const read = await client.get(key).string();
  if (read !== application) throw new Error("a value written was not read back");
  const { deleted } = await client.delete().key(key);
  if (deleted !== "1") throw new Error(`a value written was not deleted, ${deleted} keys were`);
  return `${application} wrote, read and deleted a key`;
}

function openSession(): Connections<Etcd3> {
  return connections(
    async (place, { ca, auth }) => {
      // The client says only that there is no connection; the handshake says what is wrong with the certificate.
      const refused = ca === undefined ? undefined : (await observeCertificate(place, ca)).refused;
      if (refused !== undefined) throw new Error(`the certificate is not accepted: ${refused}`);
      const { Etcd3 } = await import("etcd3");
      const { host, port } = await place.dial();
      return new Etcd3({
        // The client asks for its token without the option below, so the certificate must fit this name too; members carry
        // "localhost", and TLS does not allow an address as the name of a server.
        hosts: `${ca === undefined ? "http" : "https"}://${host === "127.0.0.1" ? "localhost" : host}:${port}`,
        ...(auth === undefined ? {} : { auth }),
        ...(ca === undefined ? {} : { credentials: { rootCertificate: Buffer.from(ca) } }),
        // Through the tunnel the address is local, but the certificate must be that of the place.
        grpcOptions: ca === undefined ? {} : { "grpc.ssl_target_name_override": place.host },
        defaultCallOptions: (context) => (context.isStream ? {} : { deadline: Date.now() + answerSeconds * 1000 }),
        // The first error is the finding; a retry or a circuit breaker would replace it by another.
        faultHandling: { global: once, host: () => once },
      });
    },
    (client: Etcd3) => client.close(),
  );
}

type Policy = NonNullable<NonNullable<IOptions["faultHandling"]>["global"]>;

/** A policy that does nothing: calls once and passes on what happens. */
const once = {
  execute: async (call: (context: { signal: AbortSignal }) => unknown) =>
    call({ signal: new AbortController().signal }),
} as unknown as Policy;
