"""What vLLM loads into each of its processes, as a plugin of the group ``vllm.general_plugins``."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.process import BaseProcess


def die_with_parent() -> None:
    """End this process when its parent is gone; does nothing in a process that multiprocessing has not started.

    vLLM's engine core serves on when the process that started it is killed, and would hold its memory for ever.
    A death signal of the kernel (PR_SET_PDEATHSIG) would follow the thread that started the process, not its parent.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), name="parent-watch", daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
