"""A standalone Milvus server, as a process: the one that its wheel brings, which knows no keyword search."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from infra.local.probes import http_ok
from infra.local.process import ProcessSpec

# As many in a row it takes, the first for clients.
PORTS = 12
# Of the wheel's template: {{ proxy_port(int): 19530 }}.
_SETTING = re.compile(r"\{\{\s*(?P<name>\w+)(?:\(\w+\))?(?:\s*:\s*(?P<default>[^}]*?))?\s*\}\}")
_PORT_SETTINGS = (
    *("proxy_port", "proxy_internal_port", "root_coord_port", "query_coord_port", "query_node_port"),
    *("index_coord_port", "index_node_port", "data_coord_port", "data_node_port", "etcd_port"),
)


def milvus_server_process(server: Path, folder: Path, host: str, port: int) -> ProcessSpec:
    """The server that is unpacked in ``server``, with its data in ``folder``, on ``PORTS`` ports from ``port``.

    It listens on all interfaces, having no setting for that; its own etcd listens on ``host``.
    """
    server, folder = server.absolute(), folder.absolute()
    configs = folder / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    *ports, peer_port, http_port = range(port, port + PORTS)
    settings = dict(zip(_PORT_SETTINGS, ports, strict=True)) | _folders(folder)
    template = (server / "config.yaml.template").read_text(encoding="utf-8")
    (configs / "milvus.yaml").write_text(_filled(template, settings), encoding="utf-8")
    (configs / "etcd.yaml").write_text(_etcd(host, settings["etcd_port"], peer_port), encoding="utf-8")
    shutil.copy(server / "glog.conf", configs)
    return ProcessSpec(
        name="milvus-server",
        stage="milvus",
        argv=("env", f"--chdir={folder}", str(server / "milvus"), "run", "standalone"),
        env={
            "DEPLOY_MODE": "STANDALONE",
            "ETCD_CONFIG_PATH": str(configs / "etcd.yaml"),
            "LD_LIBRARY_PATH": str(server),
            "METRICS_PORT": str(http_port),
            "MILVUSCONF": str(configs),
            # A search that sees the last write waits for the next tick, of 200 ms otherwise.
            "PROXY_TIMETICKINTERVAL": "20",
        },
        ready=http_ok(host, http_port, "/healthz"),
        view="errors",
    )


def _folders(folder: Path) -> dict[str, object]:
    logs, data = folder / "logs", folder / "data"
    for each in (logs, data):
        each.mkdir(exist_ok=True)
    return {
        "etcd_log_path": logs / "etcd.log",
        "system_log_path": logs,
        "etcd_data_dir": data / "etcd",
        "local_storage_dir": data,
        "rocksmq_data_dir": data / "rocksmq",
    }


def _filled(template: str, settings: Mapping[str, object]) -> str:
    return _SETTING.sub(lambda match: str(settings.get(match["name"], match["default"])), template)


def _etcd(host: str, client_port: object, peer_port: int) -> str:
    """Configuration of the etcd within; without one it takes ports of its own choice."""
    client, peer = f"http://{host}:{client_port}", f"http://{host}:{peer_port}"
    return (
        f"listen-client-urls: {client}\nadvertise-client-urls: {client}\n"
        f"listen-peer-urls: {peer}\ninitial-advertise-peer-urls: {peer}\ninitial-cluster: default={peer}\n"
    )
