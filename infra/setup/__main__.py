"""``python3 -m infra.setup ACTION``: finds a Python that ragline supports and goes on with that.

Any Python 3 must be able to read this file, so that an old one gets a sentence and no traceback.
"""

import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
NEWEST = (3, 14)


def is_supported(version: "tuple[int, ...]") -> bool:
    """Tell whether ragline runs on this version of Python."""
    return OLDEST <= version <= NEWEST


def find_python() -> "str | None":
    """Find a supported Python on the path by its name, the oldest first, and try it: a shim may lead nowhere."""
    for minor in range(OLDEST[1], NEWEST[1] + 1):
        candidate = shutil.which("python3.{}".format(minor))  # noqa: UP032 - see above
        if candidate and subprocess.call([candidate, "-c", ""], stderr=subprocess.DEVNULL) == 0:  # noqa: S603
            return candidate
    return None


def main() -> int:
    """Run what the command line asks for; the exit status."""
    if not is_supported(tuple(sys.version_info[:2])):
        candidate = find_python()
        if candidate is None:
            sentence = "ragline needs Python {}.{} to {}.{}; python3 is {}.{}, and no other was found on the path.\n"
            sys.stderr.write(sentence.format(*(OLDEST + NEWEST + tuple(sys.version_info[:2]))))
            return 1
        os.execv(candidate, [candidate, "-m", "infra.setup"] + sys.argv[1:])  # noqa: RUF005, S606 - see above
    from infra.setup.program import run  # noqa: PLC0415 - an old Python cannot read it

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
