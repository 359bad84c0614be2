"""Settings that contradict each other are refused with both names."""

from __future__ import annotations

import pytest

from m3.errors import InvalidConfiguration
from m3.settings import load_settings


def test_a_batch_that_the_queue_could_never_hold():
    with pytest.raises(InvalidConfiguration) as refused:
        load_settings(max_batch_tokens=16_384, max_queue_tokens=8192)
    assert refused.value.message == (
        "M3_MAX_BATCH_TOKENS (16384) is more than M3_MAX_QUEUE_TOKENS (8192): "
        "a batch comes out of the queue"
    )


def test_log_and_audit_in_one_file(tmp_path):
    with pytest.raises(InvalidConfiguration, match="M3_LOG_FILE and M3_AUDIT_FILE are one file"):
        load_settings(log_file=tmp_path / "one", audit_file=tmp_path / "one")
