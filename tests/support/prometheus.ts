/** A real Prometheus in the sandbox, with the configuration of the documentation. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { parse } from "yaml";
import { createRedaction, openEnvironment } from "../../checks";
import { namesOf, serviceHost } from "../../components/shared/core/names";
import type { DrilledService } from "../../drills/profiles";
import { apply, kubectl } from "../../sandbox/cluster";
import { prometheusImage, references } from "../../sandbox/images";
import { checkout, kubeconfig } from "../../sandbox/paths";
import { until } from "../../sandbox/shell";

export interface Target {
  /** Of the pod. */
  labels: { namespace: string; pod: string };
  health: "up" | "down" | "unknown";
  lastError: string;
}

export interface Rule {
  name: string;
  query: string;
  state: "inactive" | "pending" | "firing";
  health: "ok" | "err" | "unknown";
  lastError?: string;
  labels: { severity: string; service: string };
}

export interface Prometheus {
  targets(): Promise<Target[]>;
  rules(): Promise<Rule[]>;
  /** The labels of what an expression returns now. */
  series(expression: string): Promise<Record<string, string>[]>;
  close(): Promise<void>;
}

const name = "prometheus";
const port = 9090;
const folder = "/etc/prometheus";

const discoveryPort = 8080;

/**
 * Tells Prometheus of all pods of a namespace, a target for each port, with the labels that its own discovery gives: Debian builds
 * Prometheus without the client of Kubernetes.
 */
const discoveryCode = `
const { createServer } = require("node:http");
const { readFileSync } = require("node:fs");
const [namespace, port] = process.argv.slice(1);
const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: apiPort } = process.env;
const url = "https://" + host + ":" + apiPort + "/api/v1/namespaces/" + namespace + "/pods";
const meta = (key) => "__meta_kubernetes_" + key.replace(/[^a-zA-Z0-9_]/g, "_");
const targetsOf = ({ metadata, spec, status }) => {
  const ofPod = {
    [meta("namespace")]: metadata.namespace,
    [meta("pod_name")]: metadata.name,
    [meta("pod_phase")]: status.phase,
    ...Object.fromEntries(Object.entries(metadata.labels ?? {}).map(([key, value]) => [meta("pod_label_" + key), value])),
  };
  // It has none before it is on a node.
  if (status.podIP === undefined) return [];
  return [...spec.containers, ...(spec.initContainers ?? [])].flatMap(({ ports = [] }) =>
    ports.map(({ name = "", containerPort }) => ({
      targets: [status.podIP + ":" + containerPort],
      labels: { ...ofPod, [meta("pod_container_port_name")]: name },
    })),
  );
};
createServer(async (request, response) => {
  try {
    const token = readFileSync("/var/run/secrets/kubernetes.io/serviceaccount/token", "utf8");
    const answer = await fetch(url, { headers: { authorization: "Bearer " + token } });
    if (!answer.ok) throw new Error(answer.status + " " + (await answer.text()));
    const { items } = await answer.json();
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(items.flatMap(targetsOf)));
  } catch (error) {
    console.error(error);
    response.writeHead(500).end();
  }
}).listen(Number(port), "127.0.0.1");`;

interface Series {
  metric: Record<string, string>;
}

interface Job {
  tls_config?: { server_name: string };
}

/** As documented, for the services of this namespace, and in a hurry. */
export function configurationOf(namespace: string, services: DrilledService[]): object {
  const text = readFileSync(join(checkout, "docs", "prometheus.yaml"), "utf8");
  const documented = parse(text) as { scrape_configs: Job[] };
  const jobs = documented.scrape_configs
    .filter(({ tls_config }) => tls_config === undefined || services.includes("vault"))
    .map((job) => ({
      ...job,
      ...(job.tls_config && { tls_config: { ...job.tls_config, server_name: serviceHost("vault", namespace) } }),
      // Not in the file: it is written as JSON.
      kubernetes_sd_configs: undefined,
      http_sd_configs: [{ url: `http://127.0.0.1:${discoveryPort}`, refresh_interval: "5s" }],
    }));
  const global = { scrape_interval: "5s", scrape_timeout: "5s", evaluation_interval: "5s" };
  return { ...documented, global, scrape_configs: jobs };
}

const configMapKey = async (namespace: string, configMap: string, key: string): Promise<string> => {
  const text = await kubectl("get", "configmap", configMap, "-n", namespace, "-o", "json");
  return (JSON.parse(text) as { data: Record<string, string> }).data[key] ?? "";
};

