"""Makes the locks in ``requirements/`` from pyproject.toml."""

from collections.abc import Callable, Mapping

from infra.setup.install import ACCELS, ROOT, prepare_uv, uv_environment
from infra.setup.milvus import MILVUS_LOCK, MILVUS_SOURCE
from infra.setup.peers import PEERS_LOCK, PEERS_SOURCE
from infra.setup.processes import Command, run

# Hashes instead of addresses: whoever installs says where packages come from.
_EXTRAS = ("local", "onnx", "openvino", "dev")
_OPTIONS = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-header")


def lock(environ: Mapping[str, str], report: Callable[[str], None]) -> None:
    """Write every lock anew, keeping the versions that still fit; deleting a lock first takes the newest ones.

    Raises:
        SetupError: no set of versions fits, or the network failed.
    """
    uv = prepare_uv(environ, report)
    uv_environ, flags = uv_environment(environ)
    folder = ROOT / "requirements"
    sources = {
        accel.lock: ["pyproject.toml", *(f"--extra={extra}" for extra in (*_EXTRAS, accel.name))]
        for accel in ACCELS.values()
    }
    sources[folder / "bootstrap.lock"] = [str(folder.relative_to(ROOT) / "bootstrap.in")]
    sources[PEERS_LOCK] = [str(PEERS_SOURCE.relative_to(ROOT))]
    sources[MILVUS_LOCK] = [str(MILVUS_SOURCE.relative_to(ROOT))]
    for file, source in sources.items():
        report(f"locking {file.relative_to(ROOT)}")
        compile_one: Command = [uv, "pip", "compile", "--quiet", *flags, *_OPTIONS, *source, "--output-file", file]
        run(compile_one, uv_environ, ROOT, what=f"locking {file.name}")
