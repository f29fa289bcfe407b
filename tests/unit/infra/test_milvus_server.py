"""How the standalone Milvus server is told where its data and ports are."""

from pathlib import Path

from infra.local.milvus_server import PORTS, milvus_server_process


def test_it_stays_in_its_folder_and_on_its_ports(tmp_path: Path) -> None:
    server, folder = tmp_path / "server", tmp_path / "run"
    server.mkdir()
    (server / "glog.conf").write_text("")
    (server / "config.yaml.template").write_text(
        "etcd: localhost:{{ etcd_port(int): 2379 }}\n"
        "path: {{ local_storage_dir }} # where data is\n"
        "port: {{ proxy_port(int): 19530 }}\n"
        "level: {{ etcd_log_level: info }}\n"
        "tls: {{ tls_mode(int): 0 }}\n"
    )
    spec = milvus_server_process(server, folder, "127.0.0.1", 20_000)
    assert (folder / "configs" / "milvus.yaml").read_text().splitlines() == [
        "etcd: localhost:20009",
        f"path: {folder / 'data'} # where data is",
        "port: 20000",
        "level: info",
        "tls: 0",
    ]
    etcd = (folder / "configs" / "etcd.yaml").read_text()
    assert "listen-client-urls: http://127.0.0.1:20009\n" in etcd
    assert f"listen-peer-urls: http://127.0.0.1:{20_000 + PORTS - 2}\n" in etcd
    assert spec.env["METRICS_PORT"] == str(20_000 + PORTS - 1)
    assert spec.argv[1] == f"--chdir={folder}"
    assert spec.argv[-2:] == ("run", "standalone")
