/**
 * The programs the sandbox is made of, built from Go modules. A recipe is data: what it requires, which packages, which
 * flags. Its cache key is a digest of all of it, so a changed recipe is a new build.
 */
export interface Tool {
  name: string;
  version: string;
  /** Requirements of the go.mod made for this tool: module -> version. */
  modules: Record<string, string>;
  /** Replacements of the same go.mod, for what a module replaces in its own: a replacement counts only in the main module. */
  replacements?: Record<string, string>;
  /** Packages to build; the key is the name of the binary. */
  binaries: Record<string, string>;
  /** `go build -ldflags` beyond `-s -w`. */
  variables?: Record<string, string>;
  tags?: string[];
  /** Link statically, for images without a C library. */
  static?: boolean;
  /** A main.go of our own for this tool; it is the package ".". */
  main?: string;
  /** Files of a required module that the main.go embeds: their name beside it -> their path in the module. */
  embedded?: { module: string; files: Record<string, string> };
  /** Replace every module that this one replaces inside its own repository (`./staging/...`) by its published version. */
  staging?: { module: string; version: string };
}

const kubernetes = "1.36.3";
const pulumi = "3.255.0";
const coredns = "1.14.2";
const etcd = "3.6.16";
const nats = "2.15.2";
const containerd = "2.2.2";
const vault = "1.21.2";
const versitygw = "1.8.0";
/** The only version of the module that is served; it is that of the npm package `@pulumi/kubernetes`, which is pinned to it. */
const pulumiKubernetes = { version: "4.25.0", module: "v4.0.0-20260115033456-f47bc2d6f199" };

export const versions = {
  kubernetes,
  pulumi,
  pulumiKubernetes: pulumiKubernetes.version,
  coredns,
  etcd,
  nats,
  containerd,
  vault,
  versitygw,
  pause: "3.10",
  kubeScore: "1.20.0",
};

const etcdOf = (version: string): Tool => ({
  name: "etcd",
  version,
  modules: {
    "go.etcd.io/etcd/server/v3": `v${version}`,
    "go.etcd.io/etcd/etcdctl/v3": `v${version}`,
    "go.etcd.io/etcd/etcdutl/v3": `v${version}`,
  },
  binaries: {
    etcd: "go.etcd.io/etcd/server/v3",
    etcdctl: "go.etcd.io/etcd/etcdctl/v3",
    etcdutl: "go.etcd.io/etcd/etcdutl/v3",
  },
  static: true,
});

const natsOf = (version: string): Tool => ({
  name: "nats-server",
  version,
  modules: { "github.com/nats-io/nats-server/v2": `v${version}` },
  binaries: { "nats-server": "github.com/nats-io/nats-server/v2" },
  static: true,
});

// Versions from 1.21.3 on, and those of 1.20, compile against no published version of its sdk.
const vaultOf = (version: string): Tool => ({
  name: "vault",
  version,
  modules: { "github.com/hashicorp/vault": `v${version}`, "github.com/hashicorp/vault/sdk": "v0.20.0" },
  replacements: {
    "github.com/99designs/keyring": "github.com/Jeffail/keyring v1.2.3",
    "github.com/ma314smith/signedxml v1.1.1": "github.com/moov-io/signedxml v1.1.1",
  },
  binaries: { vault: "github.com/hashicorp/vault" },
  // Without most of the databases and clouds it can talk to; the seals and the storage are all in.
  tags: ["minimal"],
  static: true,
});

/** What upgrades are tried from, and where they are tried to. Built by those tests alone. */
export const formerTools = { etcd: etcdOf("3.5.35"), nats: natsOf("2.14.10"), vault: vaultOf("1.21.1") };
export const nextTools = { etcd: etcdOf("3.7.3") };

/** Judges manifests. Built by its test alone. */
export const kubeScore: Tool = {
  name: "kube-score",
  version: versions.kubeScore,
  modules: { "github.com/zegl/kube-score": `v${versions.kubeScore}` },
  binaries: { "kube-score": "github.com/zegl/kube-score/cmd/kube-score" },
};

