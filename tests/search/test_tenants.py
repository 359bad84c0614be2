"""No route shows, counts or changes anything of a tenant but the caller's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from m3.types import DocumentKey
from store.memory import MemoryStore
from tests.search.library import COLLECTION
from tests.search.tenants import HAS, OWN, TENANTS, api_of, client_of, shared_store
from tests.serving.keys import bearing

pytestmark = pytest.mark.anyio

STATUS = f"/v1/collections/{COLLECTION}"
DOCUMENTS = f"{STATUS}/documents"


@pytest.fixture
def store() -> MemoryStore:
    return shared_store()


@pytest.fixture
async def api(tmp_path: Path, store: MemoryStore) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(api_of(tmp_path, store)) as client:
        yield client


async def texts(api: httpx.AsyncClient, headers: dict[str, str], **fields: Any) -> set[str]:
    body = {"query": "q", "collection": COLLECTION, "top_k": 50, **fields}
    answer = await api.post("/v1/search", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return {hit["text"] for hit in answer.json()["hits"]}


def of(tenant: str) -> set[str]:
    return {f"{tenant} has text {number}" for number in range(HAS[tenant])}


@pytest.mark.parametrize("tenant", TENANTS)
@pytest.mark.parametrize(
    "filter",
    [
        None,
        {"field": "shelf", "op": "gte", "value": 0},
        {"not": {"field": "shelf", "op": "eq", "value": 99}},
        {"or": [{"field": "shelf", "op": "exists"}, {"not": {"field": "shelf", "op": "exists"}}]},
    ],
)
async def test_a_search_finds_the_tenants_own_alone(api, tenant, filter):
    for method in ("fusion", "sparse", "dense"):
        found = await texts(api, bearing(tenant), filter=filter, method=method, explain=True)
        assert found == of(tenant)


@pytest.mark.parametrize("named", ["tenant", "tenants", "X-Tenant"])
async def test_a_body_names_no_tenant(api, named):
    body = {"query": "q", "collection": COLLECTION, named: "beta"}
    for key in ("acme", "operator"):
        answer = await api.post("/v1/search", json=body, headers=bearing(key))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    document = {"text": "words", "tenant": "beta"}
    answer = await api.put(f"{DOCUMENTS}/x", json=document, headers=bearing("acme"))
    assert answer.status_code == 400


async def test_metadata_that_speaks_of_tenants_means_nothing(api):
    body = {"text": "mine", "metadata": {"tenant": "beta", "shelf": 1}}
    await api.put(f"{DOCUMENTS}/x", json=body, headers=bearing("acme"))
    assert "mine" in await texts(api, bearing("acme"))
    assert "mine" not in await texts(api, bearing("beta"))


async def test_an_administrator_of_all_tenants_names_one(api):
    for tenant in TENANTS:
        assert await texts(api, bearing("operator", **{"X-Tenant": tenant})) == of(tenant)
    assert await texts(api, bearing("operator")) == of("default")
    assert await texts(api, bearing("operator", **{"X-Tenant": "nobody"})) == set()


@pytest.mark.parametrize(
    ("key", "named", "status"),
    [
        ("acme", "acme", 200),
        ("acme", "beta", 403),
        ("acme", "*", 400),
        ("acme", "", 400),
        ("default", "acme", 403),
        ("operator", "*", 400),
        ("operator", "", 400),
        ("operator", "%FF", 400),
        ("operator", "x" * 513, 400),
        ("operator", "acm%C3%A9", 200),
    ],
)
async def test_others_name_none(api, key, named, status):
    headers = bearing(key, **{"X-Tenant": named})
    for path in (STATUS, "/v1/collections"):
        assert (await api.get(path, headers=headers)).status_code == status


@pytest.mark.parametrize("tenant", TENANTS)
async def test_counts_are_the_tenants_own(api, tenant):
    told = (await api.get(STATUS, headers=bearing(tenant))).json()
    assert (told["documents"], told["chunks"]) == (HAS[tenant], HAS[tenant])
    assert (told["bytes"], told["version"], told["unpublished"]) == (None, None, None)


async def test_nothing_a_tenant_is_told_changes_with_what_others_write(api):
    async def told() -> list[Any]:
        headers = bearing("acme")
        body = {"query": "q", "collection": COLLECTION}
        found = await api.post("/v1/search", json=body, headers=headers)
        paths = (STATUS, "/v1/collections", f"{DOCUMENTS}/d0")
        return [found.json()["hits"], *[(await api.get(p, headers=headers)).json() for p in paths]]

    before = await told()
    for number in range(4):
        body = {"text": f"new words {number}", "metadata": {"shelf": 1}}
        await api.put(f"{DOCUMENTS}/d{number}", json=body, headers=bearing("beta"))
    await api.delete(f"{DOCUMENTS}/d1", headers=bearing("default"))
    assert await told() == before


async def test_who_may_know_all_is_told_all(tmp_path, api, store):
    whole = (await api.get(STATUS, headers=bearing("operator"))).json()
    assert whole["documents"] == sum(HAS.values())
    assert whole["bytes"] > 0
    one = await api.get(STATUS, headers=bearing("operator", **{"X-Tenant": "acme"}))
    assert (one.json()["documents"], one.json()["bytes"]) == (HAS["acme"], None)


@pytest.mark.parametrize("tenant", TENANTS)
async def test_a_document_is_the_tenants_own_under_the_same_id(api, store, tenant):
    path, headers = f"{DOCUMENTS}/d0", bearing(tenant)
    assert (await api.get(path, headers=headers)).json()["chunks"][0]["text"] == (
        f"{tenant} has text 0"
    )
    written = await api.put(path, json={"text": "changed"}, headers=headers)
    assert written.json()["outcome"] == "replaced"
    assert (await api.delete(path, headers=headers)).status_code == 204
    assert (await api.get(path, headers=headers)).status_code == 404
    collection = store.open(COLLECTION)
    for other in TENANTS:
        kept = collection.document(DocumentKey(other, "default", "d0"))
        assert (kept is None) is (other == tenant)


async def test_what_only_others_have_is_not_there(api):
    last = f"{DOCUMENTS}/d{HAS['beta'] - 1}"
    for method in ("GET", "DELETE"):
        theirs = await api.request(method, last, headers=bearing("acme"))
        never = await api.request(method, f"{DOCUMENTS}/never", headers=bearing("acme"))
        assert theirs.status_code == never.status_code == 404
        assert theirs.json()["detail"].replace(last[-2:], "never") == never.json()["detail"]
    written = await api.put(last, json={"text": "mine"}, headers=bearing("acme"))
    assert (written.status_code, written.json()["outcome"]) == (201, "created")


async def test_a_page_goes_on_for_its_own_tenant_alone(api):
    body = {"query": "q", "collection": COLLECTION, "top_k": 2}
    page = (await api.post("/v1/search", json=body, headers=bearing("acme"))).json()["page"]
    going_on = {**body, "page": page}
    ours = await api.post("/v1/search", json=going_on, headers=bearing("acme"))
    assert {hit["text"] for hit in ours.json()["hits"]} < of("acme")
    for other in (bearing("beta"), bearing("operator", **{"X-Tenant": "beta"})):
        theirs = await api.post("/v1/search", json=going_on, headers=other)
        assert (theirs.status_code, theirs.json()["code"]) == (400, "invalid_input")


async def test_what_is_similar_is_the_tenants_own_and_to_its_own(api):
    async def similar(number: int, tenant: str) -> httpx.Response:
        body = {"collection": COLLECTION, "document_id": f"d{number}", "top_k": 50}
        return await api.post("/v1/similar", json=body, headers=bearing(tenant))

    for tenant in TENANTS:
        found = {hit["text"] for hit in (await similar(0, tenant)).json()["hits"]}
        assert found == of(tenant) - {f"{tenant} has text 0"}
    theirs, never = await similar(HAS["beta"] - 1, "acme"), await similar(9, "acme")
    assert theirs.status_code == never.status_code == 404
    assert theirs.json()["detail"].replace("d4", "d9") == never.json()["detail"]


async def test_a_batch_finds_the_tenants_own_alone(api):
    searches = [
        {"query": "q", "collection": COLLECTION, "top_k": 50},
        {"query": "q", "collection": OWN},
        {"query": "q", "collection": COLLECTION, "tenant": "beta"},
    ]
    answer = await api.post(
        "/v1/search/batch", json={"searches": searches}, headers=bearing("acme")
    )
    found, theirs, named = answer.json()["results"]
    assert {hit["text"] for hit in found["hits"]} == of("acme")
    assert (theirs["status"], named["status"]) == (404, 400)


OTHERS_OWN = [
    ("GET", "/v1/collections/{}", None),
    ("GET", "/v1/collections/{}/documents/d0", None),
    ("PUT", "/v1/collections/{}/documents/d0", {"text": "words"}),
    ("DELETE", "/v1/collections/{}/documents/d0", None),
    ("POST", "/v1/search", {"query": "q", "collection": "{}"}),
    ("POST", "/v1/similar", {"document_id": "d0", "collection": "{}"}),
]


@pytest.mark.parametrize(("method", "path", "body"), OTHERS_OWN)
async def test_a_collection_of_anothers_own_is_not_there(api, method, path, body):
    async def ask(name: str, key: str) -> httpx.Response:
        named = {**body, "collection": name} if body and "collection" in body else body
        return await api.request(method, path.format(name), json=named, headers=bearing(key))

    theirs, never = await ask(OWN, "acme"), await ask("beta-was", "acme")
    assert theirs.status_code == never.status_code == 404
    assert theirs.json()["detail"].replace(OWN, "beta-was") == never.json()["detail"]
    assert theirs.json()["detail"].endswith("there are: library")
    assert (await ask(OWN, "beta")).is_success


async def test_a_list_leaves_out_what_is_anothers_own(api):
    for key, seen in [("acme", {COLLECTION}), ("beta", {COLLECTION, OWN})]:
        answer = (await api.get("/v1/collections", headers=bearing(key))).json()
        assert {each["name"] for each in answer["collections"]} == seen
    whole = (await api.get("/v1/collections", headers=bearing("operator"))).json()
    assert {each["name"] for each in whole["collections"]} == {COLLECTION, OWN}


async def test_an_administrator_makes_a_collection_a_tenants_own(api):
    headers = bearing("operator", **{"X-Tenant": "acme"})
    body = {"name": "acme-own", "tenancy": "own"}
    made = await api.post("/v1/collections", json=body, headers=headers)
    assert (made.status_code, made.json()["collection"]["tenancy"]) == (201, "own")
    for key, status in [("acme", 200), ("beta", 404), ("operator", 200)]:
        answer = await api.get("/v1/collections/acme-own", headers=bearing(key))
        assert answer.status_code == status


async def test_an_owner_is_told_all_of_its_own(api):
    told = (await api.get(f"/v1/collections/{OWN}", headers=bearing("beta"))).json()
    assert told["documents"] == 1
    assert told["bytes"] > 0


async def test_an_administrator_of_one_tenant_drops_none_of_anothers_own(api):
    answer = await api.delete(f"/v1/collections/{OWN}", headers=bearing("admin"))
    assert answer.status_code == 404
    answer = await api.delete(f"/v1/collections/{OWN}", headers=bearing("operator"))
    assert answer.status_code == 204


async def test_without_keys_there_is_one_tenant(tmp_path, store):
    app = api_of(tmp_path, store, keys=False)
    async with client_of(app) as api:
        assert await texts(api, {}) == of("default")
        assert await texts(api, {"X-Tenant": "default"}) == of("default")
        refused = await api.get(STATUS, headers={"X-Tenant": "acme"})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (await api.get(STATUS)).json()["bytes"] > 0
