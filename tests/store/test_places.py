"""What every place does; a folder, and a bucket at a real S3 API."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import obstore
import pytest

from m3.errors import InvalidConfiguration, LeaseLost, StorageFull, TablesUnreachable
from store.places import bucket as bucket_module
from store.places.bucket import LEASE_SECONDS, BucketPlace, _BucketLease
from store.places.folder import FolderPlace
from store.places.place import Lease, Place
from tests.buckets import s3_server
from tests.pace import Clock, until


class PlaceContract:
    """Subclasses provide the fixture `place`."""

    def test_a_record_is_made_once(self, place: Place):
        assert place.read("docs") is None
        assert place.swap("docs", None, b"first")
        assert not place.swap("docs", None, b"second")
        stored = place.read("docs")
        assert stored is not None
        assert stored.data == b"first"

    def test_a_record_is_replaced_by_who_has_read_it(self, place: Place):
        place.swap("docs", None, b"first")
        read = place.read("docs")
        assert read is not None
        assert place.swap("docs", read.tag, b"second")
        assert not place.swap("docs", read.tag, b"third")
        assert not place.swap("other", read.tag, b"third")
        there = place.read("docs")
        assert there is not None
        assert there.data == b"second"

    def test_of_many_that_replace_a_record_each_is_kept(self, place: Place):
        place.swap("docs", None, b"0")

        def add(_: int) -> None:
            while True:
                there = place.read("docs")
                assert there is not None
                if place.swap("docs", there.tag, str(int(there.data) + 1).encode()):
                    return

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(40)))
        there = place.read("docs")
        assert there is not None
        assert there.data == b"40"

    def test_names_are_those_with_a_record(self, place: Place):
        assert place.names() == []
        for name in ("b", "a", "c"):
            place.swap(name, None, b"{}")
        with place.publishing("without"):
            assert place.names() == ["a", "b", "c"]
        place.remove("b")
        assert place.names() == ["a", "c"]
        assert place.read("b") is None
        place.remove("b")

    def test_one_at_a_time_publishes(self, place: Place):
        inside: list[int] = []
        most: list[int] = []

        def publish(number: int) -> None:
            with place.publishing("docs") as lease:
                inside.append(number)
                most.append(len(inside))
                lease.check()
                time.sleep(0.02)
                inside.remove(number)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(publish, range(12)))
        assert len(most) == 12
        assert max(most) == 1

    def test_one_who_fails_lets_others_publish(self, place: Place):
        with pytest.raises(RuntimeError), place.publishing("docs"):
            raise RuntimeError
        with place.publishing("docs"):
            pass

    def test_collections_are_published_beside_each_other(self, place: Place):
        with place.publishing("one"), place.publishing("two"):
            pass


class TestFolderPlace(PlaceContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return FolderPlace(tmp_path / "tables")

    def test_a_file_of_a_collections_name_is_none(self, place: Place, tmp_path: Path):
        (tmp_path / "tables/docs").write_text("a note")
        assert place.names() == []
        assert place.read("docs") is None
        with pytest.raises(StorageFull, match="docs"):
            place.swap("docs", None, b"{}")

    def test_a_record_that_cannot_be_read_is_told(self, place: Place, tmp_path: Path):
        (tmp_path / "tables/docs/collection.json").mkdir(parents=True)
        with pytest.raises(TablesUnreachable, match=r"cannot read .*docs"):
            place.read("docs")

    @pytest.mark.parametrize("removed", ["docs", "docs/1.lance"])
    def test_what_cannot_be_removed_is_told(
        self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: str
    ):
        place.swap("docs", None, b"{}")
        text = tmp_path / "tables/docs/1.lance/data/text"
        text.parent.mkdir(parents=True)
        text.write_text("private")

        def refuse(path: str, **_: Any) -> None:
            raise PermissionError(13, "Permission denied", path)

        with monkeypatch.context() as patched:
            patched.setattr("os.rmdir", refuse)
            with pytest.raises(TablesUnreachable, match=rf"{removed} is not gone"):
                remove(place, removed)
        remove(place, removed)
        assert not (tmp_path / "tables" / removed).exists()


def remove(place: Place, what: str) -> None:
    name, _, table = what.partition("/")
    if table:
        place.remove_table(name, table)
    else:
        place.remove(name)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server() as client:
        yield client


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    name = f"b{abs(hash(request.node.nodeid))}"
    s3.create_bucket(Bucket=name)
    return name


class TestBucketPlace(PlaceContract):
    @pytest.fixture
    def place(self, bucket: str) -> Place:
        return BucketPlace(f"s3://{bucket}/some/tables/")


def test_a_whole_bucket_is_a_place_as_well(bucket: str):
    place = BucketPlace(f"s3://{bucket}")
    place.swap("docs", None, b"{}")
    assert place.names() == ["docs"]
    assert place.table_uri("docs", "t.lance") == f"s3://{bucket}/docs/t.lance"


def test_removing_leaves_what_is_only_named_alike(s3: Any, bucket: str):
    place = BucketPlace(f"s3://{bucket}/p")
    for key in ("p/docs/1.lance/a", "p/docs/1.lance/b/c", "p/docs/11.lance/a", "p/docs2/x"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    place.remove_table("docs", "1.lance")
    assert keys(s3, bucket) == ["p/docs/11.lance/a", "p/docs2/x"]
    place.remove("docs")
    assert keys(s3, bucket) == ["p/docs2/x"]


def keys(s3: Any, bucket: str) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]]


class LeaseClock(Clock):
    """Who waits for a lease looks again at once, and is counted; how long, the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def sleep(self, seconds: float) -> None:
        self.looks += 1
        time.sleep(0.01)


