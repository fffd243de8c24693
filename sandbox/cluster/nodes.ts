import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { writeIfChanged } from "../files";
import { type Image, images, makeArchive, references } from "../images";
import { run, succeeds, until } from "../shell";
import { binary, toolchainFolder } from "../toolchain";
import { type Certificates, writeKubeconfig } from "./certificates";
import { killCgroup, makeCgroup } from "./cgroups";
import { explain, type Subject } from "./diagnosis";
import { kubectl } from "./kubectl";
import { apiServer, clusterDomain, dnsAddress, type Node, podRange } from "./layout";
import { type Daemon, ensureRunning, lastWords, pidOf } from "./processes";

const daemonNames = (node: Node): string[] =>
  ["containerd", "kubelet", "kube-proxy"].map((name) => `${node.name}-${name}`);

/** Starts a node's containerd, kubelet and kube-proxy, and loads the images it does not have. Tells whether it was down. */
export async function startNode(node: Node, certificates: Certificates): Promise<boolean> {
  const [containerd, kubelet, kubeProxy] = daemonsOf(node, certificates);
  if (daemonNames(node).every((name) => pidOf(name) === undefined)) await reclaimNode(node);
  makeCgroup(node.cgroup);
  await ensureRunning(containerd);
  await until(`containerd of ${node.name}`, 30, async () => ((await ctr(node, "version")) ? true : undefined), {
    why: () => [lastWords(containerd.name)],
  });
  await importImages(node, images);
  await ensureRunning(kubeProxy);
  return ensureRunning(kubelet);
}

/** A killed node leaves mounts and container state of a life that is over: what a reboot would clear, clear. */
async function reclaimNode(node: Node): Promise<void> {
  await killCgroup(node.cgroup);
  await unmountBelow(node.folder);
  rmSync(join(node.folder, "state"), { recursive: true, force: true });
  // Addresses handed out to pods that are gone.
  rmSync(join(node.folder, "cni", "networks"), { recursive: true, force: true });
}

export async function unmountBelow(folder: string): Promise<void> {
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1]?.replaceAll("\\040", " ") ?? "")
    .filter((mount) => mount.startsWith(`${folder}/`));
  // The deepest first: the order of mounting, reversed.
  for (const mount of mounts.reverse()) await succeeds("umount", ["-l", mount]);
}

/** A node dies: kubelet, containerd and every container at once, none of them told. */
export const stopNode = (node: Node): Promise<void> => killCgroup(node.cgroup);

/**
 * Waits until nodes are ready and the API server reaches them. What it reports of a node is what the node said last: of
 * one that was away for less than the 40 seconds of the node monitor it may still be "ready" from before.
 */
export async function awaitReady(all: Node[]): Promise<void> {
  for (const node of all) {
    const ask = async (): Promise<true> => {
      await kubectl("get", "--raw", `/api/v1/nodes/${node.name}/proxy/healthz`, "--request-timeout=3s");
      const ready = '{range .status.conditions[?(@.type=="Ready")]}{.status}: {.message}{end}';
      const answer = await kubectl("get", "node", node.name, "-o", `jsonpath=${ready}`);
      if (answer.startsWith("True")) return true;
      throw new Error(`Ready is ${answer || "not reported"}`);
    };
    await until(`${node.name} to be ready`, 120, ask, { why: () => daemonNames(node).map(lastWords) });
  }
}

interface Pod {
  metadata: Subject & { ownerReferences?: { kind: string }[] };
  status: { containerStatuses?: { ready: boolean; state: { running?: { startedAt: string } } }[] };
}

/**
 * After nodes were down, the API server still reports their pods as they were. Waits until each runs again and is ready;
 * otherwise returns a line with those that are not, and the reasons, which the checks of the services will say more about.
 */
export async function awaitPods(restarted: Node[], since: Date): Promise<string[]> {
  let waiting: Subject[] = [];
  await until("the pods to run again", 180, async () => {
    const answers = await Promise.all(
      restarted.map((node) =>
        kubectl("get", "pods", "-A", "-o", "json", "--field-selector", `spec.nodeName=${node.name}`),
      ),
    );
    const pods = answers.flatMap((answer) => (JSON.parse(answer) as { items: Pod[] }).items);
    waiting = pods
      .filter((pod) => !pod.metadata.ownerReferences?.some((owner) => owner.kind === "Job"))
      .filter(
        (pod) =>
          !pod.status.containerStatuses?.every((container) => {
            const startedAt = container.state.running?.startedAt;
            // The API gives whole seconds.
            return container.ready && startedAt !== undefined && Date.parse(startedAt) >= since.getTime() - 1000;
          }),
      )
      .map(({ metadata: { namespace, name } }) => ({ namespace, name }));
    return waiting.length === 0 ? true : undefined;
  }).catch(() => undefined);
  if (waiting.length === 0) return [];
  return [waiting.map(({ namespace, name }) => `${namespace}/${name}`).join(", "), ...(await explain(...waiting))];
}

const ctr = (node: Node, ...args: string[]): Promise<string> =>
  run(binary("containerd", "ctr"), ["-a", node.containerdSocket, "-n", "k8s.io", ...args]);

export async function importImages(node: Node, wanted: Image[]): Promise<void> {
  // What was imported for which reference; whether it is still there, containerd says.
  const record = join(node.folder, "images.json");
  const known = existsSync(record) ? (JSON.parse(readFileSync(record, "utf8")) as Record<string, string>) : {};
  const present = (await ctr(node, "images", "ls", "-q")).split("\n");
  for (const image of wanted) {
    const archive = await makeArchive(image);
    if (known[image.reference] === archive && present.includes(image.reference)) continue;
    await ctr(node, "images", "import", "--local", archive);
    known[image.reference] = archive;
    writeIfChanged(record, JSON.stringify(known));
  }
}

