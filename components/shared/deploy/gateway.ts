/** The one address of a service whose clients cannot find the writable member themselves: two HAProxy that follow it. */
import { Deployment } from "@pulumi/kubernetes/apps/v1/deployment";
import { Service } from "@pulumi/kubernetes/core/v1/service";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import { PodDisruptionBudget } from "@pulumi/kubernetes/policy/v1/podDisruptionBudget";
import type { apps, core } from "@pulumi/kubernetes/types/input";
import * as pulumi from "@pulumi/pulumi";
import { type GatewaySettings, gatewayMetricsPort, gatewayPaths } from "../core/gateway";
import { gatewaySelector, labels, namesOf } from "../core/names";
import { createAccess } from "./access";
import type { Ensemble } from "./arguments";
import { bundleName, createBundle, readAgentBundle } from "./bundle";
import { gatewayImage } from "./images";
import { clientService, fromClients, fromMetrics, metadata } from "./network";
import {
  agentContainer,
  agentVolumes,
  containerPorts,
  containerProfile,
  logSpace,
  placementWithoutData,
  spreadOverHosts,
} from "./pod";
import { podTemplate } from "./template";

/** One proxy remains when the node of the other is lost or drained. */
const replicas = 2;
/** After this time no node sends connections to the pod any more, and those on their way have arrived. */
const drainSeconds = 5;
/** Returns the proxies and the Service `<name>`, which is the one address: both must exist before clients can connect. */
export function createGateway(
  ensemble: Ensemble,
  details: {
    /** Of the clients and of the servers alike. */
    port: number;
    /** Connections through one proxy, default 4096. */
    maxConnections?: number;
    /** The headless Service that names the members, and the policy that denies by default. */
    dependsOn: pulumi.Resource[];
  },
  options: pulumi.CustomResourceOptions,
): pulumi.Resource[] {
  const { port, maxConnections = 4096 } = details;
  const name = namesOf(ensemble.name).gateway;
  const selector = gatewaySelector(ensemble.service, ensemble.name);
  const settings: GatewaySettings = { name: ensemble.name, members: ensemble.members, port, maxConnections };
  // The gateway has its own bundle: a change of the agent must not roll the proxies, which cuts the sessions of clients.
  const bundle = readAgentBundle("gateway", () => require("../../../dist/agents/gateway.json"));
  const program = createBundle(ensemble, name, bundle, options);
  const access = createAccess(ensemble, name, [], options);
  const own = metadata(ensemble, name);
  // Admits clients. The policy of all pods of the ensemble lets the proxies reach the members.
  const ingress = [fromClients(ensemble, port), ...fromMetrics(ensemble, [gatewayMetricsPort])];
  const podSelector = { matchLabels: selector };
  const policySpec = { podSelector, policyTypes: ["Ingress"], ingress };
  const policy = new NetworkPolicy(name, { metadata: own, spec: policySpec }, options);
  const whenPrepared = pulumi.mergeOptions(options, {
    dependsOn: [program, policy, ...access, ...details.dependsOn],
    customTimeouts: { create: "10m", update: "10m" },
  });
  const spec = gatewaySpec(ensemble, settings, bundleName(name, bundle), selector);
  const deployment = new Deployment(name, { metadata: own, spec }, whenPrepared);
  const service = new Service(namesOf(ensemble.name).server, clientService(ensemble, port, selector), whenPrepared);
  const budget = { maxUnavailable: 1, selector: podSelector };
  new PodDisruptionBudget(name, { metadata: own, spec: budget }, options);
  return [deployment, service];
}

function gatewaySpec(
  ensemble: Ensemble,
  settings: GatewaySettings,
  program: string,
  selector: Record<string, string>,
): apps.v1.DeploymentSpec {
  const name = namesOf(ensemble.name).gateway;
  const volumeMounts = [{ name: "run", mountPath: gatewayPaths.run }];
  return {
    replicas,
    // A new proxy is ready before an old one stops, so the capacity for sessions never falls.
    strategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
    minReadySeconds: 5,
    revisionHistoryLimit: 3,
    selector: { matchLabels: selector },
    template: podTemplate(ensemble, {
      account: name,
      labels: { ...labels(ensemble.service, ensemble.name), ...selector },
      placement: {
        // As the members, who need as many hosts as two proxies and a third during a roll.
        affinity: { podAntiAffinity: spreadOverHosts(ensemble.placement.spread, selector) },
        ...placementWithoutData(ensemble),
      },
      terminationGracePeriodSeconds: drainSeconds + 25,
      initContainers: [agentContainer({ name: "config", command: ["gateway"], settings, volumeMounts })],
      containers: [proxyContainer(settings)],
      volumes: [...agentVolumes(program), { name: "run", emptyDir: { medium: "Memory", sizeLimit: "1Mi" } }],
    }),
  };
}

function proxyContainer(settings: GatewaySettings): core.v1.Container {
  const probe = { httpGet: { path: "/healthz", port: "metrics", scheme: "HTTP" } };
  return {
    name: "haproxy",
    image: gatewayImage,
    ...containerProfile,
    // In the foreground, one process: nothing asks for a reload, which would need a master process.
    command: ["/usr/local/sbin/haproxy", "-db", "-f", gatewayPaths.config],
    ports: containerPorts({ client: settings.port, metrics: gatewayMetricsPort }),
    // HAProxy needs two buffers of 16 KiB for each connection, and some MiB for itself.
    resources: {
      requests: { cpu: "20m", memory: "32Mi", "ephemeral-storage": "16Mi" },
      limits: { memory: `${64 + Math.ceil((settings.maxConnections * 40) / 1024)}Mi`, "ephemeral-storage": logSpace },
    },
    // Both probes look at the process only: without a primary a restart of the proxy would not help.
    livenessProbe: { ...probe, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
    readinessProbe: { ...probe, periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 2 },
    lifecycle: { preStop: { sleep: { seconds: drainSeconds } } },
    volumeMounts: [{ name: "run", mountPath: gatewayPaths.run, readOnly: true }],
  };
}
