"""The environment of the frameworks that benchmarks compare ragline with: none belongs among its own packages."""

import hashlib
import shutil
import sys
from collections.abc import Callable, Mapping

from infra.setup.install import ROOT, prepare_uv, uv_environment
from infra.setup.processes import Command, run

PEERS_VENV = ROOT / ".venv-bench"
PEERS_LOCK = ROOT / "requirements" / "bench.lock"
PEERS_SOURCE = ROOT / "requirements" / "bench.in"


def install_peers(environ: Mapping[str, str], report: Callable[[str], None]) -> None:
    """Make ``.venv-bench`` hold exactly the packages of its lock; at once if it does already.

    Raises:
        SetupError: the network failed, or the disk is full.
    """
    stamp = PEERS_VENV / "ragline.stamp"
    # The folder counts too, for scripts hold its path.
    wanted = f"{ROOT}\n{hashlib.sha256(PEERS_LOCK.read_bytes()).hexdigest()}\n"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    report("installing the frameworks to compare with (30 MB)")
    shutil.rmtree(PEERS_VENV, ignore_errors=True)
    uv = prepare_uv(environ, report)
    uv_environ, flags = uv_environment(environ)
    run([sys.executable, "-m", "venv", "--without-pip", PEERS_VENV], environ, ROOT, what="making their environment")
    python = ["--python", str(PEERS_VENV / "bin" / "python")]
    sync: Command = [uv, "pip", "sync", "--quiet", *python, *flags, "--require-hashes", "--no-build", PEERS_LOCK]
    run(sync, uv_environ, ROOT, what="installing the frameworks")
    stamp.write_text(wanted, encoding="utf-8")
