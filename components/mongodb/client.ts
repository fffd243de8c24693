/** Connections of the agent, by the official driver. */
import type { Document, MongoClient as Client, MongoClientOptions } from "mongodb";
import { MongoClient } from "mongodb";
import type { Server, SetConfig } from "./membership";

export interface Endpoint {
  host: string;
  port: number;
  /** The only authority to trust, PEM; undefined for plain text. */
  ca: string | undefined;
  auth: { username: string; password: string; source: string } | undefined;
  timeoutMilliseconds: number;
}

/** To this one server, whatever it says about others. Connects when it is used first. */
export function direct({ host, port, ca, auth, timeoutMilliseconds }: Endpoint): Client {
  const options: MongoClientOptions = {
    directConnection: true,
    appName: "cells-services",
    maxPoolSize: 2,
    serverSelectionTimeoutMS: timeoutMilliseconds,
    connectTimeoutMS: timeoutMilliseconds,
    socketTimeoutMS: timeoutMilliseconds,
    retryReads: false,
    retryWrites: false,
    ...(ca === undefined ? {} : { tls: true, ca }),
    ...(auth === undefined
      ? {}
      : {
          auth: { username: auth.username, password: auth.password },
          authSource: auth.source,
          authMechanism: "SCRAM-SHA-256",
        }),
  };
  return new MongoClient(`mongodb://${host}:${port}/`, options);
}

/** The user that members are to each other: it may do what a member may, and its password is the key. */
export function memberAuth(key: string): NonNullable<Endpoint["auth"]> {
  return { username: "__system", password: key, source: "local" };
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