/** In a namespace of its own, `home`, which is there already. Its image must be on the nodes. */
export async function startPrometheus(
  home: string,
  namespace: string,
  services: DrilledService[],
): Promise<Prometheus> {
  const files: Record<string, string> = { "prometheus.yml": JSON.stringify(configurationOf(namespace, services)) };
  for (const service of services) {
    files[`rules/${service}.yaml`] = await configMapKey(
      namespace,
      namesOf(service).monitoring,
      `${namespace}-${service}.yaml`,
    );
  }
  if (services.includes("vault")) {
    files["vault/ca.crt"] = await configMapKey(namespace, namesOf("vault").trust, "ca.crt");
  }
  await apply(...objectsOf(home, namespace, files));
  await kubectl("wait", `pod/${name}`, "-n", home, "--for=condition=Ready", "--timeout=120s");

  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  const environment = openEnvironment(config, { namespace: home }, createRedaction(), new AbortController().signal);
  const ask = (path: string): Promise<unknown> =>
    until(`an answer of Prometheus to ${path}`, 30, async () => {
      const { host, port: local } = await environment.tunnel.dial(name, port);
      const answer = await fetch(`http://${host}:${local}/api/v1/${path}`, { signal: AbortSignal.timeout(5_000) });
      const { status, data, error } = (await answer.json()) as { status: string; data: unknown; error?: string };
      if (status !== "success") throw new Error(error);
      return data;
    });
  return {
    targets: async () => ((await ask("targets?state=active")) as { activeTargets: Target[] }).activeTargets,
    rules: async () =>
      ((await ask("rules?type=alert")) as { groups: { rules: Rule[] }[] }).groups.flatMap((each) => each.rules),
    series: async (expression) => {
      const { result } = (await ask(`query?query=${encodeURIComponent(expression)}`)) as { result: Series[] };
      return result.map(({ metric }) => metric);
    },
    close: () => environment.close(),
  };
}

/** What Pod Security "restricted" asks of a container. */
export const containerProfile = {
  imagePullPolicy: "IfNotPresent",
  securityContext: {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ["ALL"] },
  },
};

function objectsOf(home: string, namespace: string, files: Record<string, string>): object[] {
  const keyOf = (path: string): string => path.replaceAll("/", ".");
  const own = { name, namespace: home };
  const role = { apiVersion: "rbac.authorization.k8s.io/v1", metadata: { name: home, namespace } };
  return [
    { apiVersion: "v1", kind: "ServiceAccount", metadata: own },
    { ...role, kind: "Role", rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["list"] }] },
    {
      ...role,
      kind: "RoleBinding",
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: home },
      subjects: [{ kind: "ServiceAccount", name, namespace: home }],
    },
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: own,
      data: Object.fromEntries(Object.entries(files).map(([path, text]) => [keyOf(path), text])),
    },
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata: own,
      spec: {
        serviceAccountName: name,
        terminationGracePeriodSeconds: 1,
        securityContext: { runAsNonRoot: true, runAsUser: 65534, seccompProfile: { type: "RuntimeDefault" } },
        containers: [
          {
            name,
            image: prometheusImage.image.reference,
            command: ["/bin/prometheus"],
            args: [`--config.file=${folder}/prometheus.yml`, "--storage.tsdb.path=/prometheus"],
            readinessProbe: { httpGet: { path: "/-/ready", port }, periodSeconds: 1 },
            resources: { requests: { cpu: "20m", memory: "64Mi" }, limits: { memory: "384Mi" } },
            ...containerProfile,
            volumeMounts: [
              { name: "config", mountPath: folder, readOnly: true },
              { name: "data", mountPath: "/prometheus" },
            ],
          },
          {
            name: "discovery",
            image: references.node,
            command: ["/usr/local/bin/node", "-e", discoveryCode, namespace, `${discoveryPort}`],
            env: [{ name: "NODE_EXTRA_CA_CERTS", value: "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt" }],
            resources: { requests: { cpu: "10m", memory: "32Mi" }, limits: { memory: "128Mi" } },
            ...containerProfile,
          },
        ],
        volumes: [
          {
            name: "config",
            configMap: { name, items: Object.keys(files).map((path) => ({ key: keyOf(path), path })) },
          },
          { name: "data", emptyDir: {} },
        ],
      },
    },
  ];
}

/** Of the alerts, which all write matchers between braces: what each one reads. */
export function selectorsOf(expression: string): string[] {
  return [...expression.matchAll(/[a-zA-Z_:][\w:]*\{(?:"(?:[^"\\]|\\.)*"|[^"}])*\}/g)].map(([selector]) => selector);
}
