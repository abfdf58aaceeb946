#!/usr/bin/env bash
# Write a comment to a pull request, in place of the one that an earlier run of the same gate wrote. Needs the gh
# command line with GH_TOKEN. A job that may not comment (a fork's token only reads) is told so and does not fail.
#
#   ci-comment.sh FILE           env: GITHUB_REPOSITORY, GFBENCH_PULL_REQUEST
set -euo pipefail

file=$1
comments="repos/${GITHUB_REPOSITORY:?}/issues/${GFBENCH_PULL_REQUEST:?}/comments"
MARKER=$(head -n 1 "$file")
export MARKER

write() {
  local filter='.[] | select(.user.type == "Bot" and (.body | startswith(env.MARKER))) | .id'
  local found
  found=$(gh api --paginate "$comments?per_page=100" --jq "$filter") || return
  found=${found%%$'\n'*}
  if [ -n "$found" ]; then
    gh api --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$found" -F "body=@$file" --silent
  else
    gh api --method POST "$comments" -F "body=@$file" --silent
  fi
}

if ! write; then
  echo "::warning title=gfbench::the comment could not be written; the job needs permission pull-requests: write"
fi
