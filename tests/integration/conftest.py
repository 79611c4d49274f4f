"""A gateway process for a module of tests: its functions are those of `tests.support.functions`."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.gateway import Served, served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """One for the module; each test registers what it needs."""
    async with served(tmp_path_factory.mktemp("house")) as gateway:
        yield gateway
