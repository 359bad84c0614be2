"""What every store does to keep tenants apart; mixed in beside `StoreContract`, whose fixtures it
takes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from m3.errors import InvalidInput, NotFound
from store.filters import parse
from store.reports import Counts
from tests.store.examples import FIELDS, SPEC, document_rows, key, query


class TenancyContract:
    def test_tenant_and_source_are_part_of_who_a_document_is(self, collection, rng):
        collection.replace(
            [
                document_rows(rng, "a", word="one", tenant="one"),
                document_rows(rng, "a", word="two", tenant="two"),
                document_rows(rng, "a", word="three", tenant="one", source="other"),
            ]
        )
        assert collection.document(key("a", tenant="two")).chunks[0].text == "two-0"
        assert collection.delete([key("a", tenant="one")]) == 1
        assert collection.document(key("a", tenant="one", source="other")) is not None
        found = collection.candidates(query(rng), legs=["dense", "sparse"], depth=9, tenant="two")
        assert [c.tenant for c in found.rows.chunks] == ["two"]

    def test_a_tenants_counts_are_its_own(self, collection, rng):
        collection.replace(
            [
                document_rows(rng, "a", chunks=2, tenant="it's one"),
                document_rows(rng, "b", chunks=1, tenant="it's one"),
                document_rows(rng, "a", chunks=5, tenant="two"),
            ]
        )
        collection.replace([document_rows(rng, "b", chunks=4, tenant="it's one")])
        found = [collection.counts(tenant) for tenant in ("it's one", "two", "three")]
        assert found == [Counts(2, 6), Counts(1, 5), Counts(0, 0)]
        whole = collection.status()
        assert (whole.documents, whole.chunks) == (3, 11)

    def test_a_collection_of_ones_own_is_as_any_other_to_its_owner(self, store, rng):
        own = store.create("own", dataclasses.replace(SPEC, owner="one"))
        assert (own.spec.tenancy, SPEC.tenancy) == ("own", "shared")
        rows = [document_rows(rng, name, tenant="one", metadata={"year": 1}) for name in "ab"]
        own.replace(rows)
        a, b = (each.document.key for each in rows)
        wanted = parse({"field": "year", "op": "eq", "value": 1}, FIELDS)
        for filter_ in (None, wanted):
            found = own.candidates(
                query(rng, terms=50),
                legs=["dense", "sparse"],
                depth=9,
                tenant="one",
                filter=filter_,
            )
            assert sorted(map(len, found.legs.values())) == [2, 2]
        assert own.delete([a]) == 1
        assert own.keys("one", "default") == own.find(wanted, "one") == [b]
        assert own.verify().consistent

    def test_a_collection_of_ones_own_takes_nothing_of_another_tenant(self, store, rng):
        own = store.create("own", dataclasses.replace(SPEC, owner="one"))
        mine = document_rows(rng, "a", tenant="one")
        own.replace([mine])
        with pytest.raises(InvalidInput, match="tenant 'two'"):
            own.replace(
                [document_rows(rng, "b", tenant="one"), document_rows(rng, "a", tenant="two")]
            )
        assert own.keys("one", "default") == [mine.document.key]

    @pytest.mark.parametrize(
        "asked",
        [
            lambda own: own.delete([key("a", tenant="one"), key("a", tenant="two")]),
            lambda own: own.content_hashes(iter([key("a", tenant="two")])),
            lambda own: own.keys("two", "default"),
            lambda own: own.counts("two"),
            lambda own: next(own.scan("two", "default")),
            lambda own: own.find(parse({"field": "year", "op": "eq", "value": 1}, FIELDS), "two"),
            lambda own: own.embeddings_by_text([key("a", tenant="two")]),
            lambda own: own.document(key("a", tenant="two")),
            lambda own: own.originals([key("a", tenant="two")]),
            lambda own: own.candidates(
                query(np.random.default_rng(1)), legs=["dense"], depth=9, tenant="two"
            ),
        ],
        ids=[
            "delete",
            "content_hashes",
            "keys",
            "counts",
            "scan",
            "find",
            "embeddings_by_text",
            "document",
            "originals",
            "candidates",
        ],
    )
    def test_a_collection_of_ones_own_tells_another_tenant_nothing(self, store, rng, asked):
        own = store.create("own", dataclasses.replace(SPEC, owner="one"))
        own.replace([document_rows(rng, "a", tenant="one")])
        with pytest.raises(NotFound, match="nothing of tenant 'two'"):
            asked(own)
        assert own.status().documents == 1

    @pytest.mark.parametrize("owner", ["", "x" * 513])
    def test_owners_that_are_not_allowed(self, store, owner):
        with pytest.raises(InvalidInput, match="tenant must have 1 to 512 bytes"):
            store.create("own", dataclasses.replace(SPEC, owner=owner))
