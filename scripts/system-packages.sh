#!/usr/bin/env bash
# Install the programs that the tests drive: sshd (boards on loopback), tcsh and fish (login shells of boards),
# Chromium (the report), clang (its sanitizers), and a compiler and an emulator for 64-bit ARM (kernel native on NEON).
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
present tcsh || missing+=(tcsh)
present fish || missing+=(fish)
present chromium chromium-browser google-chrome || missing+=(chromium)
present clang || missing+=(clang libclang-rt-dev)
present qemu-aarch64 || missing+=(qemu-user)
present aarch64-linux-gnu-gcc || missing+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if [ "$(id -u)" -eq 0 ] && present apt-get; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
  exit
fi
echo "The tests also need ${missing[*]}: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
if [ -n "${CI:-}" ]; then exit 1; fi
