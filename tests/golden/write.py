"""Write golden files for event types that have none yet; those that exist are never touched.

Run as ``python tests/golden/write.py``. A folder per event type holds ``NAME.json``, the record value byte for byte
(absent when the value is null), and ``NAME.headers.json``, its headers as [name, text] pairs. ``schemas/`` holds the
published JSON Schema of each type.
"""

from pathlib import Path

import orjson

from schemas.codec import encode
from schemas.events import EVENTS
from schemas.examples import EXAMPLE_BY_TYPE, example_headers
from schemas.export import dump, json_schema

GOLDEN = Path(__file__).parent


def write_missing(golden: Path = GOLDEN) -> list[str]:
    """Write what is missing; returns the types written."""
    written = []
    for kind in EVENTS:
        folder = golden / kind.TYPE
        schema_file = golden / "schemas" / f"{kind.TYPE}.json"
        if folder.exists() or schema_file.exists():
            continue
        folder.mkdir(parents=True)
        event = EXAMPLE_BY_TYPE[kind.TYPE]
        value = encode(event)
        if value is not None:
            (folder / "example.json").write_bytes(value)
        headers = [(name, text.decode()) for name, text in example_headers(event).encode()]
        (folder / "example.headers.json").write_bytes(
            orjson.dumps(headers, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        )
        schema_file.parent.mkdir(exist_ok=True)
        schema_file.write_bytes(dump(json_schema(kind)))
        written.append(kind.TYPE)
    return written


if __name__ == "__main__":
    print("\n".join(write_missing()) or "nothing is missing")  # noqa: T201 - a script prints