function daemonsOf(node: Node, certificates: Certificates): [Daemon, Daemon, Daemon] {
  const file = (name: string, content: string): string => {
    const path = join(node.folder, name);
    writeIfChanged(path, content);
    return path;
  };
  const common = { networkNamespace: node.networkNamespace };
  const kubeconfigOf = (identity: string): string => {
    const path = join(node.folder, `${identity}.kubeconfig`);
    writeKubeconfig(path, certificates, identity, apiServer);
    return path;
  };
  file("cni/10-pods.conflist", cni(node));
  const containerd = file("containerd.toml", containerdConfiguration(node));
  const kubelet = file("kubelet.json", JSON.stringify(kubeletConfiguration(node, certificates)));
  const kubeletKubeconfig = kubeconfigOf(node.name);
  const proxyKubeconfig = kubeconfigOf("kube-proxy");
  const proxy = file("kube-proxy.json", JSON.stringify(proxyConfiguration(node, proxyKubeconfig)));
  return [
    {
      ...common,
      name: `${node.name}-containerd`,
      // Shims, and so containers, start as children of this cgroup.
      cgroup: node.cgroup,
      command: binary("containerd"),
      args: ["--config", containerd],
      configuration: [containerd],
      path: [toolchainFolder("containerd")],
    },
    {
      ...common,
      name: `${node.name}-kubelet`,
      cgroup: node.cgroup,
      command: binary("kubernetes", "kubelet"),
      args: [
        `--config=${kubelet}`,
        `--kubeconfig=${kubeletKubeconfig}`,
        `--hostname-override=${node.name}`,
        `--node-ip=${node.address}`,
        `--root-dir=${join(node.folder, "kubelet")}`,
        `--cert-dir=${join(node.folder, "pki")}`,
        `--node-labels=topology.kubernetes.io/zone=zone-${node.number}`,
      ],
      configuration: [kubelet, kubeletKubeconfig],
    },
    {
      ...common,
      name: `${node.name}-kube-proxy`,
      cgroup: node.cgroup,
      command: binary("kubernetes", "kube-proxy"),
      args: [`--config=${proxy}`],
      configuration: [proxy, proxyKubeconfig],
    },
  ];
}

const cni = (node: Node): string =>
  JSON.stringify({
    cniVersion: "1.0.0",
    name: "pods",
    plugins: [
      {
        type: "bridge",
        bridge: "cni0",
        isGateway: true,
        hairpinMode: true,
        ipMasq: false,
        ipam: {
          type: "host-local",
          dataDir: join(node.folder, "cni", "networks"),
          ranges: [[{ subnet: node.podRange, gateway: node.podGateway }]],
          routes: [{ dst: "0.0.0.0/0" }],
        },
      },
    ],
  });

const containerdConfiguration = (node: Node): string => `version = 3
root = "${node.folder}/root"
state = "${node.folder}/state"
oom_score = 0
[grpc]
  address = "${node.containerdSocket}"
[ttrpc]
  address = "${node.containerdSocket}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "${node.folder}/opt"
[plugins."io.containerd.nri.v1.nri"]
  # Its socket has one path for the whole machine: of nodes that start at the same time, one would find it taken and end.
  disable = true
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "${references.pause}"
[plugins."io.containerd.cri.v1.runtime"]
  # Lowering a process's OOM score needs CAP_SYS_RESOURCE, which a container or a small VM may not have.
  restrict_oom_score_adj = true
  # Where a stop of the node finds them; the default is shared with the whole machine.
  netns_mounts_under_state_dir = true
  disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "${node.folder}/cni"
[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  Root = "${node.folder}/state/runc"
  SystemdCgroup = false
`;

const kubeletConfiguration = (node: Node, certificates: Certificates): object => ({
  apiVersion: "kubelet.config.k8s.io/v1beta1",
  kind: "KubeletConfiguration",
  authentication: {
    anonymous: { enabled: false },
    webhook: { enabled: true },
    x509: { clientCAFile: certificates.authority },
  },
  authorization: { mode: "Webhook" },
  tlsCertFile: certificates.certificate(node.name),
  tlsPrivateKeyFile: certificates.key(node.name),
  containerRuntimeEndpoint: `unix://${node.containerdSocket}`,
  cgroupDriver: "cgroupfs",
  cgroupRoot: `/${node.cgroup}`,
  // Some small virtual machines still boot with cgroup v1.
  failCgroupV1: false,
  enforceNodeAllocatable: [],
  failSwapOn: false,
  oomScoreAdj: 0,
  clusterDNS: [dnsAddress],
  clusterDomain,
  // No upstream resolver: what is not in the cluster does not exist.
  resolvConf: "",
  podLogsDir: join(node.folder, "pod-logs"),
  imageGCHighThresholdPercent: 100,
  evictionHard: { "memory.available": "100Mi", "nodefs.available": "1%" },
  nodeStatusUpdateFrequency: "5s",
  serializeImagePulls: false,
  shutdownGracePeriod: "0s",
});

const proxyConfiguration = (node: Node, kubeconfig: string): object => ({
  apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
  kind: "KubeProxyConfiguration",
  mode: "nftables",
  clusterCIDR: podRange,
  hostnameOverride: node.name,
  clientConnection: { kubeconfig },
  oomScoreAdj: 0,
  // The conntrack limits are the host's; a network namespace may not change them.
  conntrack: { maxPerCore: 0, min: 0 },
  nodePortAddresses: ["primary"],
});
