"""Writes requirements/image.txt: what the container image installs, exact versions with the hashes of their files.

    python scripts/lock_image.py

Versions are those of requirements/lock.txt; what that file does not have (setuptools, which builds the wheel in the
image) gets its newest version. Each package has one hash for each architecture in ARCHITECTURES: pip refuses any other
file. Run it after scripts/lock.sh.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "requirements" / "image.txt"
#: Extras of llmsched that the image has; it brings no database, and nothing to simulate with but what services need.
EXTRAS = ("services", "tracing", "applications")
#: Those of the image, as pip calls them.
ARCHITECTURES = ("x86_64", "aarch64")
_GLIBC = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")


def wanted() -> list[str]:
    """The requirements of the image, and what builds our wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    return [
        *project["project"]["dependencies"],
        *(requirement for name in EXTRAS for requirement in extras[name]),
        *project["build-system"]["requires"],
    ]


def resolve(architecture: str, python: str = "3.11") -> dict[str, tuple[str, str]]:
    """What pip would install on it: name → version and sha256."""
    platforms = [f"--platform={glibc}_{architecture}" for glibc in _GLIBC]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
        command += ["--ignore-installed", f"--target={folder}/none", f"--python-version={python}", *platforms]
        command += [
            "--only-binary=:all:",
            "--constraint",
            str(ROOT / "requirements" / "lock.txt"),
            "--report",
            str(report),
        ]
        subprocess.run([*command, *wanted()], check=True)
        found = json.loads(report.read_text())
    return dict(map(_pinned, found["install"]))


def _pinned(item: dict[str, Any]) -> tuple[str, tuple[str, str]]:
    name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
    return name, (item["metadata"]["version"], item["download_info"]["archive_info"]["hashes"]["sha256"])


def page(resolved: list[dict[str, tuple[str, str]]]) -> str:
    """The file's text. Raises SystemExit if architectures get different versions."""
    lines = ["# What the image installs (deploy/docker/Dockerfile), written by scripts/lock_image.py."]
    for name in sorted({name for each in resolved for name in each}):
        pins = [each[name] for each in resolved if name in each]
        versions = {version for version, _ in pins}
        if len(versions) > 1 or len(pins) < len(resolved):
            raise SystemExit(f"{name} is not the same on all architectures: {sorted(versions)}")
        hashes = sorted({digest for _, digest in pins})
        lines.append(" \\\n    ".join([f"{name}=={versions.pop()}", *(f"--hash=sha256:{each}" for each in hashes)]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page([resolve(each) for each in ARCHITECTURES]))