@pytest.fixture
def lease_clock(monkeypatch: pytest.MonkeyPatch) -> LeaseClock:
    """The clock of leases, whose owners write them anew all the time while it stands still."""
    clock = LeaseClock()
    monkeypatch.setattr(bucket_module, "time", clock)
    monkeypatch.setattr(bucket_module, "_RENEW_SECONDS", 0.05)
    return clock


def looks_again(clock: LeaseClock) -> None:
    """Wait until who waits has seen what is there now."""
    before = clock.looks
    until(lambda: clock.looks >= before + 2)


def test_a_lease_whose_owner_died_is_taken_over(bucket: str, lease_clock: LeaseClock):
    place = BucketPlace(f"s3://{bucket}")
    place.objects.put("docs/publish.json", None, b"of one who is no more")
    taken = threading.Event()

    def take() -> None:
        with place.publishing("docs"):
            taken.set()

    other = threading.Thread(target=take, daemon=True)
    other.start()
    looks_again(lease_clock)
    lease_clock.now += LEASE_SECONDS
    looks_again(lease_clock)
    assert not taken.is_set()
    lease_clock.now += 0.5
    assert taken.wait(60)
    other.join(60)


def test_a_lease_that_is_kept_is_not_taken(bucket: str, lease_clock: LeaseClock):
    place = BucketPlace(f"s3://{bucket}")
    order: list[str] = []

    def second() -> None:
        with place.publishing("docs"):
            order.append("second")

    with place.publishing("docs") as lease:
        other = threading.Thread(target=second, daemon=True)
        other.start()
        for _ in range(5):
            looks_again(lease_clock)
            lease_clock.now += LEASE_SECONDS / 2
            until(lambda: certain(lease) == lease_clock.now)
        lease.check()
        order.append("first")
    other.join(60)
    assert order == ["first", "second"]


def certain(lease: Lease) -> float:
    """When it was last written anew; long ago where that was refused."""
    assert isinstance(lease, _BucketLease)
    return lease.certain


def test_one_who_stood_still_does_not_go_on(
    bucket: str, lease_clock: LeaseClock, monkeypatch: pytest.MonkeyPatch
):
    def unreachable(*_: Any) -> None:
        raise TablesUnreachable("gone")

    place = BucketPlace(f"s3://{bucket}")
    with place.publishing("docs") as lease:
        monkeypatch.setattr(place.objects, "put", unreachable)
        lease_clock.now += LEASE_SECONDS / 2
        lease.check()
        lease_clock.now += LEASE_SECONDS / 2
        with pytest.raises(LeaseLost, match="try again"):
            lease.check()


@pytest.mark.usefixtures("lease_clock")
def test_one_whose_lease_was_taken_does_not_go_on(bucket: str, monkeypatch: pytest.MonkeyPatch):
    place = BucketPlace(f"s3://{bucket}")
    with place.publishing("docs") as lease:
        lease.check()
        monkeypatch.setattr(place.objects, "put", lambda *_: None)
        until(lambda: certain(lease) < 0)
        with pytest.raises(LeaseLost, match="try again"):
            lease.check()


def test_a_write_whose_answer_was_lost_counts(bucket: str, monkeypatch: pytest.MonkeyPatch):
    """obstore sends such a request again, and is refused for what it has written itself."""
    put = obstore.put

    def twice(*args: Any, **options: Any) -> Any:
        put(*args, **options)
        return put(*args, **options)

    monkeypatch.setattr(obstore, "put", twice)
    place = BucketPlace(f"s3://{bucket}")
    assert place.swap("docs", None, b"ours")
    there = place.read("docs")
    assert there is not None
    assert place.swap("docs", there.tag, b"ours again")
    assert not place.swap("docs", None, b"ours again")


def test_buckets_that_cannot_be_used(s3: Any, monkeypatch: pytest.MonkeyPatch):
    del s3
    with pytest.raises(TablesUnreachable, match=r"s3://nowhere-at-all cannot be used"):
        BucketPlace("s3://nowhere-at-all/x").names()
    with pytest.raises(InvalidConfiguration, match="names no bucket"):
        BucketPlace("s3://")
    monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
    with pytest.raises(InvalidConfiguration, match="pip install"):
        BucketPlace("s3://bucket")
