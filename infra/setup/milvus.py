"""A standalone Milvus server, for the tests that want one: what its wheel brings, unpacked."""

import hashlib
import lzma
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.setup import preflight
from infra.setup.errors import SetupError
from infra.setup.install import ROOT, prepare_uv, uv_environment
from infra.setup.processes import Command, run

MILVUS_LOCK = ROOT / "requirements" / "milvus.lock"
MILVUS_SOURCE = ROOT / "requirements" / "milvus.in"
# As tests/fixtures/servers.py looks for it.
MILVUS_SERVER = ROOT / ".ragline" / "milvus-server"
_NEEDED_BYTES = preflight.GIB // 2


def install_milvus(environ: Mapping[str, str], report: Callable[[str], None]) -> None:
    """Make ``.ragline/milvus-server`` hold the server of its lock; at once if it does already.

    Raises:
        SetupError: the network failed, or the disk is full.
    """
    stamp = MILVUS_SERVER / "ragline.stamp"
    wanted = f"{hashlib.sha256(MILVUS_LOCK.read_bytes()).hexdigest()}\n"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    preflight.check_disk((MILVUS_SERVER,), _NEEDED_BYTES)
    report("installing a Milvus server (55 MB), for the tests that want one")
    shutil.rmtree(MILVUS_SERVER, ignore_errors=True)
    venv = MILVUS_SERVER / "venv"
    uv = prepare_uv(environ, report)
    uv_environ, flags = uv_environment(environ)
    run([sys.executable, "-m", "venv", "--without-pip", venv], environ, ROOT, what="making its environment")
    python = ["--python", str(venv / "bin" / "python")]
    sync: Command = [uv, "pip", "sync", "--quiet", *python, *flags, "--require-hashes", "--no-build", MILVUS_LOCK]
    run(sync, uv_environ, ROOT, what="installing Milvus")
    _unpack(venv)
    # What is left of it is here twice, packed and not.
    shutil.rmtree(venv)
    stamp.write_text(wanted, encoding="utf-8")


def _unpack(venv: Path) -> None:
    data = next(venv.glob("lib/python*/site-packages/milvus/data"), None)
    if data is None:
        raise SetupError("Milvus' wheel is not built as expected: it has no folder milvus/data")
    for name in ("config.yaml.template", "glog.conf"):
        shutil.copy(data / name, MILVUS_SERVER)
    for packed in (data / "bin").glob("*.lzma"):
        unpacked = MILVUS_SERVER / packed.stem
        with lzma.open(packed) as source, unpacked.open("wb") as target:
            shutil.copyfileobj(source, target)
        unpacked.chmod(0o755)
