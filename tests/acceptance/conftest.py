"""What acceptance tests need: a cluster's addresses, and nothing of its inside. How to run them: docs/acceptance.md.

LLMSCHED_ADDRESS, LLMSCHED_SCHEDULER and LLMSCHED_PROFILER name a cluster; without them one is started.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import llmsched
from llmsched import Application
from tests.acceptance.cluster import Cli, Cluster, given, started

#: Looked up here: tests run without what is set for the product.
GIVEN = given(os.environ)

Register = Callable[[Application], Awaitable[str]]


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if GIVEN is not None:
        yield GIVEN
        return
    with started(tmp_path_factory.mktemp("up")) as cluster:
        yield cluster


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[llmsched.Client]:
    async with llmsched.Client(options=cluster.options) as client:
        yield client


@pytest.fixture
def cli(cluster: Cluster, tmp_path: Path) -> Cli:
    return Cli(cluster, tmp_path)


@pytest.fixture
async def own_name(client: llmsched.Client) -> AsyncIterator[str]:
    """A name for an application that nobody else has; what is registered under it is deleted in the end."""
    name = f"acceptance-{uuid.uuid4().hex[:12]}"
    yield name
    with suppress(llmsched.NotFoundError):
        await client.delete_application(name)
