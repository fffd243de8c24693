import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { home, kubeconfig } from "../paths";
import { until } from "../shell";
import { binary } from "../toolchain";
import { type Certificates, writeKubeconfig } from "./certificates";
import { kubectl } from "./kubectl";
import { apiServer, controlPlaneCgroup, controlPlaneFolder, hostAddress, podRange, serviceRange } from "./layout";
import { type Daemon, ensureRunning, lastWords } from "./processes";

const etcdUrl = "https://127.0.0.1:12379";
const names = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/** Starts etcd, API server, controller manager and scheduler on the host; returns when the API server is ready. */
export async function startControlPlane(certificates: Certificates): Promise<void> {
  mkdirSync(controlPlaneFolder, { recursive: true, mode: 0o700 });
  for (const identity of ["controller-manager", "scheduler"]) {
    writeKubeconfig(configOf(identity), certificates, identity, apiServer);
  }
  writeKubeconfig(kubeconfig, certificates, "admin", apiServer);
  for (const daemon of daemons(certificates)) await ensureRunning(daemon);
  await until(
    "the API server to be ready",
    90,
    async () => ((await kubectl("get", "--raw", "/readyz")) === "ok" ? true : undefined),
    { why: () => names.map(lastWords) },
  );
}

const configOf = (identity: string): string => join(controlPlaneFolder, `${identity}.kubeconfig`);

function daemons(certificates: Certificates): Daemon[] {
  const { authority, certificate, key } = certificates;
  const common = { cgroup: controlPlaneCgroup };
  return [
    {
      ...common,
      name: "etcd",
      command: binary("etcd"),
      args: [
        "--name=control-plane",
        `--data-dir=${join(controlPlaneFolder, "etcd")}`,
        `--listen-client-urls=${etcdUrl}`,
        `--advertise-client-urls=${etcdUrl}`,
        "--listen-peer-urls=http://127.0.0.1:12380",
        "--initial-advertise-peer-urls=http://127.0.0.1:12380",
        "--initial-cluster=control-plane=http://127.0.0.1:12380",
        `--cert-file=${certificate("etcd")}`,
        `--key-file=${key("etcd")}`,
        `--trusted-ca-file=${authority}`,
        "--client-cert-auth",
        "--auto-compaction-retention=1",
        "--log-level=warn",
      ],
      configuration: [authority],
    },
    {
      ...common,
      name: "kube-apiserver",
      command: binary("kubernetes", "kube-apiserver"),
      args: [
        `--etcd-servers=${etcdUrl}`,
        `--etcd-cafile=${authority}`,
        `--etcd-certfile=${certificate("apiserver-client")}`,
        `--etcd-keyfile=${key("apiserver-client")}`,
        `--bind-address=${hostAddress}`,
        `--advertise-address=${hostAddress}`,
        "--secure-port=6443",
        `--service-cluster-ip-range=${serviceRange}`,
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        `--client-ca-file=${authority}`,
        `--tls-cert-file=${certificate("apiserver")}`,
        `--tls-private-key-file=${key("apiserver")}`,
        `--kubelet-certificate-authority=${authority}`,
        `--kubelet-client-certificate=${certificate("apiserver-client")}`,
        `--kubelet-client-key=${key("apiserver-client")}`,
        // Node names do not resolve on the host: without this, exec, logs and port-forward fail.
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        `--service-account-key-file=${join(certificates.folder, "service-accounts.pub")}`,
        `--service-account-signing-key-file=${key("service-accounts")}`,
      ],
      configuration: [authority],
    },
    {
      ...common,
      name: "kube-controller-manager",
      command: binary("kubernetes", "kube-controller-manager"),
      args: [
        `--kubeconfig=${configOf("controller-manager")}`,
        `--root-ca-file=${authority}`,
        `--service-account-private-key-file=${key("service-accounts")}`,
        "--use-service-account-credentials=true",
        `--cluster-cidr=${podRange}`,
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
      ],
      configuration: [configOf("controller-manager")],
    },
    {
      ...common,
      name: "kube-scheduler",
      command: binary("kubernetes", "kube-scheduler"),
      args: [`--kubeconfig=${configOf("scheduler")}`, "--leader-elect=false", "--bind-address=127.0.0.1"],
      configuration: [configOf("scheduler")],
    },
  ];
}

export const certificatesFolder = join(home, "certificates");
