#!/usr/bin/env bash
# Installs Arize Phoenix, the page that `llmsched up --tracing` shows traces on, into an environment of its own
# (it pins what nobody else should inherit; about 0.9 GB). Does nothing where this version is installed already.
#
#   LLMSCHED_PHOENIX_HOME   where to install (default: <repo>/.cache/phoenix)
#
# The last line of its output is the program to name in LLMSCHED_PHOENIX.
set -euo pipefail

version=20.26.1
repo=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
home=${LLMSCHED_PHOENIX_HOME:-$repo/.cache/phoenix}
stamp=$home/venv/.llmsched-stamp

if [[ $(cat "$stamp" 2>/dev/null) != "$version" ]]; then
  rm -rf "$home/venv"
  mkdir -p "$home"
  "${PYTHON:-python3.11}" -m venv "$home/venv"
  "$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check "arize-phoenix==$version" >&2
  # Last: an installation that was interrupted is started anew.
  echo "$version" > "$stamp"
fi
echo "$home/venv/bin/phoenix"
