"""Converts one file and ends: ``python -m backends.conversion.child NAME MEMORY_MIB CPU_S MAX_CHARS``, the file on
standard input, the outcome as JSON on standard output.

Whatever a hostile file does to the libraries that read it, it does here: without the network, with little memory and
time, and to no other file.
"""

import dataclasses
import resource
import sys
from typing import Any

import orjson

from backends.conversion.formats import convert
from backends.conversion.values import ConversionError

_MIB = 1024 * 1024
_FORBIDDEN = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system")


def main() -> None:
    """Read, convert, write."""
    name, memory_mib, cpu_s, max_chars = sys.argv[1], *map(int, sys.argv[2:5])
    _confine(memory_mib, cpu_s)
    sys.stdout.buffer.write(orjson.dumps(outcome(name, sys.stdin.buffer.read(), max_chars)))


def outcome(name: str, data: bytes, max_chars: int) -> dict[str, Any]:
    """The fields of what it was converted to, or ``code`` and ``message`` of the error."""
    try:
        converted = convert(name, data)
    except ConversionError as error:
        return {"code": error.code, "message": str(error)}
    except RecursionError:
        return {"code": "damaged", "message": "The file is nested too deeply."}
    except MemoryError:
        return {"code": "too_large", "message": "The file needs more memory than there is for one."}
    except Exception as error:  # noqa: BLE001 - libraries fail on damaged files in ways of their own
        return {"code": "damaged", "message": f"The file cannot be read ({type(error).__name__})."}
    if len(converted.text) > max_chars:
        message = f"The file has {len(converted.text):,} characters of text; {max_chars:,} are taken: split it."
        return {"code": "too_large", "message": message}
    return dataclasses.asdict(converted)


def _confine(memory_mib: int, cpu_s: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_mib * _MIB, memory_mib * _MIB))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_refuse)


def _refuse(event: str, _: object) -> None:
    if event.startswith(_FORBIDDEN):
        raise PermissionError(event)


if __name__ == "__main__":
    main()
