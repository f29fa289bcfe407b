"""A worker without work: ``fake_worker.py worker STAGE``. It writes its process number to a file and serves its page.

FAKE_PIDS is the folder for the numbers. FAKE_READY=0 never becomes ready.
"""

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"stage": sys.argv[-1], "in_flight": 2, "last_error": "", "partitions": []}).encode()
        self.send_response(200 if os.environ.get("FAKE_READY", "1") == "1" else 503)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def main() -> None:
    port = {"monitor": "FAKE_MONITOR_PORT", "bridge": "FAKE_BRIDGE_PORT"}.get(
        sys.argv[-1], "RAGLINE_RUNTIME__HTTP_PORT"
    )
    server = HTTPServer(("127.0.0.1", int(os.environ[port])), Page)
    sys.stdout.write(f"INFO {sys.argv[-1]} began\n")
    sys.stdout.flush()
    write_number(f"{os.environ[port]}.{sys.argv[-1]}", os.getpid())
    if sys.argv[-1] == "generation":
        # As an engine does: a process that would outlive its parent.
        child = subprocess.Popen(["sleep", "3600"])  # noqa: S607
        write_number(f"{os.environ[port]}.engine", child.pid)
    server.serve_forever()


def write_number(name: str, number: int) -> None:
    """Whole at once: who waits for the file reads it."""
    file = Path(os.environ["FAKE_PIDS"]) / name
    partial = file.with_suffix(".partial")
    partial.write_text(str(number))
    partial.replace(file)


if __name__ == "__main__":
    main()
