#!/usr/bin/env bash
# Says, one problem a line, why the cluster could not make its cgroups here: cgroups.sh FOLDER TYPE-OF-FILE-SYSTEM
set -euo pipefail
folder=$1
if [ "$2" != cgroup2fs ]; then
  for controller in cpu cpuacct cpuset memory pids devices freezer; do
    [ -w "$folder/$controller/cgroup.procs" ] || echo "cgroup v1 controller $controller is not mounted at $folder/$controller; mount it, or boot with cgroup v2"
  done
  exit
fi
read -r available <"$folder/cgroup.controllers" || available=
for controller in cpu cpuset memory pids; do
  [[ " $available " == *" $controller "* ]] || echo "cgroup v2 controller $controller is not in $folder/cgroup.controllers, which has: ${available:-none}; in a container, start it with --privileged"
done
if [ ! -w "$folder/cgroup.subtree_control" ]; then
  echo "$folder is mounted read-only; in a container, start it with --privileged"
elif [ -e "$folder/cgroup.type" ] && [ -n "$(<"$folder/cgroup.procs")" ]; then
  # Only the cgroup of the whole machine, which has no type, gives controllers and has processes of its own.
  echo "$folder is the cgroup of a container, with processes in it, so it gives no controllers to cgroups below it; move them first: mkdir -p $folder/init && for pid in \$(cat $folder/cgroup.procs); do echo \$pid >$folder/init/cgroup.procs; done"
fi
