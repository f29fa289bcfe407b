import os
import socket
from pathlib import Path

import pytest

from infra.local.preflight import Port, check_disk, check_platform, check_ports
from infra.local.report import LocalStackError


@pytest.mark.parametrize("python", [(3, 11), (3, 14)])
def test_supported(python: tuple[int, int]) -> None:
    check_platform(python, "Linux", "x86_64")


@pytest.mark.parametrize("python", [(3, 10), (3, 15), (4, 0)])
def test_another_python(python: tuple[int, int]) -> None:
    with pytest.raises(LocalStackError, match=rf"on Python 3\.11 to 3\.14, not {python[0]}\.{python[1]}"):
        check_platform(python, "Linux", "x86_64")


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")])
def test_another_platform(system: str, machine: str) -> None:
    with pytest.raises(LocalStackError, match=f"this is {system} {machine}"):
        check_platform((3, 11), system, machine)


def test_enough_disk_for_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    check_disk(tmp_path / "not" / "there", 1)


def test_too_little_disk(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match=r"1000000000 MiB are needed for .* and \d+ MiB are free"):
        check_disk(tmp_path, 1_000_000_000)


def test_a_taken_port_with_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
        with pytest.raises(LocalStackError) as caught:
            check_ports([Port(number, "Kafka", "local.kafka_port")])
    assert f"port {number} for Kafka is taken by " in str(caught.value)
    assert f"(process {os.getpid()}); stop that, or set local.kafka_port" in str(caught.value)


def test_a_port_wanted_twice() -> None:
    wanted = [Port(4711, "Kafka", "local.kafka_port"), Port(4711, "Milvus", "local.milvus_port")]
    with pytest.raises(LocalStackError, match="wanted by both Kafka and Milvus"):
        check_ports(wanted)


def test_a_port_left_to_the_system() -> None:
    with pytest.raises(LocalStackError, match=r"bridge\.port must not be 0"):
        check_ports([Port(0, "the bridge", "bridge.port")])
