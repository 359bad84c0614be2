import pytest

from store.memory import MemoryStore
from tests.store.contract import StoreContract
from tests.store.tenancy_contract import TenancyContract


class TestMemoryStore(StoreContract, TenancyContract):
    @pytest.fixture
    def store(self):
        return MemoryStore()
