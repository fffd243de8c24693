/** The few calls of the Kubernetes API that agents need, with the service account of their pod. */
import { readFile } from "node:fs/promises";
import { messageOf } from "../core/errors";
import { waitFor } from "../core/wait";
import { type HttpResponse, http } from "./http";

export interface KubernetesObject {
  apiVersion?: string;
  kind?: string;
  metadata?: {
    name?: string;
    namespace?: string;
    uid?: string;
    generation?: number;
    labels?: Record<string, string>;
    annotations?: Record<string, string> | undefined;
    ownerReferences?: object[];
  };
}

export interface ConfigMap extends KubernetesObject {
  data?: Record<string, string>;
}

/** The values are base64. */
export interface Secret extends KubernetesObject {
  type?: string;
  data?: Record<string, string>;
}

export interface KubernetesApi {
  /** undefined when there is no such object. */
  get<T extends KubernetesObject>(path: string): Promise<T | undefined>;
  /** Never overwrites: "exists" when there is an object of that name. */
  create(path: string, object: KubernetesObject): Promise<"created" | "exists">;
  /** Server-side apply: creates, or sets only the given fields, which belong to the field manager from then on. */
  apply(path: string, object: KubernetesObject, manager: string): Promise<void>;
  /** As a drain does it. In words why not now; undefined: it stops, or it is gone already, or is another by now. */
  evict(namespace: string, pod: string, uid: string): Promise<string | undefined>;
  /** Only the object with this uid; one that is gone already, or is another by now, is left alone. */
  remove(path: string, uid: string): Promise<void>;
}

const tokenDirectory = "/var/run/secrets/kubernetes.io/serviceaccount";

/** How long a caller waits for one answer, and for an API server that is away. */
export interface Patience {
  requestSeconds: number;
  outageSeconds: number;
}

/** As long as the upgrade of a single control plane node takes. */
const patient: Patience = { requestSeconds: 10, outageSeconds: 60 };
/** Of a sidecar: its next pass asks again, and until then what it sees of its server grows old. */
export const impatient: Patience = { requestSeconds: 2, outageSeconds: 1 };

export function core(namespace: string, resource: string, name?: string): string {
  return `/api/v1/namespaces/${namespace}/${resource}${name === undefined ? "" : `/${name}`}`;
}

export function group(apiVersion: string, namespace: string, resource: string, name?: string): string {
  return `/apis/${apiVersion}/namespaces/${namespace}/${resource}${name === undefined ? "" : `/${name}`}`;
}

export function inClusterApi(patience: Patience = patient): KubernetesApi {
  return kubernetesApi(inClusterEndpoint(), patience);
}

export function inClusterEndpoint(): KubernetesEndpoint {
  const host = process.env["KUBERNETES_SERVICE_HOST"] ?? "kubernetes.default.svc";
  const port = process.env["KUBERNETES_SERVICE_PORT"] ?? "443";
  return {
    server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    // Both files change during the life of the pod: the token every hour.
    token: () => readFile(`${tokenDirectory}/token`, "utf8"),
    ca: () => readFile(`${tokenDirectory}/ca.crt`, "utf8"),
  };
}

export interface KubernetesEndpoint {
  server: string;
  token: () => Promise<string>;
  ca: () => Promise<string | undefined>;
}

type Method = "GET" | "POST" | "PATCH" | "DELETE";

