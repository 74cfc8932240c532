#!/usr/bin/env bash
# Builds the wheel, installs it into a clean environment and imports every module of it from another directory.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
lock=$PWD/requirements/lock.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# From a copy of what is tracked: building in place would leave folders behind, and pick up what is not part of it.
mkdir "$work/source"
git ls-files -z | xargs -0 cp --parents -t "$work/source"
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps -w "$work/dist" "$work/source"
wheel=$(ls "$work"/dist/llmsched-*.whl)
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -qq --disable-pip-version-check -c "$lock" "${wheel}[all,langchain]"
cd /
"$work/venv/bin/python" - <<'PY'
import importlib, pkgutil
# What needs an extra that is not part of "all"; it must say so and nothing else.
EXTRA = {"services.profiler.models.with_pgmpy": "pandas"}
count = 0
for root in ("llmsched", "services", "simulator", "experiment"):
    package = importlib.import_module(root)
    for module in pkgutil.walk_packages(package.__path__, root + "."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if EXTRA.get(module.name) != error.name:
                raise
            print(f"not imported: {module.name} needs an extra ({error.name})")
            continue
        count += 1
print(f"imported {count} modules from the wheel")
PY
"$work/venv/bin/llmsched" --help >/dev/null
applications=$("$work/venv/bin/python" -c 'import llmsched.applications as a; print(a.__path__[0])')
for file in "$applications"/*/application.yaml; do
  "$work/venv/bin/llmsched" apps validate "$file"
done
echo "the wheel works"