const pulumiKubernetesModule = "github.com/pulumi/pulumi-kubernetes/provider/v4";

export const tools: Tool[] = [
  {
    name: "kubernetes",
    version: kubernetes,
    modules: { "k8s.io/kubernetes": `v${kubernetes}` },
    staging: { module: "k8s.io/kubernetes", version: `v0.${kubernetes.slice(2)}` },
    binaries: Object.fromEntries(
      ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"].map(
        (name) => [name, `k8s.io/kubernetes/cmd/${name}`],
      ),
    ),
    variables: {
      "k8s.io/component-base/version.gitVersion": `v${kubernetes}`,
      "k8s.io/component-base/version.gitMajor": "1",
      "k8s.io/component-base/version.gitMinor": kubernetes.split(".")[1] ?? "",
    },
  },
  {
    name: "pulumi",
    version: pulumi,
    modules: { "github.com/pulumi/pulumi/pkg/v3": `v${pulumi}` },
    binaries: { pulumi: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi" },
    variables: { "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": `v${pulumi}` },
  },
  {
    // The last version of the SDK module that holds the Node.js language host; it runs programs of the pinned SDK.
    name: "pulumi-language-nodejs",
    version: "3.60.0",
    modules: { "github.com/pulumi/pulumi/sdk/v3": "v3.60.0" },
    binaries: { "pulumi-language-nodejs": "github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs" },
  },
  {
    name: "pulumi-kubernetes",
    version: pulumiKubernetes.version,
    modules: { [pulumiKubernetesModule]: pulumiKubernetes.module },
    binaries: { "pulumi-resource-kubernetes": "." },
    variables: { [`${pulumiKubernetesModule}/pkg/version.Version`]: pulumiKubernetes.version },
    // Its own main embeds generated files that are not in the module; these are what they are generated from.
    embedded: {
      module: pulumiKubernetesModule,
      files: {
        "schema.json": "cmd/pulumi-resource-kubernetes/schema.json",
        "mapping.json": "cmd/pulumi-resource-kubernetes/terraform-mapping.json",
      },
    },
    main: `package main

import (
	"bytes"
	_ "embed"

	"${pulumiKubernetesModule}/pkg/provider"
	"${pulumiKubernetesModule}/pkg/version"
)

//go:embed schema.json
var schema []byte

//go:embed mapping.json
var mapping []byte

func main() {
	versioned := bytes.Replace(schema, []byte("{"), []byte("{\\"version\\": \\""+version.Version+"\\","), 1)
	provider.Serve("kubernetes", version.Version, versioned, mapping)
}
`,
  },
  {
    name: "containerd",
    version: containerd,
    modules: { "github.com/containerd/containerd/v2": `v${containerd}` },
    binaries: Object.fromEntries(
      ["containerd", "containerd-shim-runc-v2", "ctr"].map((name) => [
        name,
        `github.com/containerd/containerd/v2/cmd/${name}`,
      ]),
    ),
    variables: { "github.com/containerd/containerd/v2/version.Version": containerd },
    tags: ["no_btrfs", "no_devmapper", "no_zfs", "no_aufs"],
  },
  {
    name: "coredns",
    version: coredns,
    modules: { "github.com/coredns/coredns": `v${coredns}` },
    binaries: { coredns: "." },
    static: true,
    // Only the plugins that a cluster without upstream DNS needs: a tenth of the build time of all of them.
    main: `package main

import (
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"

	"github.com/coredns/coredns/coremain"
)

func main() { coremain.Run() }
`,
  },
  etcdOf(etcd),
  natsOf(nats),
  vaultOf(vault),
  {
    name: "versitygw",
    version: versitygw,
    modules: { "github.com/versity/versitygw": `v${versitygw}` },
    binaries: { versitygw: "github.com/versity/versitygw/cmd/versitygw" },
    variables: { "main.Version": `v${versitygw}` },
    static: true,
  },
  {
    name: "pause",
    version: versions.pause,
    modules: {},
    binaries: { pause: "." },
    static: true,
    // Holds a pod's namespaces open: waits to be told to stop and reaps what is left to it.
    main: `package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
}
`,
  },
];
