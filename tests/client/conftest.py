import socket
from collections.abc import AsyncIterator

import pytest
from fake_provider import FakeProvider, answer, http, listening


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    """The provider that is asked."""
    async with listening() as provider:
        yield provider


@pytest.fixture
async def other() -> AsyncIterator[FakeProvider]:
    """A second provider, to which nobody should come."""
    async with listening(http(200, answer())) as provider:
        yield provider


@pytest.fixture
def refused_url() -> str:
    """The URL of a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
