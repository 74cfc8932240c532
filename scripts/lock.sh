#!/usr/bin/env bash
# Writes requirements/lock.txt: the exact versions that a fresh environment with all extras gets today.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3.11}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check ".[all,langchain,profiler,dev]"
{
  echo "# Exact versions for development and CI, written by scripts/lock.sh. Bounds for users are in pyproject.toml."
  "$work/venv/bin/python" -m pip freeze --exclude llmsched --exclude pip --exclude setuptools | sort -f
} > requirements/lock.txt
