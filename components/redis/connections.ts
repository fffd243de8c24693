/** The agent's connections to all servers and Sentinels. */
import { lookup } from "node:dns/promises";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Redis } from "ioredis";
import type { EnsembleSettings } from "../shared/core/settings";
import { within } from "../shared/core/wait";
import { open } from "./client";
import { internalPassword, shownPasswords } from "./files";
import { markDatabase, paths, ports } from "./layout";

/** Two in a row must fit into the time after which an observation counts as old. */
const answerMilliseconds = 1500;

/** One connection for each server and Sentinel, made again when it has failed. `self`: the member here. */
export function createConnections(settings: EnsembleSettings, self: string, hostOf: (member: string) => string) {
  const known = new Map<string, Promise<Redis>>();
  const resolve = createResolver(async (host) => (await lookup(host)).address);
  const drop = (member: string, port: number): void => {
    const key = `${member}:${port}`;
    known.get(key)?.then(
      (client) => client.disconnect(),
      () => undefined,
    );
    known.delete(key);
  };
  const find = (member: string) =>
    within(resolve(hostOf(member)), answerMilliseconds / 1000, `the address of ${hostOf(member)}`);
  /** One whose certificate has ended must be reached to read the next, and in the pod nobody else listens. */
  const trust = async (member: string) =>
    member === self
      ? ("unverified" as const)
      : { ca: await readFile(join(paths.trust, "ca.crt"), "utf8"), servername: hostOf(member) };
  const connect = async (member: string, port: number): Promise<Redis> => {
    // Without names a master must still know itself and its replicas.
    const host = member === self ? "127.0.0.1" : await find(member);
    const tls = settings.tls === "off" ? {} : { tls: await trust(member) };
    const endpoint = { host, port, name: "cells-services-agent", timeoutMilliseconds: answerMilliseconds, ...tls };
    const login = (password: string) => open({ ...endpoint, credentials: { username: "agent", password } });
    const client = await login((await shownPasswords()).agent).catch(async (error: Error) => {
      // Started during a change of passwords, a server knows only the new ones.
      if (!error.message.startsWith("WRONGPASS")) throw error;
      return login(await internalPassword("agent"));
    });
    if (port === ports.client) await client.select(markDatabase);
    return client;
  };
  return {
    async get(member: string, port: number): Promise<Redis> {
      const key = `${member}:${port}`;
      const existing = known.get(key);
      if (existing !== undefined) {
        const client = await existing.catch(() => undefined);
        if (client?.status === "ready") return client;
        if (known.get(key) === existing) drop(member, port);
      }
      const fresh = connect(member, port);
      known.set(key, fresh);
      return fresh;
    },
    drop,
    find,
    fresh: connect,
  };
}

/** One lookup at a time: without an answer each keeps one of the four threads of Node.js, which files need too. */
export function createResolver(find: (host: string) => Promise<string>): (host: string) => Promise<string> {
  const pending = new Map<string, Promise<string>>();
  let last: Promise<unknown> = Promise.resolve();
  return (host) => {
    const asked = pending.get(host);
    if (asked !== undefined) return asked;
    const answer = last.then(() => find(host)).finally(() => pending.delete(host));
    pending.set(host, answer);
    last = answer.catch(() => undefined);
    return answer;
  };
}
