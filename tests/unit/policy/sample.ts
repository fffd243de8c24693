/** A small stack that follows all rules, to be broken in one place at a time. */
import { imageReference, images } from "../../../components/shared/deploy";
import type { Recorded } from "../../support/recorder";
import type { Subject } from "./rules";

const labels = { app: "db" };
const metadata = (name: string) => ({ name, namespace: "cells" });

function resource(type: string, name: string, inputs: Record<string, unknown>, protect = false): Recorded {
  const urn = `urn:pulumi:test::cells-services::${type}::${name}`;
  const provider = "urn:pulumi:test::cells-services::pulumi:providers:kubernetes::cluster";
  return { urn, type, name, custom: true, inputs, options: { provider, ...(protect ? { protect } : {}) } };
}

/** A new one at each call. */
export function sample(): Subject {
  const selector = { matchLabels: { ...labels } };
  const container = {
    name: "db",
    image: imageReference(images.etcd),
    command: ["/usr/local/bin/etcd"],
    ports: [
      { name: "client", containerPort: 2379 },
      { name: "peer", containerPort: 2380 },
    ],
    resources: {
      requests: { cpu: "50m", memory: "128Mi" },
      limits: { cpu: "50m", memory: "256Mi", "ephemeral-storage": "1Gi" },
    },
    readinessProbe: {},
    livenessProbe: {},
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    },
  };
  const podSpec = {
    automountServiceAccountToken: false,
    securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } },
    affinity: {
      podAntiAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: [
          { topologyKey: "kubernetes.io/hostname", labelSelector: selector },
        ],
      },
    },
    topologySpreadConstraints: [
      {
        topologyKey: "topology.kubernetes.io/zone",
        whenUnsatisfiable: "DoNotSchedule",
        minDomains: 3,
        labelSelector: selector,
      },
    ],
    containers: [container],
  };
  const dns = [53, 5353].flatMap((port) => ["UDP", "TCP"].map((protocol) => ({ protocol, port })));
  return {
    resources: [
      resource("kubernetes:core/v1:Namespace", "namespace", { metadata: { name: "cells" } }, true),
      resource(
        "kubernetes:apps/v1:StatefulSet",
        "set",
        {
          metadata: metadata("db"),
          spec: {
            podManagementPolicy: "Parallel",
            persistentVolumeClaimRetentionPolicy: { whenDeleted: "Retain", whenScaled: "Retain" },
            template: { metadata: { labels: { ...labels } }, spec: podSpec },
            volumeClaimTemplates: [{ spec: { storageClassName: "disks" } }],
          },
        },
        true,
      ),
      resource("kubernetes:policy/v1:PodDisruptionBudget", "budget", {
        metadata: metadata("db"),
        spec: { maxUnavailable: 1, selector },
      }),
      resource("kubernetes:networking.k8s.io/v1:NetworkPolicy", "policy", {
        metadata: metadata("db"),
        spec: {
          podSelector: selector,
          policyTypes: ["Ingress", "Egress"],
          ingress: [{ from: [{ podSelector: {} }], ports: [{ protocol: "TCP", port: 2379 }] }],
          egress: [{ ports: dns }],
        },
      }),
      resource("kubernetes:rbac.authorization.k8s.io/v1:Role", "role", {
        metadata: metadata("db"),
        rules: [
          { apiGroups: [""], resources: ["pods"], verbs: ["get", "delete"], resourceNames: ["db-0"] },
          { apiGroups: [""], resources: ["pods/eviction"], verbs: ["create"], resourceNames: ["db-0"] },
          { apiGroups: [""], resources: ["secrets"], verbs: ["get", "patch"], resourceNames: ["db-admin"] },
        ],
      }),
      resource("kubernetes:rbac.authorization.k8s.io/v1:RoleBinding", "binding", {
        metadata: metadata("db"),
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "db" },
      }),
      resource("kubernetes:core/v1:Service", "service", {
        metadata: metadata("db"),
        spec: { ipFamilyPolicy: "PreferDualStack", ports: [{ name: "client", port: 2379, appProtocol: "tcp" }] },
      }),
      resource("kubernetes:storage.k8s.io/v1:StorageClass", "disks", {
        metadata: { name: "disks" },
        parameters: { encrypted: "true" },
      }),
      resource("aws:s3/bucket:Bucket", "bucket", { bucket: "b", objectLockEnabled: true }),
      resource(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "bucket-encryption",
        { bucket: "b", rules: [{ applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }] },
      ),
      resource("aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration", "bucket-lock", {
        bucket: "b",
        rule: { defaultRetention: { mode: "GOVERNANCE", days: 14 } },
      }),
      resource("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "bucket-lifecycle", {
        bucket: "b",
        rules: [{ expiration: { days: 14 } }],
      }),
      resource("kubernetes:core/v1:ConfigMap", "config", { metadata: metadata("db"), data: { key: "value" } }),
    ],
    secrets: ["Vq8ZrT2mWx7LpN4c"],
    outputs: { url: "https://db.cells.svc:2379" },
  };
}
