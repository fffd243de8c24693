import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import {
  ensembleSchema,
  ensembleShape,
  nameLimit,
  resolver,
  type ServiceProfile,
} from "../../../components/shared/deploy";

const profile: ServiceProfile = {
  service: "etcd",
  bundle: () => undefined,
  image: { repository: "example.org/etcd", version: "3.6.8", tagPrefix: "v" },
  storage: { size: "8Gi", minimum: "2Gi" },
  resources: { requests: { cpu: "100m" }, limits: { memory: "1Gi" } },
};

const digest = `sha256:${"0123456789abcdef".repeat(4)}`;
const schema = ensembleSchema(ensembleShape(profile));
const resolve = (args: object, name = "config") => resolver(profile, schema)(name, { namespace: "cells", ...args });

function messageOf(args: object, name = "config"): string {
  try {
    resolve(args, name);
  } catch (error) {
    expect(pulumi.RunError.isInstance(error)).toBe(true);
    return (error as Error).message;
  }
  return "accepted";
}

describe("arguments of an ensemble", () => {
  it("has a default for everything but the namespace", () => {
    const ensemble = resolve({});
    expect({ ...ensemble, namespace: undefined, bundle: undefined }).toEqual({
      service: "etcd",
      name: "config",
      members: 3,
      version: "3.6.8",
      image: "example.org/etcd:v3.6.8",
      storage: { size: "8Gi", bytes: 8 * 2 ** 30, class: undefined },
      resources: { requests: { cpu: "100m" }, limits: { memory: "1Gi" } },
      placement: { spread: "preferred", zones: false, nodeSelector: {}, tolerations: [] },
      pod: {
        labels: {},
        annotations: {},
        imagePullSecrets: [],
        priorityClassName: undefined,
        imageRegistry: undefined,
        agentImage: undefined,
        gatewayImage: undefined,
        userId: 1000,
        agentLogs: "text",
        agentCpuLimit: undefined,
      },
      tls: "required",
      plannedStop: false,
      certificates: { issuerRef: undefined, lifetimeDays: 90, authorityLifetimeDays: 3650, rotation: 0 },
      passwords: { rotation: 0 },
      applications: [],
      applicationNamespaces: {},
      metrics: { from: [] },
      monitoring: { rules: "none", monitors: false, dashboards: false, labels: {}, runbooks: "docs" },
      clients: [{}],
      ipFamilyPolicy: undefined,
      egress: { apiServer: undefined },
      deletion: "keep",
    });
  });

  it("takes the version into the image, unless an image is given", () => {
    expect(resolve({ version: "3.6.9" }).image).toBe("example.org/etcd:v3.6.9");
    expect(resolve({ image: "mirror/etcd:1" }).image).toBe("mirror/etcd:1");
    for (const image of [`etcd@${digest}`, `mirror:5000/etcd:v3.6.8@${digest}`]) {
      const ensemble = resolve({ version: "3.6.9", image });
      expect([ensemble.image, ensemble.version]).toEqual([image, "3.6.9"]);
    }
    expect(resolve({ pod: { imageRegistry: "mirror:5000" } }).image).toBe("mirror:5000/etcd:v3.6.8");
  });

  it("merges resources with the defaults instead of dropping them", () => {
    const { resources } = resolve({ resources: { requests: { memory: "512Mi" } } });
    expect(resources).toEqual({ requests: { cpu: "100m", memory: "512Mi" }, limits: { memory: "1Gi" } });
  });

  it.each<[object, string]>([
    [
      { passwords: { rotation: -1 } },
      "passwords.rotation must be a whole number from 0 up, got -1; raise it by one to rotate",
    ],
    [{ members: 4 }, "members must be odd so that a majority exists, got 4; use 3 or 5"],
    [{ members: 1 }, "members must be at least 3 so that one may fail, got 1; use 3 or 5"],
    [{ members: 7 }, "members must be at most 5 because each write waits for a majority, got 7; use 3 or 5"],
    [{ members: "3" }, 'members must be 3 or 5, got "3"; use 3 or 5'],
    [{ storage: { size: "8" } }, 'storage.size must be a whole number with a unit, got "8"; use a size like "8Gi"'],
    [
      { storage: { size: "3.3Gi" } },
      'storage.size must be a whole number with a unit, got "3.3Gi"; use a size like "8Gi"',
    ],
    [
      { resources: { requests: { memory: "256Mi" }, limits: { memory: "64Mi" } } },
      'resources.limits.memory must be at least resources.requests.memory (256Mi), got "64Mi"; raise the limit or lower the request',
    ],
    [
      { resources: { requests: { cpu: "lots" } } },
      'resources.requests.cpu must be a Kubernetes quantity, got "lots"; use one like "500m" or "2"',
    ],
    [{ clients: [{ podLabel: { app: "x" } }] }, "clients[0].podLabel is not an argument; did you mean podLabels"],
    [
      { metrics: { from: {} } },
      'metrics.from must be a list of peers, got {}; use a list like [{ podLabels: { app: "x" } }]',
    ],
    [
      { certificates: null },
      "certificates must be an object with issuerRef, lifetimeDays, authorityLifetimeDays, rotation, got null; give one",
    ],
    [{ storage: { size: "8GB" } }, 'storage.size must be a whole number with a unit, got "8GB"; use a size like "8Gi"'],
    [{ storage: { size: "1Gi" } }, 'storage.size must be at least 2Gi, got "1Gi"; use 2Gi or more'],
    [{ storage: "8Gi" }, 'storage must be an object with size, class, got "8Gi"; give one'],
    [{ member: 3 }, "member is not an argument; did you mean members"],
    [{ placement: { zone: true } }, "placement.zone is not an argument; did you mean zones"],
    [{ metrics: { enabled: true } }, "metrics.enabled is not an argument; use one of from"],
    [{ tls: "on" }, 'tls must be "required", "optional" or "off", got "on"; use one of these'],
    [{ tls: true }, 'tls must be "required", "optional" or "off", got true; use one of these'],
    [{ deletion: "retain" }, 'deletion must be "keep" or "delete", got "retain"; use one of these'],
    [
      { version: "v3.6.8" },
      'version must be three numbers without a prefix, got "v3.6.8"; use a version like "3.6.16"',
    ],
    [
      { applications: ["Cells"] },
      "applications must be DNS labels of lower case letters, digits and hyphens that start with a letter, " +
        'got "Cells"; use a name like "cells"',
    ],
    [{ applications: ["cells", "cells"] }, 'applications must be distinct, got "cells" twice; remove one'],
    [{ applications: "cells" }, 'applications must be a list of names, got "cells"; use a list like ["cells"]'],
    [
      { monitoring: { rules: "ConfigMap" } },
      'monitoring.rules needs metrics.from, which admits Prometheus to the metrics, got "ConfigMap" and no metrics.from; give it too',
    ],
    [
      { applications: ["cells"], applicationNamespaces: { cells: "App" } },
      'applicationNamespaces.cells must be the name of a namespace, got "App"; use a name like "shop"',
    ],
    [
      { applications: ["cells"], applicationNamespaces: { shop: "shop" } },
      "applicationNamespaces.shop is not one of applications; add it there, or remove it here",
    ],
    [
      { applications: ["cells"], applicationNamespaces: { cells: "cells" } },
      'applicationNamespaces.cells must be another namespace than that of the service, got "cells"; remove it',
    ],
    [{ namespace: "" }, "namespace is missing; give the name of an existing namespace"],
    [
      { tls: "off", certificates: { rotation: 1 } },
      'certificates cannot be given when tls is "off"; remove certificates or use tls "required"',
    ],
    [
      { certificates: { issuerRef: { name: "vault" }, rotation: 1 } },
      "certificates.rotation must not be given together with issuerRef, which says when the authority is replaced, " +
        "got 1; remove one of them",
    ],
    [
      { certificates: { issuerRef: { name: "vault", kind: "AWSPCAClusterIssuer" } } },
      "certificates.issuerRef.kind must be Issuer or ClusterIssuer when certificates.issuerRef.group is cert-manager.io, " +
        'got "AWSPCAClusterIssuer"; give the group of that kind',
    ],
    [
      { certificates: { lifetimeDays: 1 } },
      "certificates.lifetimeDays must be at least 3 so that the daily job can renew in time, got 1; use 90",
    ],
    [
      { certificates: { authorityLifetimeDays: 100 } },
      "certificates.authorityLifetimeDays must be at least twice certificates.lifetimeDays (90), got 100; use 3650",
    ],
    [
      { certificates: { rotation: -1 } },
      "certificates.rotation must be a whole number from 0 up, got -1; raise it by one to rotate",
    ],
    ...[
      "etcd@sha256:12",
      `etcd@${digest}0`,
      `etcd@${digest.toUpperCase()}`,
      `@${digest}`,
      "etcd@v3.6.8",
      "etcd v3.6.8",
    ].flatMap((image) =>
      (
        [
          ["image", { image }],
          ["pod.agentImage", { pod: { agentImage: image } }],
          ["pod.gatewayImage", { pod: { gatewayImage: image } }],
        ] as const
      ).map(([key, args]): [object, string] => [
        args,
        `${key} must be a full image reference, got "${image}"; ` +
          'use one like "registry.example.com/redis:8.0.6", with or without "@sha256:" and 64 hex digits',
      ]),
    ),
    [{ image: "" }, "image is missing; give a full image reference"],
    ...["DualStack", "IPv6", null].map((given): [object, string] => [
      { ipFamilyPolicy: given },
      'ipFamilyPolicy must be "SingleStack", "PreferDualStack" or "RequireDualStack", ' +
        `got ${JSON.stringify(given)}; use one of these`,
    ]),
    [
      { egress: { apiServer: [] } },
      'egress.apiServer must be a list of at least one address range, got []; use a list like ["10.96.0.1/32"]',
    ],
    [
      { egress: { apiServer: "10.96.0.1/32" } },
      'egress.apiServer must be a list of at least one address range, got "10.96.0.1/32"; use a list like ["10.96.0.1/32"]',
    ],
    ...[
      "10.96.0.1",
      "10.96.0.1/33",
      "10.96.0.1/032",
      "10.96.0/24",
      "fd00::/129",
      "fe80::1%eth0/64",
      "api.example.com/32",
    ].map((range): [object, string] => [
      { egress: { apiServer: ["192.0.2.0/24", range] } },
      `egress.apiServer[1] must be a range of addresses in CIDR notation, got "${range}"; use one like "10.96.0.1/32"`,
    ]),
  ])("refuses %j", (args, message) => {
    const actual = messageOf(args);
    expect(actual).toBe(`etcd "config": ${message}`);
  });

  it("refuses names that are too long or no DNS label", () => {
    expect(messageOf({}, "a".repeat(nameLimit))).toBe("accepted");
    expect(messageOf({}, "a".repeat(nameLimit + 1))).toContain(
      `name must have at most ${nameLimit} characters so that "<name>-certificates" is a valid CronJob name, got 40; use a shorter name`,
    );
    expect(messageOf({}, "0etcd")).toBe(
      'etcd "0etcd": name must be a DNS label of lower case letters, digits and hyphens that starts with a letter, ' +
        'got "0etcd"; use a name like "etcd"',
    );
  });

  it("takes outputs where they decide on nothing but a field", () => {
    const later = pulumi.output("later");
    const certificates = { issuerRef: { name: later } };
    const ensemble = resolve({ namespace: later, image: later, storage: { class: later }, certificates });
    expect([ensemble.image, ensemble.storage.class, ensemble.certificates.issuerRef?.name]).toEqual([
      later,
      later,
      later,
    ]);
  });

  it.each<[string, object]>([
    ["members", { members: pulumi.output(3) }],
    ["storage", { storage: pulumi.output({ size: "8Gi" }) }],
    ["storage.size", { storage: { size: pulumi.output("8Gi") } }],
    ["applications", { applications: pulumi.output(["cells"]) }],
    ["applications[1]", { applications: ["cells", pulumi.output("more")] }],
    [
      "applicationNamespaces.cells",
      { applications: ["cells"], applicationNamespaces: { cells: pulumi.output("app") } },
    ],
    ["resources.limits.memory", { resources: { limits: { memory: pulumi.output("1Gi") } } }],
    ["clients[0].podLabels.app", { clients: [{ podLabels: { app: pulumi.output("x") } }] }],
    ["tls", { tls: Promise.resolve("off") }],
  ])("refuses an output for %s", (key, args) => {
    expect(messageOf(args)).toBe(
      `etcd "config": ${key} must be a plain value, got an Output; it decides what is created`,
    );
  });

  it("looks at what is sound of several arguments together, whatever else is wrong", () => {
    const resources = { requests: { cpu: "lots" }, limits: { memory: "64Mi" }, limit: {} };
    expect(
      messageOf({
        tls: "off",
        certificates: { rotation: -1, lifetimeDays: 10, authorityLifetimeDays: 15 },
        resources,
        members: 4,
      }),
    ).toBe(
      [
        'etcd "config": 6 arguments are wrong',
        "  - members must be odd so that a majority exists, got 4; use 3 or 5",
        '  - resources.requests.cpu must be a Kubernetes quantity, got "lots"; use one like "500m" or "2"',
        "  - resources.limit is not an argument; did you mean limits",
        "  - certificates.rotation must be a whole number from 0 up, got -1; raise it by one to rotate",
        "  - certificates.authorityLifetimeDays must be at least twice certificates.lifetimeDays (10), got 15; use 3650",
        '  - certificates cannot be given when tls is "off"; remove certificates or use tls "required"',
      ].join("\n"),
    );
  });

  it("reports all mistakes at once", () => {
    expect(messageOf({ members: 4, tls: "on", aplications: [] })).toBe(
      [
        'etcd "config": 3 arguments are wrong',
        "  - members must be odd so that a majority exists, got 4; use 3 or 5",
        '  - tls must be "required", "optional" or "off", got "on"; use one of these',
        "  - aplications is not an argument; did you mean applications",
      ].join("\n"),
    );
  });
});
