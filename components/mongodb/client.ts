/** Connections of the agent, by the official driver. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type MongoClient as Client, type Document, MongoClient, type MongoClientOptions } from "mongodb";
import { readCredentials, readTrust } from "../shared/agent/logins";
import type { Ensemble } from "../shared/agent/main";
import { messageOf } from "../shared/core/errors";
import { memberHost } from "../shared/core/names";
import type { Attempt } from "../shared/core/wait";
import { CannotLower } from "./compatibility";
import { paths, ports } from "./layout";
import type { Server, SetConfig } from "./membership";

export interface Endpoint {
  host: string;
  port: number;
  /** How the server proves itself before the password does. "unverified": see `ownEndpoint`. */
  tls: { ca: string } | "unverified" | "off";
  auth: { username: string; password: string; source: string } | undefined;
  timeoutMilliseconds: number;
  /** Of a command that takes long, such as the build of an index. Default: the same. */
  answerMilliseconds?: number;
}

/** To this one server, whatever it says about others. Connects when it is used first. */
export function direct(endpoint: Endpoint): Client {
  return new MongoClient(`mongodb://${endpoint.host}:${endpoint.port}/`, clientOptions(endpoint));
}

export function clientOptions({ tls, auth, timeoutMilliseconds, answerMilliseconds }: Endpoint): MongoClientOptions {
  return {
    directConnection: true,
    appName: "cells-services",
    maxPoolSize: 2,
    serverSelectionTimeoutMS: timeoutMilliseconds,
    connectTimeoutMS: timeoutMilliseconds,
    socketTimeoutMS: answerMilliseconds ?? timeoutMilliseconds,
    retryReads: false,
    retryWrites: false,
    ...(tls === "off" ? {} : { tls: true, ...(tls === "unverified" ? { tlsAllowInvalidCertificates: true } : tls) }),
    ...(auth === undefined
      ? {}
      : {
          auth: { username: auth.username, password: auth.password },
          authSource: auth.source,
          authMechanism: "SCRAM-SHA-256",
        }),
  };
}

/** The user as which the members log in to each other. Its password is the key of the set. */
export async function memberAuth(): Promise<NonNullable<Endpoint["auth"]>> {
  return { username: "__system", password: await readFile(join(paths.key, "key"), "utf8"), source: "local" };
}

export async function administratorAuth(): Promise<NonNullable<Endpoint["auth"]>> {
  return { ...(await readCredentials(paths.admin)), source: "admin" };
}

export async function endpointOf(
  { name, namespace, tls }: Ensemble,
  member: string,
  auth: Endpoint["auth"],
  timeoutMilliseconds: number,
): Promise<Endpoint> {
  const ca = await readTrust(tls, paths.trust);
  const host = memberHost(name, namespace, member);
  return { host, port: ports.client, tls: ca === undefined ? "off" : { ca }, auth, timeoutMilliseconds };
}

export async function withClient<T>(endpoint: Endpoint, use: (client: Client) => Promise<T>): Promise<T> {
  const client = direct(endpoint);
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

export function command(client: Client, document: Document): Promise<Document> {
  return client.db("admin").command(document);
}

/** At the first of `members` that says to be primary. `host` is its name in the set. Returns reasons when it fails. */
export async function atPrimary<T>(
  members: string[],
  toEndpoint: (member: string) => Promise<Endpoint>,
  use: (client: Client, host: string) => Promise<T>,
): Promise<Attempt<T>> {
  const reasons: string[] = [];
  for (const member of members) {
    try {
      const result = await withClient(await toEndpoint(member), async (client) => {
        const hello = await command(client, { hello: 1 });
        return hello["isWritablePrimary"] === true ? { done: await use(client, hello["me"] as string) } : undefined;
      });
      if (result !== undefined) return result;
      reasons.push(`${member}: not the primary`);
    } catch (error) {
      if (error instanceof CannotLower) throw error;
      reasons.push(`${member}: ${messageOf(error)}`);
    }
  }
  return { waiting: reasons.join("; ") };
}

/** Such as "6.0": with which releases the data can be read. */
export async function readCompatibility(client: Client): Promise<string> {
  const answer = await command(client, { getParameter: 1, featureCompatibilityVersion: 1 });
  return (answer["featureCompatibilityVersion"] as { version: string }).version;
}

/** From the answer to `hello`, which needs no password. */
export function toServer(hello: Document, memberOf: (host: string) => string): Server {
  const set = hello["setName"] as string | undefined;
  if (set === undefined) return { state: "unconfigured" };
  const primary = hello["primary"] as string | undefined;
  return {
    state: "configured",
    set,
    role: hello["isWritablePrimary"] === true ? "primary" : hello["secondary"] === true ? "secondary" : "other",
    primary: primary === undefined ? undefined : memberOf(primary),
  };
}

export async function readConfig(client: Client): Promise<SetConfig> {
  return (await command(client, { replSetGetConfig: 1 }))["config"] as SetConfig;
}

/**
 * Of the primary. Throws until a majority has the configuration: until then the election of a member that lacks it
 * undoes it, with what was acknowledged under it.
 */
export async function readCommittedConfig(client: Client): Promise<SetConfig> {
  const { commitmentStatus, config } = await command(client, { replSetGetConfig: 1, commitmentStatus: true });
  if (commitmentStatus !== true) throw new Error("a majority does not have its configuration yet");
  return config as SetConfig;
}

/** What the volume says, which a server tells that does not find itself in it, and says to be in no set. */
export async function readStoredConfig(client: Client): Promise<SetConfig | undefined> {
  return (await client.db("local").collection("system.replset").findOne<SetConfig>()) ?? undefined;
}
