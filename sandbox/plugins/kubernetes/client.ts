import { request as httpRequest, type IncomingMessage } from "node:http";
import { Agent, request as httpsRequest, type RequestOptions } from "node:https";
import { createInterface } from "node:readline";
import { text as readText } from "node:stream/consumers";
import type { KubeConfig } from "@kubernetes/client-node";
import { isMap, type PropertyMap, type Value } from "../server/values";
import { apiVersionOf, groupOf, type KubernetesObject, kindOf, list, nameOf, namespaceOf, text } from "./object";

/** An answer of the API server that is not success. */
export class ApiError extends Error {
  readonly code: number;
  readonly status: PropertyMap;

  constructor(code: number, status: PropertyMap) {
    super(text(status, "message") ?? `the API server answered ${code}`);
    this.code = code;
    this.status = status;
  }
}

/** No answer at all. */
export class UnreachableError extends Error {}

/** The API server does not know a kind: its CustomResourceDefinition may come later in the same run. */
export class UnknownKindError extends Error {}

export interface WatchEvent {
  type: string;
  object: KubernetesObject;
}

export interface ResourceKind {
  plural: string;
  namespaced: boolean;
}

type Query = Record<string, string | number | boolean | undefined>;

export interface Client {
  server: string;
  /** Asks the server for its version once and remembers the answer. */
  reach(): Promise<void>;
  request(method: string, path: string, options?: RequestSettings): Promise<PropertyMap>;
  log(path: string, query: Query): Promise<string>;
  /** Events until the server ends the watch, the connection breaks or the signal aborts. */
  watch(path: string, query: Query, signal: AbortSignal): AsyncIterable<WatchEvent>;
  resourceKind(apiVersion: string, kind: string): Promise<ResourceKind>;
  close(): void;
}

export interface RequestSettings {
  query?: Query;
  body?: Value;
  contentType?: string;
  signal?: AbortSignal;
}

const connectTimeoutMilliseconds = 10_000;

