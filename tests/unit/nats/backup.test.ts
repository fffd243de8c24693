import type { StreamConfig, StreamInfo } from "@nats-io/jetstream";
import type { Msg } from "@nats-io/transport-node";
import { beforeAll, describe, expect, it } from "vitest";
import { NatsCluster, resolveNats } from "../../../components/nats";
import {
  type CopiedStream,
  fileOf,
  loadedConfig,
  loadOrder,
  proofConfig,
  provenConfig,
  verdictOn,
  whatIsDoubled,
  whyDifferent,
  whyHomeless,
  whyNoSource,
  whyNotLoaded,
} from "../../../components/nats/backup";
import { answerOf, JetStreamError } from "../../../components/nats/client";
import { backupInputs } from "../../../components/nats/manifest";
import { partsOf } from "../../../components/nats/snapshots";
import { at, inputs, listAt } from "../../support/graph";
import { record } from "../../support/recorder";
import { ensureAgentBundles } from "../../support/stacks";

const configOf = (changes: Partial<StreamConfig> = {}) =>
  ({ name: "orders", storage: "file", num_replicas: 3, ...changes }) as StreamConfig;
const stateOf = (messages: number, first: number, last: number, bytes = 10 * messages) =>
  ({ messages, bytes, first_seq: first, last_seq: last, consumer_count: 1 }) as CopiedStream["state"];

const copied: CopiedStream = {
  account: "cells",
  config: configOf(),
  state: stateOf(90, 11, 100),
  after: stateOf(90, 11, 100),
  consumers: [{ name: "worker", floors: [20, 20] }],
};

describe("the files of a copy", () => {
  it("have names that a store and a file system take", () => {
    expect(fileOf("cells", "KV_config", "snapshot")).toBe("streams/cells/KV_config.snapshot");
    expect(fileOf("cells", "ü(1)#$", "json")).toBe("streams/cells/%C3%BC%281%29%23%24.json");
    expect(fileOf("cells", "x".repeat(250), "snapshot").length).toBeLessThan("streams/cells/".length + 255);
  });
});

describe("the order of streams", () => {
  const names = (streams: StreamConfig[]) =>
    loadOrder(streams.map((config) => ({ config }))).map(({ config }) => config.name);

  it("is origins first, whatever depends on whatever", () => {
    const streams = [
      configOf({ name: "copy", mirror: { name: "sum" } }),
      configOf({ name: "sum", sources: [{ name: "one" }, { name: "two" }, { name: "elsewhere" }] }),
      configOf({ name: "two" }),
      configOf({ name: "one" }),
    ];
    expect(names(streams)).toEqual(["one", "two", "sum", "copy"]);
  });

  it("has each stream once, also in a circle", () => {
    const circle = [
      configOf({ name: "a", sources: [{ name: "b" }] }),
      configOf({ name: "b", sources: [{ name: "a" }] }),
    ];
    expect(names(circle).sort()).toEqual(["a", "b"]);
  });
});

describe("the source of a copy", () => {
  it.each<[string, StreamInfo["cluster"] | undefined, boolean]>([
    ["a single server", undefined, true],
    ["a leader", { leader: "nats-1" }, true],
    ["no leader", { leader: "" }, false],
  ])("%s", (_, cluster, copiedFrom) => {
    const reason = whyNoSource({ cluster } as StreamInfo);
    expect(reason === undefined).toBe(copiedFrom);
  });
});

describe("the parts of a snapshot", () => {
  type Message = Pick<Msg, "data" | "headers" | "respond">;
  const messages = (...texts: (string | number)[]) => {
    let answers = 0;
    const respond = () => {
      answers += 1;
      return true;
    };
    const all = texts.map((text): Message => {
      const ends = typeof text === "number";
      const headers = { code: text, description: "No Flow Response" } as unknown as Msg["headers"];
      const message = { data: Buffer.from(ends ? "" : text), respond };
      return headers !== undefined && ends ? { ...message, headers } : message;
    });
    const stream = (async function* () {
      yield* all;
    })();
    return { stream, answers: () => answers };
  };
  const gathered = async (stream: AsyncIterable<Message>, pauseSeconds = 0): Promise<string> => {
    let all = "";
    for await (const part of partsOf(stream, 0.002)) {
      all += part.toString();
      if (pauseSeconds > 0) await new Promise((resolve) => setTimeout(resolve, pauseSeconds * 1000));
    }
    return all;
  };

  it("are answered once each when they were taken", async () => {
    const { stream, answers } = messages("one ", "two", 204);
    expect(await gathered(stream)).toBe("one two");
    expect(answers()).toBe(2);
  });

  it("end with an empty message, also without a status", async () => {
    expect(await gathered(messages("one", "").stream)).toBe("one");
  });

  it("are answered while the store takes its time, and not again later", async () => {
    const { stream, answers } = messages("one", "two", 204);
    const iterator = partsOf(stream, 0.002)[Symbol.asyncIterator]();
    await iterator.next();
    await expect.poll(answers, { interval: 1 }).toBeGreaterThanOrEqual(2);
    const ahead = answers();
    await iterator.next();
    await iterator.next();
    expect(answers()).toBeLessThanOrEqual(ahead + 1);
  });

  it.each<[string, (string | number)[], string]>([
    ["the server gives up", ["one", 408], "the server ended the snapshot: 408 No Flow Response"],
    ["the connection ends", ["one"], "the snapshot broke off: the connection was closed"],
  ])("fail when %s", async (_, texts, reason) => {
    await expect(gathered(messages(...texts).stream)).rejects.toThrow(reason);
  });
});

