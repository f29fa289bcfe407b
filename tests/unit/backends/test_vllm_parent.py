import subprocess
import sys

import psutil

from backends.vllm_parent import die_with_parent

# The child follows its parent and says so; the parent waits to be killed.
PROGRAM = """
import multiprocessing, os, sys, time
from backends.vllm_parent import die_with_parent

def child():
    die_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("fork").Process(target=child).start()
    sys.stdin.read()
"""


def test_a_child_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen(  # noqa: S603 - the program above
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        _, left = psutil.wait_procs([child], timeout=10)
        if left:
            child.kill()
    assert left == []


def test_a_process_of_its_own_follows_nobody() -> None:
    die_with_parent()
