"""The set-up's command line: parses, runs one action, turns errors into a sentence and an exit status."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from infra.setup.browser import install_browser
from infra.setup.clean import clean
from infra.setup.errors import SetupError
from infra.setup.install import ACCELS, choose_accel, install
from infra.setup.locks import lock
from infra.setup.milvus import install_milvus
from infra.setup.peers import install_peers

_INTERRUPTED = 130


def run(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; the exit status."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Ignored is what nohup asks for.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        _act(options)
    except SetupError as error:
        say(str(error), error=True)
        return 1
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here", error=True)
        return _INTERRUPTED
    return 0


def say(sentence: str, *, error: bool = False) -> None:
    """Tell the person what goes on."""
    print(f"setup: {sentence}", file=sys.stderr if error else sys.stdout, flush=True)


def _act(options: argparse.Namespace) -> None:
    if options.action == "lock":
        lock(os.environ, say)
    elif options.action == "clean":
        clean(say)
    elif options.action == "peers":
        install_peers(os.environ, say)
    elif options.action == "milvus":
        install_milvus(os.environ, say)
    elif options.action == "browser":
        install_browser(os.environ, say)
    else:
        accel, reason = choose_accel(options.accel)
        say(f"ACCEL={accel.name} ({reason})")
        install(accel, os.environ, say, ports=options.ports)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="infra.setup", description="Sets up a checkout of ragline.")
    actions = parser.add_subparsers(dest="action", required=True)
    installing = actions.add_parser("install", help="make .venv hold the locked packages and ragline")
    installing.add_argument("--accel", choices=["auto", *ACCELS], default="auto", help="what the engine runs on")
    installing.add_argument("--ports", action="store_true", help="refuse taken ports before a long set-up")
    actions.add_parser("lock", help="make requirements/*.lock anew")
    actions.add_parser("peers", help="make .venv-bench hold the frameworks that benchmarks compare with")
    actions.add_parser("milvus", help="see to a Milvus server, for the tests that want one")
    actions.add_parser("browser", help="see to a Chromium, for the page's tests")
    actions.add_parser("clean", help="remove what set-up and runs have made")
    return parser


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