describe("what JetStream refuses", () => {
  it("is an error with its words and its code", () => {
    const answer = { json: () => ({ error: { description: "stream not found", err_code: 10059 } }) } as unknown as Msg;
    expect(() => answerOf("STREAM.INFO.x", answer)).toThrow(
      expect.objectContaining({ message: "STREAM.INFO.x: stream not found", code: 10059 }) as Error,
    );
  });

  it.each<[string, unknown, ReturnType<typeof verdictOn>]>([
    ["a snapshot that is damaged", new JetStreamError("R", "restore failed: s2: corrupt input", 10062), "bad"],
    ["a full disk", new JetStreamError("R", "restore failed: write x: no space left on device", 10062), "none"],
    ["a limit of the server", new JetStreamError("R", "insufficient storage resources available", 10047), "none"],
    ["no answer", new Error("timeout"), "none"],
    [
      "a consumer of three replicas",
      new JetStreamError("R", 'restore failed: failed to add consumer "m": exceeds parent stream (10126)', 10062),
      "unprovable",
    ],
  ])("%s", (_, error, verdict) => {
    expect(verdictOn(error)).toBe(verdict);
  });
});

describe("a restored stream", () => {
  const floors = new Map([["worker", 20]]);
  const different = (restored: CopiedStream["state"], changes: Partial<CopiedStream> = {}, at = floors) =>
    whyDifferent({ ...copied, ...changes }, { state: restored, floors: at });

  it.each<[string, CopiedStream["state"], string | undefined]>([
    ["as copied", stateOf(90, 11, 100), undefined],
    ["without its last message", stateOf(89, 11, 99), "last sequence: expected 100, got 99"],
    ["without one in between", stateOf(89, 11, 100), "number of messages: expected 90, got 89"],
    ["with one too many", stateOf(91, 11, 100), "number of messages: expected 90, got 91"],
    ["with another beginning", stateOf(90, 12, 100), "first sequence: expected 11, got 12"],
    ["with other bytes", stateOf(90, 11, 100, 1), "number of bytes: expected 900, got 1"],
  ])("%s", (_, restored, reason) => {
    expect(different(restored)).toBe(reason);
  });

  it("may lack what was removed during the snapshot, and no more", () => {
    // 10 came, 15 went.
    const after = stateOf(85, 21, 110);
    expect(different(stateOf(75, 21, 100), { after })).toBeUndefined();
    expect(different(stateOf(90, 11, 100), { after })).toBeUndefined();
    expect(different(stateOf(74, 21, 100), { after })).toBe("number of messages: expected 75 to 90, got 74");
    expect(different(stateOf(80, 22, 100), { after })).toBe("first sequence: expected 11 to 21, got 22");
  });

  it("may lack messages with a life of their own", () => {
    const config = configOf({ allow_msg_ttl: true });
    expect(different(stateOf(3, 98, 100), { config })).toBeUndefined();
    expect(different(stateOf(3, 97, 99), { config })).toContain("last sequence");
  });

  it("that was in memory has other bytes on disk", () => {
    expect(different(stateOf(90, 11, 100, 1), { config: configOf({ storage: "memory" }) })).toBeUndefined();
  });

  it("that is empty begins where the server says", () => {
    const empty = { state: stateOf(0, 0, 0), after: stateOf(0, 0, 0) };
    expect(different(stateOf(0, 1, 0), empty)).toBeUndefined();
  });

  it("has its consumers where they were", () => {
    const worker = (to: number) => [{ name: "worker", floors: [20, to] as [number, number] }];
    const sentence = "sequence below which its consumer worker has acknowledged all: expected";
    expect(different(copied.state, {}, new Map())).toBe(`${sentence} 20, got none`);
    expect(different(copied.state, {}, new Map([["worker", 19]]))).toBe(`${sentence} 20, got 19`);
    expect(different(copied.state, { consumers: worker(30) }, new Map([["worker", 25]]))).toBeUndefined();
    expect(different(copied.state, { consumers: worker(30) }, new Map([["worker", 31]]))).toBe(
      `${sentence} 20 to 30, got 31`,
    );
  });
});

