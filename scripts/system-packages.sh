#!/usr/bin/env bash
# Install the two programs that the tests drive: sshd (boards on loopback) and Chromium (the report).
# As root through apt; otherwise say what to install. In CI (CI set) a missing program is a failure.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # where sshd lives, and not on every user's PATH

present() {
  local program
  for program in "$@"; do
    if command -v "$program" >/dev/null; then return 0; fi
  done
  return 1
}

missing=()
present sshd || missing+=(openssh-server)
present chromium chromium-browser google-chrome || missing+=(chromium)
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if [ "$(id -u)" -eq 0 ] && present apt-get; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
  exit
fi
echo "The tests also need ${missing[*]}: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
if [ -n "${CI:-}" ]; then exit 1; fi
