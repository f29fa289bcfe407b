"""What tests of OpenAI's clients run on."""

from collections.abc import AsyncIterator

import openai
import pytest

from tests.fixtures.openai_client import sdk
from tests.fixtures.small_pipeline import SmallPipeline, small_pipeline


@pytest.fixture
async def pipeline() -> AsyncIterator[SmallPipeline]:
    async with small_pipeline() as running:
        yield running


@pytest.fixture
async def client(pipeline: SmallPipeline) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(pipeline.bridge) as made:
        yield made