describe("the configuration of a restored stream", () => {
  const config = configOf({ max_age: 5, placement: { cluster: "old", tags: [] }, subjects: ["orders.>"] });

  it("keeps messages in a proof, on one server and on its disk", () => {
    expect(provenConfig({ ...config, storage: "memory" })).toEqual({
      name: "orders",
      storage: "file",
      num_replicas: 1,
      subjects: ["orders.>"],
    });
  });

  it("is its own in the new ensemble, with as many replicas as it can have, anywhere", () => {
    const own = configOf({ max_age: 5, subjects: ["orders.>"] });
    expect(loadedConfig(config, 5)).toEqual(own);
    expect(loadedConfig({ ...config, num_replicas: 5 }, 3)).toEqual(own);
  });
});

describe("a loaded stream", () => {
  const info = (cluster?: StreamInfo["cluster"], state = stateOf(90, 11, 100)) => ({ state, cluster }) as StreamInfo;
  const replica = (current: boolean) => [{ name: "nats-2", current, offline: false, lag: current ? 0 : 7 }];

  it.each<[string, StreamInfo | undefined, string | undefined]>([
    ["whole", info({ leader: "nats-1", replicas: replica(true) } as StreamInfo["cluster"]), undefined],
    ["not there", undefined, "it is not there"],
    ["without a leader", info({ leader: "" }), "it has no leader"],
    [
      "with a replica that lags",
      info({ leader: "nats-1", replicas: replica(false) } as StreamInfo["cluster"]),
      "nats-2 is 7 operations behind",
    ],
    ["not at its end", info(undefined, stateOf(80, 11, 90)), "it ends at sequence 90 of 100"],
    [
      "without its consumers",
      info(undefined, { ...stateOf(90, 11, 100), consumer_count: 0 }),
      "it has 0 of 1 consumers",
    ],
  ])("%s", (_, found, reason) => {
    expect(whyNotLoaded(copied, found)).toBe(reason);
  });

  it("is named when it takes messages of its sources twice", () => {
    const sum = { account: "cells", config: configOf({ name: "sum", sources: [{ name: "orders" }] }) };
    expect(whatIsDoubled([copied])).toEqual([]);
    expect(whatIsDoubled([copied, sum])).toEqual([expect.stringMatching(/twice: cells > sum$/) as string]);
  });

  it("has an application", () => {
    expect(whyHomeless([copied], ["cells"])).toBeUndefined();
    expect(whyHomeless([copied, { account: "other" }], ["cells"])).toContain(
      "streams of other, and applications are cells",
    );
  });
});

describe("the pods", () => {
  beforeAll(() => ensureAgentBundles());
  const bundle = { content: "", checksum: "0" };
  const store = { url: "https://s3.example.com", bucket: "backups", credentials: "keys" };

  it("start a throw-away server that only they reach, on the folder of the proof", () => {
    const { proof } = backupInputs(resolveNats("nats", { namespace: "cells" }), bundle);
    expect(proof.bytes).toBe(2 * Math.floor(8 * 2 ** 30 * 0.8) + 2 ** 30);
    expect(proof.servers).toMatchObject([{ command: ["/nats-server", "-c", "/backup/nats.conf"] }]);
    expect(proofConfig("/backup")).toContain(
      'host: 127.0.0.1\nport: 4222\nmax_payload: 33554432\njetstream { store_dir: "/backup/data" }',
    );
  });

  it("have room for streams that are spread over five members", () => {
    const { proof } = backupInputs(resolveNats("nats", { namespace: "cells", members: 5 }), bundle);
    expect(proof.bytes).toBeCloseTo((10 / 3) * Math.floor(8 * 2 ** 30 * 0.8) + 2 ** 30, -1);
  });

  it("have what a copy reads", async () => {
    const graph = await record(
      () => void new NatsCluster("nats", { namespace: "cells", applications: ["cells"], backups: { store } }),
    );
    const spec = at(inputs(graph, "kubernetes:batch/v1:CronJob", "nats-backup"), "spec.jobTemplate.spec.template.spec");
    expect(listAt(spec, "volumes").map(({ name }) => name)).toEqual(expect.arrayContaining(["users", "trust"]));
  });

  it("fill a new ensemble before the reconciler moves its streams", async () => {
    const restoreFrom = { copy: "latest" };
    const graph = await record(
      () =>
        void new NatsCluster("nats", { namespace: "cells", applications: ["cells"], backups: { store, restoreFrom } }),
    );
    const reconciler = graph.resources.find(
      ({ type, name }) => type.endsWith(":Deployment") && name === "nats-reconciler",
    );
    expect(JSON.stringify(reconciler)).toContain("nats-restore");
  });
});
