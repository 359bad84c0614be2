"""What tests of every room share: the stand-in checkpoint and a real node that serves it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.processes import COMMANDS, server

DATA = Path(__file__).parents[1] / "../shared/data"
"""Real collections beside the checkout; tests that need one skip where it is missing."""

_LONGEST = ("system", "commands", "notebooks", "store", "search")
"""Rooms whose files take minutes. They go first: whoever has the last long one is waited for."""

# How long an example takes is the machine's affair.
settings.register_profile("any pace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any pace")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        room = item.path.relative_to(Path(__file__).parent).parts[0]
        return _LONGEST.index(room) if room in _LONGEST else len(_LONGEST)

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """No setting of whoever runs the tests reaches them, but for what is meant for tests."""
    before = dict(os.environ)
    for name in before:
        if name.startswith("M3_") and not name.startswith("M3_TEST_"):
            del os.environ[name]
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real collections."""
    if not DATA.is_dir():
        pytest.skip(f"no collections at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in checkpoint."""
    from embedder.stand_in import build

    return build(tmp_path_factory.mktemp("stand-in") / "checkpoint")


@pytest.fixture(scope="session")
def node(stand_in: Path) -> Iterator[str]:
    """The URL of a real embedder node that serves the stand-in in fp32, on any machine."""
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    arguments += ["--precision", "fp32"]
    with server(arguments) as (url, _):
        yield url
