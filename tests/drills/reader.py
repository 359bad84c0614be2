"""A reader that polls: every document it sees is whole, of one version, and never goes back.

Run as `python -m tests.drills.reader COLLECTION SIGHTINGS`; each poll rewrites the file SIGHTINGS:
how often it read and was refused, and what it saw that nobody may see.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import orjson

from m3.errors import M3Error, NotFound, SnapshotGone, Unreachable
from m3.settings import load_settings
from m3.types import DEFAULT_TENANT, Codec, DocumentKey, Representation
from store.candidates import MAX_DEPTH
from store.chunks import StoredChunk
from store.contract import Collection
from store.opening import open_store
from tests.drills.versions import seen

_PAUSE_SECONDS = 0.1


class Reader:
    def __init__(self, sightings: Path) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._file = sightings
        self._newest: dict[int, int] = {}
        self._rng = np.random.default_rng(0)

    def _found(self, collection: Collection) -> Iterable[StoredChunk]:
        while True:
            answer = collection.candidates(
                self._query(collection.spec.dimension),
                legs=["dense"],
                depth=MAX_DEPTH,
                tenant=DEFAULT_TENANT,
            )
            ids = [chunk.row for chunk in answer.rows.chunks]
            try:
                texts = collection.chunks(ids, tenant=DEFAULT_TENANT, snapshot=answer.snapshot)
            except SnapshotGone:
                continue  # as a search does
            return texts.values()

    def poll(self, collection: Collection) -> None:
        """Search for everything there is, then read one document."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for chunk in self._found(collection):
            found[chunk.document_id].append(chunk.text)
        versions = dict(map(seen, found.values()))
        self._hold(versions, "search")
        if gone := sorted(self._newest.keys() - versions.keys()):
            raise ValueError(f"search: documents are gone: {gone}")
        if versions:
            number = random.choice(list(versions))
            stored = collection.document(DocumentKey(DEFAULT_TENANT, "default", f"d{number}"))
            if stored is None:
                raise ValueError(f"read: document {number} is gone")
            got, version = seen(chunk.text for chunk in stored.chunks)
            if (got, stored.metadata["version"]) != (number, version):
                raise ValueError(f"read: text and metadata of {number} are of two versions")
            self._hold({number: version}, "read")
        self.counts["documents"] += len(versions)

    def _hold(self, versions: dict[int, int], way: str) -> None:
        for number, version in versions.items():
            if version < self._newest.get(number, version):
                raise ValueError(f"{way}: document {number} went back to version {version}")
            self._newest[number] = version

    def _query(self, dimension: int) -> Representation:
        dense = self._rng.standard_normal(dimension).astype(np.float32)
        return Representation(
            dense=dense / np.linalg.norm(dense),
            sparse_ids=np.empty(0, np.int32),
            sparse_weights=np.empty(0, np.float32),
            token_ids=np.empty(0, np.int32),
            codes=np.empty((0, dimension * 4), np.uint8),
            codec=Codec.FP32,
        )

    def tell(self) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_bytes(orjson.dumps({"counts": self.counts, "wrong": self.wrong}))
        draft.replace(self._file)


def main(name: str, sightings: Path) -> None:
    reader = Reader(sightings)
    store = open_store(load_settings())
    while True:
        try:
            reader.poll(store.open(name))
            reader.counts["polls"] += 1
        except (Unreachable, NotFound) as error:
            reader.counts[type(error).__name__] += 1
        except (M3Error, ValueError) as error:
            reader.wrong.append(f"{type(error).__name__}: {error}")
        reader.tell()
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
