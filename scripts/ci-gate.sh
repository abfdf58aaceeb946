#!/usr/bin/env bash
# Measure, judge, and write the outputs of a CI job; exits with the verdict's code (docs/ci.md). Needs gfbench on
# PATH. Everything comes by environment, so that nothing of a pull request is ever read as shell:
#
#   GFBENCH_BASE, GFBENCH_NEW    case selectors (kernel=torch), or two git revisions of the folder that this runs in
#   GFBENCH_TARGET   [local]     names, @group, tag:WORD, all; one a line
#   GFBENCH_SUITE    [quick]     a suite's name or file
#   GFBENCH_METRIC, GFBENCH_MARGIN, GFBENCH_PHASE, GFBENCH_INCONCLUSIVE    as the options of `gfbench gate`
#   GFBENCH_ROUNDS               how many; without it as many as the verdict takes
#   GFBENCH_KERNELS, GFBENCH_ARGS    kernels, and further arguments of `gfbench run` or `compare`; one a line
#   GFBENCH_INVENTORY            a file, or `simulated`: this machine with a simulated power meter
#   GFBENCH_SSH_KEY, GFBENCH_KNOWN_HOSTS    a private key and lines of known_hosts, for boards
#   GFBENCH_OUTPUT   [gfbench-results]      a folder: the run, junit.xml, summary.md, comment.md, verdict.json
#   GFBENCH_COMMENT_KEY [gate]              tells this gate's comment from others
set -euo pipefail

output=${GFBENCH_OUTPUT:-gfbench-results}
base=${GFBENCH_BASE:?names what to compare with: kernel=torch, or a git revision}
new=${GFBENCH_NEW:?names what to judge: kernel=native, or a git revision}
run='' verdict=ERROR report=''
judging=(--metric "${GFBENCH_METRIC:-latency}" --margin "${GFBENCH_MARGIN:-3%}"
  --phase "${GFBENCH_PHASE:-backward}" --inconclusive "${GFBENCH_INCONCLUSIVE:-warn}")

main() {
  mkdir -p "$output"
  hush
  trap finish EXIT
  reach_boards
  choose_inventory
  if [[ $base == *=* ]]; then measure_cases; else measure_revisions; fi
  if [ -z "$run" ]; then return; fi
  judge
}

# What boards write must not be taken for commands of the runner.
hush() {
  if [ "${GITHUB_ACTIONS:-}" = true ]; then
    token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    echo "::stop-commands::$token"
  fi
}

speak() { if [ -n "${token:-}" ]; then echo "::$token::"; fi; }

reach_boards() {
  if [ -n "${GFBENCH_KNOWN_HOSTS:-}" ]; then
    (umask 077 && mkdir -p ~/.ssh)
    while IFS= read -r line; do
      grep -qxF -- "$line" ~/.ssh/known_hosts 2>/dev/null || printf '%s\n' "$line" >>~/.ssh/known_hosts
    done <<<"$GFBENCH_KNOWN_HOSTS"
  fi
  if [ -n "${GFBENCH_SSH_KEY:-}" ]; then # to an agent of its own: never a file, never an argument
    eval "$(ssh-agent -s)" >/dev/null
    printf '%s\n' "$GFBENCH_SSH_KEY" | ssh-add -q -
  fi
  unset GFBENCH_SSH_KEY
}

choose_inventory() {
  where=()
  local file=${GFBENCH_INVENTORY:-}
  if [ "$file" = simulated ]; then
    file=$output/inventory.yaml
    rm -f "$file"
    gfbench init --simulated -o "$file" >/dev/null
  fi
  if [ -n "$file" ]; then where=(--inventory "$file"); fi
}

# The options that measuring cases and measuring revisions share, in `options`.
common_options() {
  options=("${where[@]}" --suite "${GFBENCH_SUITE:-quick}" -o "$output")
  each -t "${GFBENCH_TARGET:-local}"
  each --kernel "${GFBENCH_KERNELS:-}"
  each '' "${GFBENCH_ARGS:-}"
  if [ -n "${GFBENCH_ROUNDS:-}" ]; then options+=(--rounds "$GFBENCH_ROUNDS"); fi
}

