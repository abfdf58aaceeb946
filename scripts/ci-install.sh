#!/usr/bin/env bash
# Install this checkout of gfbench into a virtual environment, and print the folder of its programs.
#
#   ci-install.sh VENV           env: GFBENCH_PYTHON, GFBENCH_PIP_ARGS (one a line), GFBENCH_TARGET
#
# The versions are those of requirements/, checked by hash. torch comes with it only where this machine is measured:
# boards have their own.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
venv=$1
args=(--quiet --disable-pip-version-check --no-deps)
while IFS= read -r line; do
  line=${line%$'\r'}
  if [ -n "$line" ]; then args+=("$line"); fi
done <<<"${GFBENCH_PIP_ARGS:-}"

python=$("$here/scripts/find-python.sh" "${GFBENCH_PYTHON:-python3}")
if [ ! -x "$venv/bin/gfbench" ]; then
  "$python" -m venv --clear "$venv" 1>&2
  pip=("$venv/bin/python" -m pip install "${args[@]}")
  "${pip[@]}" --require-hashes -r "$here/requirements/run.txt" 1>&2
  if grep -qx 'local' <<<"${GFBENCH_TARGET:-local}"; then
    "${pip[@]}" -r "$here/requirements/torch.txt" 1>&2
  fi
  "${pip[@]}" --no-build-isolation "$here" 1>&2
fi
echo "$venv/bin"
