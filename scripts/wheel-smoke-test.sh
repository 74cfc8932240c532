#!/usr/bin/env bash
# Builds the wheel, installs it into a clean environment and imports every module of it from another directory.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python=${PYTHON:-.venv/bin/python}
# From a copy: building in place would leave folders behind.
git ls-files -z | xargs -0 cp --parents -t "$work" 2>/dev/null || cp -r . "$work/source"
(cd "$work" && "$OLDPWD/$python" -m pip wheel --quiet --disable-pip-version-check --no-deps -w "$work/dist" .)
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check -c requirements/lock.txt "$work"/dist/*.whl"[all]"
cd /
"$work/venv/bin/python" -W error::SyntaxWarning - <<'PY'
import importlib, pkgutil
count = 0
for root in ("llmsched", "services", "simulator"):
    package = importlib.import_module(root)
    for module in pkgutil.walk_packages(package.__path__, root + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            count += 1
print(f"imported {count} modules from the wheel")
PY
"$work/venv/bin/llmsched" --help >/dev/null
"$work/venv/bin/llmsched" apps validate "$("$work/venv/bin/python" -c 'import llmsched.applications as a; print(a.__path__[0])')"/sorting/application.yaml
echo "the wheel works"
