"""How many nodes, how much disk and memory, and what it costs: arithmetic over measured speeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from admin.benches import Speed
from admin.table import Table
from ingest.sizing import Load, chunk_parts, size
from m3.errors import InvalidInput
from m3.settings import Settings
from m3.types import Codec
from store.opening import open_store

_HOURS_A_MONTH = 730
_SECONDS_A_DAY = 86_400
QUERY_MIX = "queries, one a call"
PASSAGE_MIX = "120 tokens, 8 a call"
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Demand:
    """What has to be embedded, at the busiest time.

    Attributes:
        queries: a second. chunks_a_day: that are new or changed.
        cores: of one node.
        share: of a node's peak that is planned with: what it answers in time under overload.

    Raises:
        InvalidInput: a number that is not above zero, or a share above 1.
    """

    queries: float
    query_tokens: int
    chunks_a_day: float
    chunk_tokens: int
    cores: int
    share: float

    def __post_init__(self) -> None:
        for name in ("queries", "query_tokens", "chunks_a_day", "chunk_tokens", "cores", "share"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidInput(f"{name} must be a number above 0")
        if self.share > 1:
            raise InvalidInput("share must be at most 1")


def work(demand: Demand, speeds: Sequence[Speed], engine: str) -> float:
    """Cores that are busy with it: queries and passages, each by its own measured rate."""
    rate = {speed.mix: speed.rate for speed in speeds if speed.engine == engine}
    passages = demand.chunks_a_day * demand.chunk_tokens / _SECONDS_A_DAY
    return demand.queries * demand.query_tokens / rate[QUERY_MIX] + passages / rate[PASSAGE_MIX]


def nodes(demand: Demand, speeds: Sequence[Speed], engine: str) -> int:
    """Nodes that do the work with `share` of their peak; one at least."""
    return max(1, math.ceil(work(demand, speeds, engine) / (demand.cores * demand.share)))


def plan(demand: Demand, speeds: Sequence[Speed], price: float) -> Table:
    """Nodes and their price by engine.

    Args:
        price: of one node for an hour, in whatever money.
    """
    engines = list(dict.fromkeys(speed.engine for speed in speeds))
    return Table(
        ("arithmetic", "busy cores", "nodes", "price a month"),
        [
            (
                engine,
                round(work(demand, speeds, engine), 2),
                nodes(demand, speeds, engine),
                round(nodes(demand, speeds, engine) * price * _HOURS_A_MONTH),
            )
            for engine in engines
        ],
        f"nodes of {demand.cores} cores, planned with {demand.share:.0%} of their peak",
    )


def storage(load: Load) -> Table:
    """Disk and memory of so many chunks, by codec."""
    rows: list[Sequence[object]] = []
    for codec in Codec:
        needed = size(replace(load, codec=codec))
        rows.append(
            (
                codec.value,
                needed.chunk_bytes,
                round(needed.table_bytes / _GB, 2),
                round(needed.flat_bytes / _GB, 2),
                round(needed.hnsw_bytes / _GB, 2),
            )
        )
    columns = ("codec", "bytes a chunk", "table, GB", "Milvus FLAT, GB", "Milvus HNSW, GB")
    return Table(columns, rows, f"{load.chunks:,} chunks of {load.tokens} tokens")


def parts(load: Load) -> dict[str, dict[str, int]]:
    """Bytes of a chunk by codec and by what they are for."""
    return {codec.value: dict(chunk_parts(replace(load, codec=codec))) for codec in Codec}


def measured(settings: Settings, tokens: float) -> Table:
    """Bytes a chunk of the collections that are here, beside what is calculated for them.

    Args:
        tokens: of a chunk, on average; all else is the collection's own.
    """
    store = open_store(settings)
    try:
        found = [store.open(name).status() for name in store.names()]
    finally:
        store.close()
    rows: list[Sequence[object]] = []
    for each in found:
        if each.chunks:
            load = Load(
                each.chunks,
                round(tokens),
                each.spec.codec,
                each.spec.dimension,
                pooling=each.spec.pooling,
            )
            calculated = size(load).chunk_bytes
            rows.append((each.name, each.chunks, each.bytes // each.chunks, calculated))
    columns = ("collection", "chunks", "bytes a chunk", f"calculated, {tokens:.0f} tokens")
    return Table(columns, rows, "small collections carry more overhead a chunk")
