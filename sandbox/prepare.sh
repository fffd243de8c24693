#!/usr/bin/env bash
# Gets a machine ready for the other commands: checks what is needed, installs npm packages, builds the agents.
#   prepare.sh sandbox   everything the sandbox needs (Linux, root, cgroup v1, Go, Debian packages, memory, disk)
#   prepare.sh client    only what a deployment to an existing cluster needs
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-sandbox}
cache=${CELLS_SERVICES_CACHE:-$HOME/.cache/cells-services}

problems=()
missing() { problems+=("$1"); }
need() { command -v "$1" >/dev/null 2>&1 || missing "$1 is not on PATH; $2"; }
gibibytes() { awk -v n="$1" 'BEGIN { printf "%.1f GiB", n / 1048576 }'; }

need node "install Node.js 20 or newer (it only starts npm; Node.js 22 comes with the npm packages)"
need npm "install npm 10 or newer"

if [ "$mode" = client ]; then
  need pulumi "install the Pulumi CLI: https://www.pulumi.com/docs/install"
else
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || missing "this is $(uname -s)-$(uname -m); the sandbox needs Linux-x86_64. Name an existing cluster instead: KUBE_CONTEXT=name make up"
  [ "$(id -u)" = 0 ] || missing "you are user $(id -un); the sandbox makes network namespaces, mounts and cgroups: run as root"
  for controller in cpu cpuacct cpuset memory pids devices freezer; do
    [ -w "/sys/fs/cgroup/$controller/cgroup.procs" ] || missing "cgroup v1 controller $controller is not mounted at /sys/fs/cgroup/$controller; boot with systemd.unified_cgroup_hierarchy=0"
  done
  need go "install Go 1.26 or newer: https://go.dev/dl"
  memory=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
  [ "$memory" -ge 4194304 ] || missing "$(gibibytes "$memory") of memory are available; the sandbox and its builds need 4 GiB"
  mkdir -p "$cache" /var/lib
  for folder in "$cache" /var/lib; do
    free=$(df --output=avail -k "$folder" | tail -n 1)
    wanted=$([ -d "$cache/toolchain" ] && echo 5242880 || echo 15728640)
    [ "$free" -ge "$wanted" ] || missing "$(gibibytes "$free") of disk are free at $folder; needed are $(gibibytes "$wanted")"
  done

  packages=()
  package() { [ -x "$1" ] || command -v "${1##*/}" >/dev/null 2>&1 || packages+=("$2"); }
  package /usr/sbin/runc runc
  package /usr/sbin/iptables iptables
  package /usr/sbin/nft nftables
  package /usr/sbin/conntrack conntrack
  package /usr/lib/cni/bridge containernetworking-plugins
  package /usr/sbin/ip iproute2
  if [ ${#packages[@]} -gt 0 ] && [ ${#problems[@]} -eq 0 ]; then
    if command -v apt-get >/dev/null 2>&1; then
      log=$cache/logs/packages.log
      mkdir -p "${log%/*}"
      echo "  installing Debian packages: ${packages[*]} (log: $log)" >&2
      { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1 ||
        missing "Debian packages ${packages[*]} could not be installed; see $log"
    else
      missing "missing programs; install the packages that your distribution has for: ${packages[*]}"
    fi
  fi
fi

if [ ${#problems[@]} -gt 0 ]; then
  echo "this machine is not ready:" >&2
  printf '  - %s\n' "${problems[@]}" >&2
  exit 2
fi

# The hidden lock file is written last by npm, so an interrupted installation is not taken for a good one.
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
  start=$SECONDS
  log=$cache/logs/npm.log
  mkdir -p "${log%/*}"
  # Not `npm ci`: it refuses where a registry lacks the optional packages of a platform that is not even this one.
  npm install --no-save >"$log" 2>&1 || { tail -n 5 "$log" >&2; echo "npm install failed; see $log" >&2; exit 1; }
  touch node_modules/.package-lock.json
  echo "  ok npm packages ($((SECONDS - start)) s)" >&2
fi
npm run --silent build
