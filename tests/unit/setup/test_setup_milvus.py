"""What the wheel of the Milvus server brings is unpacked once."""

import lzma
from pathlib import Path

import pytest

from infra.setup import milvus
from infra.setup.errors import SetupError


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is there, and what is installed there is a small one."""
    folder = tmp_path / "milvus-server"
    monkeypatch.setattr(milvus, "MILVUS_SERVER", folder)
    monkeypatch.setattr(milvus, "prepare_uv", lambda *_: Path("uv"))
    monkeypatch.setattr(milvus, "uv_environment", lambda _: ({}, ()))

    def run(argv: list[str | Path], *_: object, what: str) -> None:
        if what == "installing Milvus":
            data = folder / "venv" / "lib" / "python3.11" / "site-packages" / "milvus" / "data"
            (data / "bin").mkdir(parents=True)
            (data / "config.yaml.template").write_text("port: {{ proxy_port(int): 19530 }}")
            (data / "glog.conf").write_text("")
            (data / "bin" / "milvus.lzma").write_bytes(lzma.compress(b"#!/bin/sh\n"))
        else:
            folder.mkdir(exist_ok=True)
            assert "venv" in argv

    monkeypatch.setattr(milvus, "run", run)
    return folder


def test_it_is_unpacked_once(server: Path) -> None:
    said: list[str] = []
    milvus.install_milvus({}, said.append)
    assert sorted(path.name for path in server.iterdir()) == [
        "config.yaml.template",
        "glog.conf",
        "milvus",
        "ragline.stamp",
    ]
    assert (server / "milvus").read_bytes() == b"#!/bin/sh\n"
    assert (server / "milvus").stat().st_mode & 0o111
    assert len(said) == 1
    milvus.install_milvus({}, said.append)
    assert len(said) == 1


def test_another_lock_installs_it_anew(server: Path) -> None:
    milvus.install_milvus({}, lambda _: None)
    (server / "ragline.stamp").write_text("of another lock\n")
    (server / "left").touch()
    milvus.install_milvus({}, lambda _: None)
    assert not (server / "left").exists()


def test_a_wheel_that_is_built_otherwise_is_refused(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus, "run", lambda *_, what: server.mkdir(exist_ok=True))  # noqa: ARG005 - as it is called
    with pytest.raises(SetupError, match="not built as expected"):
        milvus.install_milvus({}, lambda _: None)
