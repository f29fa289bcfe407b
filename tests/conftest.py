"""What all tests may use."""

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
