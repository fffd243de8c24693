import { type ClientRequest, type IncomingMessage, request as plainRequest } from "node:http";
import { type RequestOptions, request as tlsRequest } from "node:https";
import { Readable } from "node:stream";
import { memberHost } from "../core/names";
import { agentPorts } from "../core/settings";

export interface HttpRequest {
  url: string;
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  headers?: Record<string, string>;
  /** A stream is sent part by part, of a length that is not said before. */
  body?: string | Readable | undefined;
  ca?: string | undefined;
  /** The name that the certificate must carry, default: the host of the URL. */
  servername?: string | undefined;
  /** Take any certificate: for the own server, in whose pod nobody else listens, and whose certificate may have ended. */
  unverified?: boolean | undefined;
  timeoutSeconds: number;
}

export interface HttpResponse {
  status: number;
  body: string;
}

/** The built-in `fetch` cannot be given a certificate authority, so this uses `node:https`. */
export function http(request: HttpRequest): Promise<HttpResponse> {
  const { url, method = "GET", body, timeoutSeconds } = request;
  const send = url.startsWith("https:") ? tlsRequest : plainRequest;
  const signal = AbortSignal.timeout(timeoutSeconds * 1000);
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      const reason = signal.aborted ? `no answer within ${timeoutSeconds} seconds` : error.message;
      reject(new Error(`${method} ${new URL(url).origin}${new URL(url).pathname}: ${reason}`));
    };
    const outgoing = send(url, { ...optionsOf(request), signal }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", fail);
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8") }),
      );
    });
    outgoing.on("error", fail);
    sendBody(outgoing, body);
  });
}

function sendBody(outgoing: ClientRequest, body: HttpRequest["body"]): void {
  if (body instanceof Readable) body.on("error", (error) => outgoing.destroy(error)).pipe(outgoing);
  else outgoing.end(body);
}

function optionsOf({ method = "GET", headers = {}, body, ca, servername, unverified }: HttpRequest): RequestOptions {
  return {
    method,
    headers: typeof body !== "string" ? headers : { ...headers, "content-length": Buffer.byteLength(body) },
    // One connection for each request: members come and go, and none must be kept by a process that wants to end.
    agent: false,
    ...(ca === undefined ? {} : { ca }),
    ...(servername === undefined ? {} : { servername }),
    ...(unverified ? { rejectUnauthorized: false } : {}),
  };
}

/** The same for an answer of any size, which the caller reads part by part. `timeoutSeconds`: without any part. */
export function openHttp(request: HttpRequest): Promise<IncomingMessage> {
  const { url, body, timeoutSeconds } = request;
  const send = url.startsWith("https:") ? tlsRequest : plainRequest;
  return new Promise((resolve, reject) => {
    let open: { destroy(error: Error): unknown };
    const outgoing = send(url, optionsOf(request), (response) => {
      open = response;
      resolve(response);
    });
    open = outgoing;
    outgoing.setTimeout(timeoutSeconds * 1000, () => {
      open.destroy(new Error(`${url}: nothing came for ${timeoutSeconds} seconds`));
    });
    outgoing.on("error", reject);
    sendBody(outgoing, body);
  });
}

/** Of an answer that is no longer wanted: at most about this much, and the connection ends. */
export async function beginningOf(response: IncomingMessage, bytes: number): Promise<string> {
  let text = "";
  for await (const part of response as AsyncIterable<Buffer>) {
    text += part.toString();
    if (text.length >= bytes) break;
  }
  return text;
}

/** A page of the agent beside a server, such as `/ready`. */
export function askAgent(
  { name }: { name: string },
  namespace: string,
  member: string,
  path: string,
  timeoutSeconds = 5,
): Promise<HttpResponse> {
  return http({ url: `http://${memberHost(name, namespace, member)}:${agentPorts.http}${path}`, timeoutSeconds });
}
