import { output } from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { type EtcdClusterArguments, resolveEtcd } from "../../../components/etcd";
import { type Ensemble, podTemplate } from "../../../components/shared/deploy";
import { agentImage } from "../../../components/shared/deploy/images";

type PodArgument = NonNullable<EtcdClusterArguments["pod"]>;
type Others = Partial<Omit<EtcdClusterArguments, "pod">>;

const etcd = (pod: PodArgument = {}, others: Others = {}) =>
  resolveEtcd("etcd", { namespace: "cells", pod, ...others });
const digest = `sha256:${"0".repeat(64)}`;
const agent = { name: "agent", image: agentImage, resources: { limits: { memory: "192Mi" } } };
const server = ({ image, resources }: Ensemble) => ({ name: "etcd", image, resources });
const template = (ensemble: Ensemble) =>
  podTemplate(ensemble, {
    account: "etcd",
    labels: { app: "etcd" },
    placement: { nodeSelector: { disk: "fast" } },
    initContainers: [agent],
    containers: [server(ensemble)],
  });

describe("the template of a pod", () => {
  it("is that of the component without the argument", () => {
    const { metadata, spec } = template(etcd());
    expect(metadata).toEqual({ labels: { app: "etcd" } });
    expect(spec).toEqual({
      containers: [server(etcd())],
      nodeSelector: { disk: "fast" },
      serviceAccountName: "etcd",
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      dnsConfig: expect.anything() as unknown,
      securityContext: {
        runAsNonRoot: true,
        runAsUser: 1000,
        runAsGroup: 1000,
        fsGroup: 1000,
        fsGroupChangePolicy: "OnRootMismatch",
        seccompProfile: { type: "RuntimeDefault" },
      },
      initContainers: [agent],
    });
  });

  it("has labels and annotations beside its own", () => {
    const { metadata } = template(etcd({ labels: { team: "" }, annotations: { "example.com/Contact": "a b" } }));
    expect(metadata).toEqual({ labels: { app: "etcd", team: "" }, annotations: { "example.com/Contact": "a b" } });
  });

  it("takes outputs for what a program may make itself", () => {
    const [secret, priority] = [output("registry"), output("databases")];
    expect(template(etcd({ imagePullSecrets: [secret], priorityClassName: priority })).spec).toMatchObject({
      imagePullSecrets: [{ name: secret }],
      priorityClassName: priority,
    });
  });

  it.each<[PodArgument, Others, string[]]>([
    [{}, {}, ["docker.io/library/node:22.23.3-bookworm-slim", "gcr.io/etcd-development/etcd:v3.6.16"]],
    [
      { imageRegistry: "registry.example.com:5000/mirror" },
      { version: "3.6.9" },
      [
        "registry.example.com:5000/mirror/library/node:22.23.3-bookworm-slim",
        "registry.example.com:5000/mirror/etcd-development/etcd:v3.6.9",
      ],
    ],
    [
      { imageRegistry: "localhost" },
      { image: "quay.io/own/etcd:1" },
      ["localhost/library/node:22.23.3-bookworm-slim", "quay.io/own/etcd:1"],
    ],
    [
      { imageRegistry: "localhost", agentImage: `mirror/node@${digest}` },
      { image: `mirror/etcd:v3.6.8@${digest}` },
      [`mirror/node@${digest}`, `mirror/etcd:v3.6.8@${digest}`],
    ],
  ])("pulls its images from the mirror, unless they are given themselves: %o %o", (pod, others, images) => {
    const { spec } = template(etcd(pod, others));
    expect(spec).toMatchObject({ initContainers: [{ image: images[0] }], containers: [{ image: images[1] }] });
  });

  it("runs as the given user, whose group the volumes get", () => {
    const ids = { runAsUser: 2000, runAsGroup: 2000, fsGroup: 2000 };
    expect(template(etcd({ userId: 2000 })).spec).toMatchObject({ securityContext: ids });
  });

  it("names no user where the namespace has a range of users", () => {
    expect(template(etcd({ userId: "namespace" })).spec).toHaveProperty("securityContext", {
      runAsNonRoot: true,
      fsGroupChangePolicy: "OnRootMismatch",
      seccompProfile: { type: "RuntimeDefault" },
    });
  });

  it("tells agents how to log, and servers nothing", () => {
    const variable = { name: "LOG_FORMAT", value: "json" };
    const { initContainers, containers } = template(etcd({ agentLogs: "json" })).spec as {
      initContainers: { env: object[] }[];
      containers: { env?: object[] }[];
    };
    expect(initContainers[0]?.env).toContainEqual(variable);
    expect(containers[0]?.env ?? []).not.toContainEqual(variable);
  });

  it("limits the CPU of all containers but the server, which has an argument for it", () => {
    const ensemble = etcd({ agentCpuLimit: "500m" });
    expect(template(ensemble).spec).toMatchObject({
      initContainers: [{ resources: { limits: { memory: "192Mi", cpu: "500m" } } }],
      containers: [{ resources: ensemble.resources }],
    });
    expect(ensemble.resources.limits).not.toHaveProperty("cpu");
  });
});