export function createClient(access: KubeConfig): Client {
  const server = access.getCurrentCluster()?.server ?? "";
  const base = new URL(server);
  const agent = new Agent({ keepAlive: true });
  const kinds = new Map<string, Promise<Map<string, ResourceKind>>>();
  let reached: Promise<void> | undefined;

  async function send(
    method: string,
    path: string,
    settings: RequestSettings,
    live: boolean,
  ): Promise<IncomingMessage> {
    const url = new URL(base.pathname.replace(/\/$/, "") + path, base);
    for (const [key, value] of Object.entries(settings.query ?? {})) {
      if (value !== undefined) url.searchParams.set(key, String(value));
    }
    const options: RequestOptions = { method, headers: { accept: "application/json" } };
    await access.applyToHTTPSOptions(options);
    // One pool of connections for all requests; a watch would keep its connection from the others anyway.
    const { ca, cert, key, rejectUnauthorized, servername } = { ...agentOptions(options), ...options };
    Object.assign(options, { ca, cert, key, rejectUnauthorized, servername });
    options.agent = base.protocol === "https:" ? agent : undefined;
    const body = settings.body === undefined ? undefined : JSON.stringify(settings.body);
    const headers: Record<string, string | number> = { ...(options.headers as Record<string, string>) };
    if (body !== undefined) {
      headers["content-type"] = settings.contentType ?? "application/json";
      headers["content-length"] = Buffer.byteLength(body);
    }
    options.headers = headers;
    if (settings.signal !== undefined) options.signal = settings.signal;
    return new Promise((resolve, reject) => {
      const outgoing = (base.protocol === "https:" ? httpsRequest : httpRequest)(url, options, resolve);
      outgoing.on("error", (error: NodeJS.ErrnoException) => {
        if (settings.signal?.aborted) reject(abortReason(settings.signal));
        // The server may close an idle connection just when it is used again; every request here can be repeated.
        else if (outgoing.reusedSocket && error.code === "ECONNRESET")
          send(method, path, settings, live).then(resolve, reject);
        else reject(new UnreachableError(`${server}: ${describe(error)}`));
      });
      // A server that accepts nothing must not hold a preview for minutes.
      outgoing.on("socket", (socket) => {
        if (!socket.connecting) return;
        const timer = setTimeout(() => {
          outgoing.destroy(new Error(`no connection within ${connectTimeoutMilliseconds / 1000} s`));
        }, connectTimeoutMilliseconds);
        socket.once(base.protocol === "https:" ? "secureConnect" : "connect", () => clearTimeout(timer));
        socket.once("close", () => clearTimeout(timer));
      });
      if (!live) outgoing.setTimeout(90_000, () => outgoing.destroy(new Error("no answer within 90 s")));
      outgoing.end(body);
    });
  }

  async function request(method: string, path: string, settings: RequestSettings = {}): Promise<PropertyMap> {
    // A server under load asks to come back (429), and a restarting one refuses for a moment (503).
    for (let attempt = 0; ; attempt++) {
      const response = await send(method, path, settings, false);
      const content = await readText(response);
      const code = response.statusCode ?? 0;
      const answer = parse(content);
      if (code >= 200 && code < 300) return answer;
      if ((code === 429 || code === 503) && attempt < 4) {
        const seconds = Number(response.headers["retry-after"] ?? 1) || 1;
        await new Promise((resolve) => setTimeout(resolve, Math.min(seconds, 5) * 1000));
        continue;
      }
      throw new ApiError(code, answer);
    }
  }

  async function* watch(path: string, query: Query, signal: AbortSignal): AsyncIterable<WatchEvent> {
    const response = await send("GET", path, { query: { ...query, watch: true }, signal }, true);
    if (response.statusCode !== 200) throw new ApiError(response.statusCode ?? 0, parse(await readText(response)));
    try {
      for await (const line of createInterface({ input: response })) {
        const event = parse(line);
        if (isMap(event["object"])) yield { type: text(event, "type") ?? "", object: event["object"] };
      }
    } catch (error) {
      if (signal.aborted) throw abortReason(signal);
      throw new UnreachableError(`${server}: ${describe(error)}`);
    } finally {
      response.destroy();
    }
  }

  async function discover(apiVersion: string): Promise<Map<string, ResourceKind>> {
    const path = groupOf(apiVersion) === "" ? `/api/${apiVersion}` : `/apis/${apiVersion}`;
    const answer = await request("GET", path);
    return new Map(
      list(answer, "resources")
        .filter((entry) => text(entry, "name")?.includes("/") === false)
        .map((entry) => [
          text(entry, "kind") ?? "",
          { plural: text(entry, "name") ?? "", namespaced: isMap(entry) && entry["namespaced"] === true },
        ]),
    );
  }

  async function resourceKind(apiVersion: string, kind: string): Promise<ResourceKind> {
    for (const fresh of [false, true]) {
      let known = kinds.get(apiVersion);
      if (known === undefined || fresh) {
        known = discover(apiVersion);
        kinds.set(apiVersion, known);
      }
      try {
        const found = (await known).get(kind);
        if (found !== undefined) return found;
      } catch (error) {
        kinds.delete(apiVersion);
        if (!(error instanceof ApiError && error.code === 404)) throw error;
      }
    }
    throw new UnknownKindError(`the API server knows no ${kind} in ${apiVersion}; is its definition installed?`);
  }

  return {
    server,
    reach: () => {
      reached ??= request("GET", "/version").then(() => undefined);
      return reached;
    },
    request,
    log: async (path, query) => {
      const response = await send("GET", path, { query }, false);
      const content = await readText(response);
      if (response.statusCode !== 200) throw new ApiError(response.statusCode ?? 0, parse(content));
      return content;
    },
    watch,
    resourceKind,
    close: () => agent.destroy(),
  };
}

/** The client library hands credentials over inside an agent of its own. */
function agentOptions(options: RequestOptions): RequestOptions {
  const agent = options.agent;
  return typeof agent === "object" && "options" in agent ? (agent.options as RequestOptions) : {};
}

function parse(content: string): PropertyMap {
  try {
    const value = JSON.parse(content) as Value;
    return isMap(value) ? value : {};
  } catch {
    return { message: content.trim().slice(0, 500) };
  }
}

function describe(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(describe).join("; ");
  return error instanceof Error ? error.message : String(error);
}

export function abortReason(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error("cancelled");
}

/** The path of an object, or of its collection when no name is given. */
export async function pathOf(
  client: Client,
  apiVersion: string,
  kind: string,
  namespace: string | undefined,
  name?: string,
): Promise<string> {
  const { plural, namespaced } = await client.resourceKind(apiVersion, kind);
  const root = groupOf(apiVersion) === "" ? `/api/${apiVersion}` : `/apis/${apiVersion}`;
  const place = namespaced ? `/namespaces/${encodeURIComponent(namespace ?? "default")}` : "";
  return `${root}${place}/${plural}${name === undefined ? "" : `/${encodeURIComponent(name)}`}`;
}

export function objectPath(client: Client, object: KubernetesObject): Promise<string> {
  return pathOf(client, apiVersionOf(object), kindOf(object), namespaceOf(object), nameOf(object));
}

/** The live object; undefined when there is none. */
export async function getObject(client: Client, path: string): Promise<KubernetesObject | undefined> {
  try {
    return await client.request("GET", path);
  } catch (error) {
    if (error instanceof ApiError && error.code === 404) return undefined;
    throw error;
  }
}
