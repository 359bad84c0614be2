"""Candidates: dense, sparse and filter columns of one generation in Milvus.

The key is the table's stable row id. Nothing here is the truth: every row can be written
again from the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import orjson
import pyarrow as pa
from pymilvus import DataType, MilvusClient

from m3 import tracing
from m3.types import F32, I32, I64, Representation
from store.candidates import Leg
from store.checks import MAX_ARRAY_ITEMS, MAX_ID_BYTES, MAX_VARCHAR_BYTES
from store.filters import FieldType, field_values
from store.index.milvus import Milvus
from store.index.milvus_filters import column, columns_of, presence, quoted
from store.spec import CollectionSpec
from store.table.rows import ROW_ID, dense_matrix, ragged

T = TypeVar("T")

_milvus_client: Any = MilvusClient
"""pymilvus leaves its keyword arguments untyped."""

KEY = "row"
TENANT = "tenant"
_UPSERT_ROWS = 1_000
"""With the widest vectors (1024 fp32) and long rows well under the server's 64 MB a message."""
_DELETE_ROWS = 10_000
_SCAN_ROWS = 10_000
_RELOAD_SECONDS = 3_600.0

NO_TERM = {0: 1e-6}
"""Stands for a text without sparse terms, which the server refuses. Token 0 is a special
token in XLM-R's and BERT's vocabularies, so that no query ever carries it."""

_HNSW_BUILD = {"M": 30, "efConstruction": 360}
_HNSW_MIN_EF = 400
"""HNSW's recall on synthetic vectors: .66 at 64 and .95 at 400; under a filter that lets 5 %
through, .30 at 64 and .96 at 800."""

_DENSE_TYPES: Mapping[DataType, Any] = {
    DataType.FLOAT16_VECTOR: np.float16,
    DataType.FLOAT_VECTOR: np.float32,
}

_SCALAR_TYPES: Mapping[FieldType, DataType] = {
    FieldType.INT: DataType.INT64,
    FieldType.FLOAT: DataType.DOUBLE,
    FieldType.BOOL: DataType.BOOL,
}


class Index:
    """One Milvus collection."""

    def __init__(self, milvus: Milvus, name: str, spec: CollectionSpec) -> None:
        self.name = name
        self._milvus = milvus
        self._spec = spec
        self._loaded_at = 0
        self._dense_types: dict[int, Any] = {}

    def create(self) -> None:
        """Make it, empty; one that is there is left as it is."""
        self._milvus.call(self._create)

    def _create(self, client: Any, timeout: float) -> None:
        if client.has_collection(self.name, timeout=timeout):
            return
        client.create_collection(
            self.name,
            schema=index_schema(self._spec, embedded=self._milvus.place.embedded),
            index_params=_index_params(embedded=self._milvus.place.embedded),
            # A published row must be found by the next search, of whatever process.
            consistency_level="Strong",
            timeout=timeout,
        )

    def drop(self) -> None:
        """Take it away; one that is not there is fine."""
        if self.exists():
            self._milvus.call(
                lambda client, timeout: client.drop_collection(self.name, timeout=timeout)
            )

    def exists(self) -> bool:
        return self._milvus.call(
            lambda client, timeout: client.has_collection(self.name, timeout=timeout)
        )

    def upsert(self, rows: pa.Table) -> None:
        """Write rows, of `INDEX_COLUMNS` and ids, whether they are there or not."""
        dense = self._milvus.call(self._dense_type)
        for some in _batches(list(records(rows, self._spec, dense)), _UPSERT_ROWS):
            self._milvus.call(
                lambda client, timeout, some=some: client.upsert(self.name, some, timeout=timeout)
            )

    def delete(self, row_ids: Iterable[int]) -> None:
        """Take rows out; those that are not there are passed over."""
        for some in _batches(list(row_ids), _DELETE_ROWS):
            self._milvus.call(
                lambda client, timeout, some=some: client.delete(
                    self.name, ids=some, timeout=timeout
                )
            )

    def erase(self) -> None:
        """Have Milvus let go of the bytes of rows that were taken out."""
        if self._milvus.place.embedded:
            self._milvus.place.erase()
        else:
            self._milvus.call(lambda client, timeout: client.compact(self.name, timeout=timeout))

    def search(
        self,
        leg: Leg,
        query: Representation,
        *,
        depth: int,
        tenant: str,
        expression: str | None,
        within: float | None = None,
    ) -> list[tuple[int, float]]:
        """Row ids with their inner products in the index, best first, at most `depth`.

        Args:
            within: seconds, where they are fewer than the setting's.

        Raises:
            DeadlineExceeded: it took longer than that.
        """
        if leg == "sparse" and not len(query.sparse_ids):
            return []
        condition = _condition(self._spec, tenant, expression)

        def run(client: Any, timeout: float) -> list[tuple[int, float]]:
            self._load(client, timeout)
            data, params = self._leg(leg, query, depth, self._dense_type(client, timeout))
            found = client.search(
                self.name,
                data=[data],
                anns_field=leg,
                limit=depth,
                filter=condition,
                search_params={"metric_type": "IP", "params": params},
                timeout=timeout,
                # A server's log has it beside what it says of the call.
                client_request_id=tracing.trace_id() or "",
            )
            return [(int(hit["id"]), float(hit["distance"])) for hit in found[0]] if found else []

        told = {"db.system.name": "milvus", "m3.leg": leg, "m3.depth": depth}
        with tracing.span("milvus.search", told, kind="client") as span:
            hits = self._milvus.call(run, within=within)
            span.add({"m3.found": len(hits)})
            return hits

    def _leg(
        self, leg: Leg, query: Representation, depth: int, dense: Any
    ) -> tuple[Any, dict[str, Any]]:
        if leg == "sparse":
            return _sparse(query.sparse_ids, query.sparse_weights), {}
        params = {} if self._milvus.place.embedded else {"ef": max(_HNSW_MIN_EF, 2 * depth)}
        return query.dense.astype(dense), params

    def _dense_type(self, client: Any, timeout: float) -> Any:
        """What this collection's dense vectors are, which its maker chose: asked once a client."""
        if not self._milvus.place.embedded:
            return np.float16
        connection = self._milvus.connections
        if connection not in self._dense_types:
            fields = client.describe_collection(self.name, timeout=timeout)["fields"]
            (type_,) = (field["type"] for field in fields if field["name"] == "dense")
            self._dense_types = {connection: _DENSE_TYPES[type_]}
        return self._dense_types[connection]

    def row_ids(self) -> I64:
        """[rows] int64, ascending: every row the index holds."""

        def run(client: Any, timeout: float) -> I64:
            self._load(client, timeout)
            iterator = client.query_iterator(
                self.name, batch_size=_SCAN_ROWS, filter="", output_fields=[KEY], timeout=timeout
            )
            ids = [np.empty(0, np.int64)]
            try:
                while batch := iterator.next():
                    ids.append(np.array([row[KEY] for row in batch], np.int64))
            finally:
                iterator.close()
            return np.sort(np.concatenate(ids))

        return self._milvus.call(run)

    def reload(self) -> None:
        """Have an import's rows found, of a collection that may have been loaded before it."""

        def run(client: Any, timeout: float) -> None:
            del timeout  # of a call, and this waits until the server holds all rows
            self._load(client, _RELOAD_SECONDS)
            client.refresh_load(self.name, timeout=_RELOAD_SECONDS)

        self._milvus.call(run)

    def _load(self, client: Any, timeout: float) -> None:
        """A search needs the collection loaded; a restarted engine has forgotten that it was."""
        if self._loaded_at != self._milvus.connections:
            client.load_collection(self.name, timeout=timeout)
            self._loaded_at = self._milvus.connections


