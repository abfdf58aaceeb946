"""The commented inventory.yaml that `gfbench init` writes."""

from __future__ import annotations

EXAMPLE = """\
# inventory.yaml: the machines that gfbench measures on.
#
#   gfbench list targets                what is in this file
#   gfbench trust -t nano               record a board's host key, once
#   gfbench doctor -t nano              what stands between a board and a credible result
#   gfbench run -t nano --suite quick   one board; several: -t @bench, -t tag:cuda, -t all
#
# `gfbench schema` prints the JSON Schema of this file, so that an editor can complete and check it.
# This machine itself is always there, as `local`, without an entry.

defaults: # for every target that does not say otherwise
  user: lab # without it: ssh_config's, else your own name
  # identity_file: ~/.ssh/id_ed25519
  # python: python3                  # 3.6 or newer, with torch 1.10 or newer
  # platform: auto                   # or a family: jetson-nano, raspberry-pi-5, ...
  # power: auto                      # off, jtop, pyrapl, pynvml, {command: PROGRAM}, {csv: FILE},
  #                                  # {rail: NAME}, one that `gfbench list sensors` shows
  # workdir: ~/.cache/gfbench        # a folder on the board
  # import_s: 240                    # how long importing torch may take on the board
  # compile_s: 300                   # how long compiling and trying the kernels may take there
  # reconnect_s: 60                  # how long to try again after a lost connection

targets:
  nano: # Jetson Nano 4 GB, JetPack 4.6
    host: 192.168.1.20
    python: ~/venv/bin/python # JetPack 4 has Python 3.6
    env:
      OPENBLAS_CORETYPE: ARMV8 # numpy 1.19 ends in "Illegal instruction" without it
    tags: [jetson, cuda]
    labels: { cooling: fan, supply: 5 V 4 A }

  orin: # Jetson Orin Nano 8 GB, JetPack 6
    host: 192.168.1.21
    tags: [jetson, cuda]
    # Run before and after a session. Both need root, here through sudo without a password.
    setup: ["sudo -n nvpmodel -m 0", "sudo -n jetson_clocks --store", "sudo -n jetson_clocks"]
    restore: ["sudo -n jetson_clocks --restore"]

  pi5: # Raspberry Pi 5
    host: raspberrypi.local
    user: pi
    threads: 4 # without it: the physical cores
    tags: [arm]
    # An external meter instead of the board's own sensors:
    # power: { command: /usr/local/bin/print-watts }

  jump: # the only machine of the lab that can be reached from outside
    host: gate.lab.example
    port: 2222

  tower: # x86 with an NVIDIA card, behind the jump host
    host: 10.0.0.5
    gateway: jump # a target, or user@host:port
    tags: [x86, cuda]

groups: # gfbench run -t @bench
  bench: [nano, orin, pi5]
  lab: [tower, jump]
"""

SIMULATED = """\
# inventory.yaml: this machine as a board, with a simulated power meter.
#
#   gfbench run -i {path} -t local --suite quick --energy
#
# Times, memory and gradients are measured. Power is made up: 2 W plus 3 W for each busy core.

targets:
  local:
    power: {{ command: {program} }}
    labels: {{ power: simulated }}
"""