# Add every line of the second argument to the options, after the first argument if that is one.
each() {
  while IFS= read -r line; do
    line=${line%$'\r'}
    if [ -n "$line" ]; then options+=(${1:+"$1"} "$line"); fi
  done <<<"$2"
}

measure_cases() {
  common_options
  if [ -z "${GFBENCH_ROUNDS:-}" ]; then
    options+=(--until-decided --base "$base" --new "$new" "${judging[@]}")
  fi
  local code=0
  gfbench run "${options[@]}" | tee "$output/run.log" || code=$?
  run=$(run_of "$(tail -n 1 "$output/run.log")")
  rm -f "$output/run.log"
  if [ -z "$run" ]; then exit "$code"; fi
}

measure_revisions() {
  common_options
  local code=0
  gfbench compare --base "$base" --new "$new" "${options[@]}" "${judging[@]}" --json \
    >"$output/comparison.json" || code=$?
  if [ "$(field identical "$output/comparison.json")" = true ]; then
    verdict=PASS
    say '## ✅ gfbench: PASS' 'Both revisions make the same artefact: there is nothing to measure.'
    return
  fi
  run=$(run_of "$(field run "$output/comparison.json")")
  if [ -z "$run" ]; then exit "$code"; fi
  base=$(field gate.base "$output/comparison.json")
  new=$(field gate.new "$output/comparison.json")
}

# The folder of a run, from it or from the path of its report; nothing if it is none.
run_of() {
  local path=${1%/report.html}
  if [ -n "$path" ] && [ -f "$path/run.json" ]; then printf '%s' "$path"; fi
}

# A field of a JSON file, with dots; nothing if it is not there.
field() {
  python3 - "$1" "$2" <<'PYTHON' 2>/dev/null || true
import json, sys
found = json.load(open(sys.argv[2], encoding="utf-8"))
for name in sys.argv[1].split("."):
    found = found[name]
print(found if isinstance(found, str) else json.dumps(found), end="")
PYTHON
}

judge() {
  local code=0
  report=$run/report.html
  rm -f "$output/verdict.json" # of an earlier run
  gfbench gate "$run" --base "$base" --new "$new" "${judging[@]}" --annotations \
    --junit "$output/junit.xml" --verdict "$output/verdict.json" --summary "$output/summary.md" \
    --comment "$output/comment.md" --comment-key "${GFBENCH_COMMENT_KEY:-gate}" \
    2>"$output/gate.log" || code=$?
  grep -vE '^::(error|warning) title=' "$output/gate.log" >&2 || true
  verdict=$(field status "$output/verdict.json")
  if [ -n "$verdict" ]; then
    show "$(<"$output/summary.md")"
    if [ "${GITHUB_ACTIONS:-}" = true ]; then
      speak
      grep -E '^::(error|warning) title=' "$output/gate.log" || true
      hush
    fi
  fi
  rm -f "$output/gate.log"
  exit "$code"
}

# Show a title and a sentence as the summary and as the comment.
say() {
  printf '%s\n\n%s\n' "$1" "$2" >"$output/summary.md"
  printf '<!-- gfbench: %s -->\n%s\n\n%s\n' "${GFBENCH_COMMENT_KEY:-gate}" "$1" "$2" >"$output/comment.md"
  show "$(<"$output/summary.md")"
}

show() { if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then printf '%s\n' "$1" >>"$GITHUB_STEP_SUMMARY"; fi; }

# Tell the job how it went, whatever happened.
finish() {
  local code=$?
  if [ -n "${SSH_AGENT_PID:-}" ]; then ssh-agent -k >/dev/null || true; fi
  if [ "$verdict" = ERROR ] || [ -z "$verdict" ]; then
    verdict=ERROR
    if [ "$code" = 0 ]; then code=70; fi
    say "## ⚠️ gfbench: ERROR" "It ended with exit code $code before there was anything to judge; the log says why."
  fi
  speak
  if [ "$verdict" = ERROR ] && [ -n "${token:-}" ]; then
    echo "::error title=gfbench::exit code $code before there was anything to judge; the log says why"
  fi
  if [ -n "${GITHUB_OUTPUT:-}" ]; then
    for pair in "verdict=$verdict" "exit-code=$code" "run=$run" "report=$report" "folder=$output"; do
      printf '%s\n' "$pair" >>"$GITHUB_OUTPUT"
    done
  fi
  exit "$code"
}

main
