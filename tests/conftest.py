"""What all tests may use."""

from typing import Any

import structlog
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures.servers",
    "tests.fixtures.milvus_server",
    "tests.fixtures.vector_stores",
    "tests.fixtures.pipeline",
    "tests.fixtures.production",
    "tests.fixtures.engines",
    "tests.fixtures.stack",
    "tests.fixtures.bridges",
    "tests.fixtures.browser",
]

# How long an example takes is the machine's affair.
settings.register_profile("ragline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ragline")

_configure = structlog.configure


def _configure_uncached(**options: Any) -> None:
    _configure(**options | {"cache_logger_on_first_use": False})


# A command that runs in this process sets up logs; what is kept from then could not be captured by later tests.
structlog.configure = _configure_uncached
