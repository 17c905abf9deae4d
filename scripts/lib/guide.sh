# For the scripts beside this folder: the commands of the guides, run as a reader runs them. Sourced after say.sh,
# never run.
# shellcheck shell=bash

# guide NAME [EXCEPT]: prints the commands of docs/guides/NAME.md, without lines that match EXCEPT.
guide() {
  sed -n '/^```sh$/,/^```$/{/^```/d;p}' "docs/guides/$1.md" | sed -E "/${2:-^$}/d"
}

# run_guide FOLDER NAME [EXCEPT]: runs them one after the other, each must succeed. FOLDER/said has what they said.
run_guide() {
  local folder=$1
  shift
  guide "$@" >"$folder/guide"
  [ -s "$folder/guide" ] || die "docs/guides/$1.md has no commands"
  bash -euo pipefail "$folder/guide" >"$folder/said" 2>&1 </dev/null ||
    die "a command of docs/guides/$1.md failed: $(cat "$folder/said")"
}
