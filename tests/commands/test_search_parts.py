"""What the search commands set up before the first search."""

from __future__ import annotations

from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from commands.search.parts import open_service
from m3.settings import load_settings


@pytest.mark.anyio
async def test_searches_side_by_side_do_not_share_blas_threads(tmp_path: Path) -> None:
    with threadpool_limits(2, user_api="blas"):
        async with open_service(load_settings(home=tmp_path)):
            pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
            assert pools
            assert {pool["num_threads"] for pool in pools} == {1}
