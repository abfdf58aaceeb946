#!/usr/bin/env bash
# Build, once, the oldest environment that the payload supports: Python 3.6 with torch 1.10.2 (a Jetson Nano
# with JetPack 4 has these). It is 1.9 GB, so it is kept in a cache outside the repository and shared by clones.
# Prints the path of its python. Without a Python 3.6: a failure in CI (CI set), elsewhere a message.
set -euo pipefail

cache=${GFBENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gfbench-dev}
environment=$cache/py36-torch1.10.2
pyenv_versions=$(pyenv root 2>/dev/null || true)/versions

works() { "$1/bin/python" -c 'import torch; assert torch.__version__.startswith("1.10.2")' 2>/dev/null; }

if works "$environment"; then
  echo "$environment/bin/python"
  exit
fi

# Each candidate is run before it is trusted: a pyenv shim exists on PATH and still exits 127.
python36=
for candidate in python3.6 "$pyenv_versions"/3.6.*/bin/python; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 6))' 2>/dev/null; then
    python36=$candidate
    break
  fi
done
if [ -z "$python36" ]; then
  echo "py36: no Python 3.6 found, so nothing is tested on it; to mend: pyenv install 3.6.15" >&2
  if [ -n "${CI:-}" ]; then exit 1; fi
  exit 0
fi

# Built under another name and renamed when complete, so that an interrupted build is never taken for a whole one.
mkdir -p "$cache"
unfinished=$(mktemp -d "$environment.XXXXXX")
trap 'rm -rf "$unfinished"' EXIT
echo "py36: building $environment (once, about 1 GB to download)" >&2
"$python36" -m venv "$unfinished"
"$unfinished/bin/python" -m pip install --quiet --no-deps \
  torch==1.10.2 typing-extensions==4.1.1 dataclasses==0.8 numpy==1.19.5 >&2
if ! works "$unfinished"; then
  echo "py36: torch 1.10.2 was installed but cannot be imported:" >&2
  "$unfinished/bin/python" -c 'import torch' >&2
  exit 1
fi
rm -rf "$environment"
mv -T "$unfinished" "$environment" || works "$environment" # another run was quicker
echo "$environment/bin/python"