export function kubernetesApi(endpoint: KubernetesEndpoint, patience: Patience = patient): KubernetesApi {
  const call = async (method: Method, path: string, object?: KubernetesObject) => {
    const [token, ca] = await Promise.all([endpoint.token(), endpoint.ca()]);
    return http({
      url: `${endpoint.server}${path}`,
      method,
      headers: {
        authorization: `Bearer ${token.trim()}`,
        accept: "application/json",
        // JSON is YAML.
        "content-type": method === "PATCH" ? "application/apply-patch+yaml" : "application/json",
      },
      ...(object === undefined ? {} : { body: JSON.stringify(object) }),
      ...(ca === undefined ? {} : { ca }),
      timeoutSeconds: patience.requestSeconds,
    });
  };
  // All calls may be repeated: get and apply change nothing the second time, create reports what exists, and remove names a uid.
  const settled = (method: Method, path: string, object?: KubernetesObject) =>
    waitFor(
      "the Kubernetes API",
      async () => {
        try {
          const response = await call(method, path, object);
          return isPassing(response) ? { waiting: describe(response) } : { done: response };
        } catch (error) {
          return { waiting: (error as Error).message };
        }
      },
      { deadlineSeconds: patience.outageSeconds },
    );
  return {
    async get<T extends KubernetesObject>(path: string) {
      const response = await settled("GET", path);
      return response.status === 404 ? undefined : (JSON.parse(expectOk("get", path, response)) as T);
    },
    async create(path, object) {
      const response = await settled("POST", path, object);
      if (response.status === 409) return "exists";
      expectOk("create", path, response);
      return "created";
    },
    async apply(path, object, manager) {
      // Forced only for the fields of the object given: those are ours.
      const query = `fieldManager=${encodeURIComponent(manager)}&force=true`;
      expectOk("apply", path, await settled("PATCH", `${path}?${query}`, object));
    },
    async evict(namespace, pod, uid) {
      const eviction = {
        apiVersion: "policy/v1",
        kind: "Eviction",
        metadata: { name: pod },
        deleteOptions: { preconditions: { uid } },
      };
      // Once: until the next attempt the others may have changed.
      const response = await call("POST", core(namespace, "pods", `${pod}/eviction`), eviction).catch(messageOf);
      if (typeof response === "string") return response;
      const gone = response.status === 404 || response.status === 409;
      return gone || (response.status >= 200 && response.status < 300) ? undefined : describe(response);
    },
    async remove(path, uid) {
      const preconditions = { apiVersion: "v1", kind: "DeleteOptions", preconditions: { uid } };
      const response = await settled("DELETE", path, preconditions);
      if (response.status !== 404 && response.status !== 409) expectOk("delete", path, response);
    },
  };
}

/**
 * 403: an API server learns of a new RoleBinding a moment after the client that made it, and a Job runs only once. It
 * has other words when the right is there and the change is not allowed.
 */
function isPassing(response: HttpResponse): boolean {
  if (response.status === 403) return / cannot \w+ resource /.test(describe(response));
  return response.status === 429 || response.status >= 500;
}

function expectOk(verb: string, path: string, response: HttpResponse): string {
  if (response.status >= 200 && response.status < 300) return response.body;
  throw new Error(`kubernetes refused to ${verb} ${path}: ${describe(response)}`);
}

/** The message of a Kubernetes Status, which holds no values of Secrets. */
function describe(response: HttpResponse): string {
  try {
    const { message } = JSON.parse(response.body) as { message?: string };
    return message ?? `status ${response.status}`;
  } catch {
    return `status ${response.status}`;
  }
}

export async function ownerReference(api: KubernetesApi, namespace: string, serviceAccount: string): Promise<object> {
  const owner = await api.get(core(namespace, "serviceaccounts", serviceAccount));
  if (owner?.metadata?.uid === undefined) throw new Error(`the ServiceAccount ${serviceAccount} does not exist`);
  return { apiVersion: "v1", kind: "ServiceAccount", name: serviceAccount, uid: owner.metadata.uid };
}

export function decoded(data: Record<string, string> | undefined): Record<string, string> {
  return Object.fromEntries(
    Object.entries(data ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64").toString("utf8")]),
  );
}

/** Without the keys that have no value. */
export function encoded(values: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([key, value]) => (value === undefined ? [] : [[key, base64(value)]])),
  );
}

export function base64(text: string): string {
  return Buffer.from(text, "utf8").toString("base64");
}