const characters = "at most 63 letters, digits, hyphens, underscores and dots, with a letter or digit at both ends";
const keys = `must have keys of ${characters}, after a DNS name and a slash or without them`;
const example = 'use one like "example.com/team"';
const user = 'must be a number from 1 (0 is root) to 2147483647, or "namespace"';
const reserved = (key: string): string => `must not contain "${key}", which the component or Kubernetes sets`;
const long = "a".repeat(64);

describe("the argument pod", () => {
  it.each<[object, string]>([
    [{ labels: { "app.kubernetes.io/name": "x" } }, `labels ${reserved("app.kubernetes.io/name")}; use another key`],
    [
      { labels: { "controller-revision-hash": "x" } },
      `labels ${reserved("controller-revision-hash")}; use another key`,
    ],
    [
      { annotations: { "cells-services/config": "x" } },
      `annotations ${reserved("cells-services/config")}; use another key`,
    ],
    [{ labels: { "a b": "x" } }, `labels ${keys}, got "a b"; ${example}`],
    [{ labels: { [long]: "x" } }, `labels ${keys}, got "${long}"; ${example}`],
    [{ labels: { "Example.com/team": "x" } }, `labels ${keys}, got "Example.com/team"; ${example}`],
    [{ annotations: { "a/b/c": "x" } }, `annotations ${keys}, got "a/b/c"; ${example}`],
    [{ labels: { team: "a b" } }, `labels.team must be empty or ${characters}, got "a b"; use one like "platform"`],
    [{ labels: { team: 1 } }, "labels.team must be a text, got 1; give a text"],
    [
      { imagePullSecrets: "registry" },
      'imagePullSecrets must be a list of names, got "registry"; use a list like ["registry"]',
    ],
    [{ imagePullSecrets: [""] }, "imagePullSecrets[0] is missing; give the name of a Secret in the namespace"],
    [{ priorityClassName: 1 }, "priorityClassName must be a text, got 1; give the name of a PriorityClass"],
    ...[
      "https://registry.example.com",
      "mirror",
      "mirror/library",
      "registry.example.com/",
      "registry.example.com/a:1",
    ].map((given): [object, string] => [
      { imageRegistry: given },
      `imageRegistry must be the host of a registry, which may have a port and a path, got "${given}"; ` +
        'use one like "registry.example.com/mirror"',
    ]),
    ...[0, 1.5, 2 ** 31, "1000"].map((given): [object, string] => [
      { userId: given },
      `userId ${user}, got ${JSON.stringify(given)}; use 1000, or "namespace" where the namespace has a range of users`,
    ]),
    [{ agentCpuLimit: "lots" }, 'agentCpuLimit must be a Kubernetes quantity, got "lots"; use one like "500m"'],
    [
      { agentCpuLimit: "10m" },
      'agentCpuLimit must be at least 20m, which one of the containers requests, got "10m"; use "500m"',
    ],
    [{ label: {} }, "label is not an argument; did you mean labels"],
  ])("refuses %j", (pod, message) => {
    expect(() => etcd(pod)).toThrow(`etcd "etcd": pod.${message}`);
  });
});
