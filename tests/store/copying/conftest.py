"""A collection with a history, to copy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from store.contract import Collection, Store
from tests.store.examples import SPEC, document_rows, key


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(21)


@pytest.fixture
def docs(store: Store, rng: np.random.Generator) -> Collection:
    """With rows that were replaced and deleted, so that its row ids have gaps."""
    collection = store.create("docs", dataclasses.replace(SPEC, stand_in=True))
    collection.replace(
        [
            document_rows(
                rng, f"d{i:02}", chunks=1 + i % 3, metadata={"year": i}, tenant=f"t{i % 2}"
            )
            for i in range(30)
        ]
    )
    collection.replace([document_rows(rng, "d00", word="new", tenant="t0")])
    collection.delete([key("d01", tenant="t1")])
    return collection
