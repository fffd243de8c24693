#!/usr/bin/env bash
# Checks what is needed and says how to get it, installs npm packages, builds the agents. Called by run.sh with its mode;
# `prepare.sh programs` only installs the programs of programs.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=$1
cache=${CELLS_SERVICES_CACHE:-$HOME/.cache/cells-services}

problems=()
missing() { problems+=("$1"); }
finish() {
  [ ${#problems[@]} -eq 0 ] && return
  echo "this machine is not ready:" >&2
  printf '  - %s\n' "${problems[@]}" >&2
  exit 2
}
# at_least COMMAND VERSION WANTED HOW
at_least() {
  if ! command -v "$1" >/dev/null 2>&1; then
    missing "$1 is not on PATH; $4"
  elif [ "$(printf '%s\n%s\n' "$3" "$2" | sort -V | head -n 1)" != "$3" ]; then
    missing "$1 is version $2, needed is $3 or newer; $4"
  fi
}
# Tries every program of programs.txt. Fills: packages, to be installed; broken, a line for each program that does not work.
try_programs() {
  packages=() broken=()
  local package program probe words
  while read -r package program probe; do
    [[ -n $package && $package != "#"* ]] || continue
    words=$(bash -c "$probe" 2>&1 </dev/null) && continue
    [[ " ${packages[*]} " == *" $package "* ]] || packages+=("$package")
    broken+=("$program does not work: $(tail -n 1 <<<"$words"); it comes with the Debian package $package")
  done <sandbox/programs.txt
}
install_programs() {
  try_programs
  [ ${#packages[@]} -gt 0 ] || return 0
  if ! apt-get --version >/dev/null 2>&1; then
    problems+=("${broken[@]}" "apt-get does not work; servers are taken from Debian packages: use Debian 12 or 13")
    return
  fi
  local log=$cache/logs/packages.log
  mkdir -p "${log%/*}"
  echo "  installing Debian packages: ${packages[*]} (log: $log)" >&2
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1 ||
    missing "Debian packages ${packages[*]} could not be installed; see $log"
  try_programs
  problems+=("${broken[@]}")
}
gibibytes() { awk -v n="$1" 'BEGIN { printf "%.1f GiB", n / 1048576 }'; }

if [ "$mode" = sandbox ] || [ "$mode" = programs ]; then
  if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    missing "this is $(uname -s)-$(uname -m); the sandbox needs Linux-x86_64. Name an existing cluster instead: KUBE_CONTEXT=name make up"
  elif [ "$(id -u)" != 0 ]; then
    missing "you are user $(id -un); the sandbox makes network namespaces, mounts and cgroups: run as root"
  fi
  finish
fi

if [ "$mode" = programs ]; then
  install_programs
  finish
  exit
fi

at_least node "$(node --version 2>/dev/null | tr -d v)" 20 "install Node.js (it only starts npm; Node.js 22 comes with the npm packages)"
at_least npm "$(npm --version 2>/dev/null)" 10 "it comes with Node.js"

if [ "$mode" = client ]; then
  at_least pulumi "$(pulumi version 2>/dev/null | tr -d v)" 3.255.0 "install the Pulumi CLI: https://www.pulumi.com/docs/install"
elif [ "$mode" = sandbox ]; then
  while read -r problem; do
    missing "$problem"
  done < <(sandbox/cgroups.sh /sys/fs/cgroup "$(stat --file-system --format=%T /sys/fs/cgroup)")
  at_least go "$(go version 2>/dev/null | sed -E 's/^go version go([0-9.]+).*/\1/')" 1.26 "install Go: https://go.dev/dl"
  # A cluster that runs has its memory already; one that does not needs room for it, or for the builds.
  if [ ! -d /sys/fs/cgroup/cells-services ] && [ ! -d /sys/fs/cgroup/memory/cells-services ]; then
    memory=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
    [ "$memory" -ge 8388608 ] || missing "$(gibibytes "$memory") of memory are available; the cluster and the builds need 8 GiB"
    mkdir -p "$cache"
    for folder in "$cache" /var/lib; do
      free=$(df --output=avail -k "$folder" | tail -n 1)
      [ "$free" -ge 15728640 ] || missing "$(gibibytes "$free") of disk are free at $folder; the builds and the cluster need 15 GiB"
    done
  fi
  [ ${#problems[@]} -gt 0 ] || install_programs
fi
finish

# The hidden lock file is written last by npm, so an interrupted installation is not taken for a good one.
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
  start=$SECONDS
  log=$cache/logs/npm.log
  mkdir -p "${log%/*}"
  echo "  … npm packages" >&2
  # Not `npm ci`: it refuses where a registry lacks the optional packages of a platform that is not even this one.
  npm install --no-save >"$log" 2>&1 || {
    tail -n 5 "$log" >&2
    echo "npm install failed; see $log" >&2
    exit 1
  }
  touch node_modules/.package-lock.json
  echo "  ok npm packages ($((SECONDS - start)) s)" >&2
fi
if [ "$mode" != tools ]; then npm run --silent build; fi
