"""What all tests may use."""

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures.servers",
    "tests.fixtures.milvus_server",
    "tests.fixtures.vector_stores",
    "tests.fixtures.pipeline",
    "tests.fixtures.engines",
    "tests.fixtures.stack",
    "tests.fixtures.bridges",
    "tests.fixtures.browser",
]

# How long an example takes is the machine's affair.
settings.register_profile("ragline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ragline")
