#!/usr/bin/env bash
# Print a Python >= 3.10 that can make virtual environments: the one asked for, else the newest found.
# Each candidate is run before it is trusted: a pyenv shim exists on PATH and still exits 127.
set -euo pipefail

wanted=${1:-python3}
pyenv_versions=$(pyenv root 2>/dev/null || true)/versions

usable() {
  command -v "$1" >/dev/null &&
    "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

if usable "$wanted"; then
  echo "$wanted"
  exit
fi
for minor in 14 13 12 11 10; do
  for candidate in "python3.$minor" "$pyenv_versions/3.$minor".*/bin/python; do
    if usable "$candidate"; then
      echo "find-python: '$wanted' is not a usable Python >= 3.10; taking $candidate" >&2
      echo "$candidate"
      exit
    fi
  done
done
echo "find-python: gfbench needs Python >= 3.10 with its venv module, and none was found." >&2
echo "Install one (Debian, Ubuntu: apt install python3 python3-venv) or name it: make PYTHON=/path/to/python3" >&2
exit 1
