"""A runner for each test of the queue."""

from __future__ import annotations

import pytest

from tests.embedder.batching.fake_runner import FakeRunner


@pytest.fixture
def encoder() -> FakeRunner:
    return FakeRunner()
