"""What runs and their evaluation need beside the pipeline's own packages."""

import contextlib
from collections.abc import Iterator

EXTRA = "evaluate"
_PACKAGES = {"pyarrow", "ir_measures"}


class MissingExtraError(RuntimeError):
    """A package of the extra is not installed; the message says how to install it."""


@contextlib.contextmanager
def needed() -> Iterator[None]:
    """Say in one sentence that the extra is missing, where an import inside fails for it.

    Raises:
        MissingExtraError: a package of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        raise MissingExtraError(
            f"the package {package} is missing; runs and their evaluation need: pip install 'ragline[{EXTRA}]'"
        ) from None
