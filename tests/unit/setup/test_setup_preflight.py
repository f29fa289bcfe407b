import socket
from pathlib import Path

import pytest

from bridge.settings import BridgeSettings
from infra.settings import LocalSettings
from infra.setup import preflight
from infra.setup.errors import SetupError
from infra.setup.preflight import (
    GIB,
    PORTS,
    check_disk,
    check_platform,
    check_ports,
    check_venv,
    read_settings,
    size_of,
)
from ragline.settings import Settings
from workers.settings import MonitorSettings


def test_this_machine_will_do() -> None:
    check_platform()
    check_venv()


@pytest.mark.parametrize(
    ("platform", "machine", "libc", "sentence"),
    [
        ("darwin", "arm64", ("", ""), "on Linux x86_64 only"),
        ("linux", "aarch64", ("glibc", "2.36"), "on Linux x86_64 only"),
        ("linux", "x86_64", ("glibc", "2.28"), "need glibc 2.31 or newer; this system has glibc 2.28"),
        ("linux", "x86_64", ("", ""), "another C library"),
    ],
)
def test_another_platform_is_refused(
    monkeypatch: pytest.MonkeyPatch, platform: str, machine: str, libc: tuple[str, str], sentence: str
) -> None:
    monkeypatch.setattr(preflight.sys, "platform", platform)
    monkeypatch.setattr(preflight.platform, "machine", lambda: machine)
    monkeypatch.setattr(preflight.platform, "libc_ver", lambda: libc)
    with pytest.raises(SetupError, match=sentence):
        check_platform()


def test_a_python_without_ensurepip_is_told_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(SetupError, match=r"no module ensurepip; on Debian and Ubuntu, install python3\.\d+-venv"):
        check_venv()


def test_too_little_disk_is_said_with_both_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2 * GIB}))
    check_disk([tmp_path / "not" / "yet"], GIB)
    with pytest.raises(SetupError, match=r"set-up needs 9\.0 GiB there, 2\.0 GiB are free"):
        check_disk([tmp_path / "not" / "yet"], 9 * GIB)


def test_size_counts_all_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"123")
    assert size_of(tmp_path) == 8
    assert size_of(tmp_path / "missing") == 0


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def test_a_taken_port_is_named_with_its_setting() -> None:
    ports = free_ports(len(PORTS))
    environ = {preflight._variable(port.setting): str(number) for port, number in zip(PORTS, ports, strict=True)}
    check_ports({}, environ)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        environ["RAGLINE_LOCAL__KAFKA_PORT"] = str(taken)
        with pytest.raises(SetupError, match=f"port {taken}, which Kafka needs, is taken.*RAGLINE_LOCAL__KAFKA_PORT"):
            check_ports({}, environ)
        # Not started here, so its port does not matter.
        check_ports({"kafka": {"bootstrap_servers": "elsewhere:9092"}}, environ)


def test_ports_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    sections = {"local": LocalSettings(), "monitor": MonitorSettings(), "bridge": BridgeSettings()}
    for port in PORTS:
        section, name = port.setting
        assert getattr(sections[section], name) == port.default
        if port.unless:
            assert port.unless[1] in type(getattr(Settings(), port.unless[0])).model_fields
        monkeypatch.setenv(preflight._variable(port.setting), "12345")
        assert getattr(getattr(Settings(), section), name) == 12345


def test_a_settings_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "missing.toml") == {}
    (tmp_path / "ragline.toml").write_text("[local]\nkafka_port = 1\n")
    assert read_settings(tmp_path / "ragline.toml") == {"local": {"kafka_port": 1}}
    (tmp_path / "ragline.toml").write_text("[local\n")
    with pytest.raises(SetupError, match="is not TOML"):
        read_settings(tmp_path / "ragline.toml")