def index_schema(spec: CollectionSpec, *, embedded: bool = False) -> Any:
    # With a partition key, a server looks at one tenant's partition alone. The embedded engine
    # refuses every filter there: "Invalid expr".
    partitioned = spec.tenancy == "shared" and not embedded
    schema = _milvus_client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(KEY, DataType.INT64, is_primary=True)
    # The embedded engine multiplies fp16 without the processor's vectors: 90 ms of CPU a search of
    # 20,000 x 1024, where fp32 takes 8.
    dense = DataType.FLOAT_VECTOR if embedded else DataType.FLOAT16_VECTOR
    schema.add_field("dense", dense, dim=spec.dimension)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_field(
        TENANT, DataType.VARCHAR, max_length=MAX_ID_BYTES, is_partition_key=partitioned
    )
    for name, type_ in spec.fields.items():
        schema.add_field(presence(name), DataType.BOOL)
        _add_field(schema, column(name), type_)
    return schema


def _add_field(schema: Any, name: str, type_: FieldType) -> None:
    match type_:
        case FieldType.STRING:
            schema.add_field(name, DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES)
        case FieldType.STRINGS:
            schema.add_field(
                name,
                DataType.ARRAY,
                element_type=DataType.VARCHAR,
                max_capacity=MAX_ARRAY_ITEMS,
                max_length=MAX_VARCHAR_BYTES,
            )
        case _:
            schema.add_field(name, _SCALAR_TYPES[type_])


def _condition(spec: CollectionSpec, tenant: str, expression: str | None) -> str:
    """Nothing is left to tell apart where all rows are of one tenant."""
    parts = [] if spec.tenancy == "own" else [f"{TENANT} == {quoted(tenant)}"]
    return " and ".join(parts + ([f"({expression})"] if expression is not None else []))


def _index_params(*, embedded: bool) -> Any:
    params = _milvus_client.prepare_index_params()
    if embedded:
        params.add_index("dense", index_type="FLAT", metric_type="IP")
    else:
        params.add_index("dense", index_type="HNSW", metric_type="IP", params=_HNSW_BUILD)
    params.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    return params


def records(
    rows: pa.Table, spec: CollectionSpec, dense_type: Any = np.float16
) -> Iterator[dict[str, Any]]:
    """Rows, of `INDEX_COLUMNS` and ids, as Milvus takes them."""
    rows = rows.combine_chunks()
    dense = dense_matrix(rows).astype(dense_type, copy=False)
    offsets, term_ids = ragged(rows, "sparse_ids")
    _, weights = ragged(rows, "sparse_weights")
    names = rows.select([ROW_ID, "tenant", "metadata"]).to_pylist()
    for i, name in enumerate(names):
        terms = slice(int(offsets[i]), int(offsets[i + 1]))
        yield {
            KEY: name[ROW_ID],
            "dense": dense[i],
            "sparse": _sparse(term_ids[terms], weights[terms]) or NO_TERM,
            TENANT: name["tenant"],
            **columns_of(field_values(orjson.loads(name["metadata"]), spec.fields), spec.fields),
        }


def _sparse(term_ids: I32, weights: F32) -> dict[int, float]:
    return dict(zip(term_ids.tolist(), weights.tolist(), strict=True))


def _batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    return (list(items[i : i + size]) for i in range(0, len(items), size))
