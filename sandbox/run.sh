#!/usr/bin/env bash
# Runs a command when the machine is ready for it, and while no other one is run by this script:
#   run.sh sandbox COMMAND...   everything that the sandbox needs is checked, installed and built first
#   run.sh client COMMAND...    only what a deployment to an existing cluster needs
#   run.sh tools COMMAND...     only the npm packages
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mode=$1
shift
if [ "$mode" = client ]; then
  "$here/prepare.sh" client
  exec "$@"
fi
# The lock ends with this shell, however it ends; what the command starts in the background must not hold it.
exec 9>/run/lock/cells-services.lock
flock --nonblock 9 || { echo "waiting for another command on the sandbox to end" >&2; flock 9; }
"$here/prepare.sh" "$mode" 9>&-
"$@" 9>&-
