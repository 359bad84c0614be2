"""What the search commands set up before the first search."""

from __future__ import annotations

from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from commands.search.parts import for_many_queries, open_service
from m3.settings import load_settings


@pytest.mark.anyio
async def test_searches_side_by_side_do_not_share_blas_threads(tmp_path: Path) -> None:
    with threadpool_limits(2, user_api="blas"):
        async with open_service(load_settings(home=tmp_path)):
            pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
            assert pools
            assert {pool["num_threads"] for pool in pools} == {1}


def test_many_queries_get_room_for_rows_unless_the_settings_say_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = load_settings(home=tmp_path)
    assert for_many_queries(usual).row_cache_bytes == 2**30
    monkeypatch.setenv("M3_ROW_CACHE_BYTES", "4096")
    assert for_many_queries(load_settings(home=tmp_path)).row_cache_bytes == 4096
