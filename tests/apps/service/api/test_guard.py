"""Who may call, from where, and how much comes in."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from facefact.apps.service.api.app import make_app
from facefact.apps.service.api.guard import LOOPBACK, Body
from facefact.apps.service.api.keys import Keys, new_key
from facefact.apps.service.api.problems import ApiError
from facefact.apps.service.api.service import Limits, Service

ASK = {"prompt": "a red coat"}
Make = Callable[..., Service]


def caller(service: Service, **more: Any) -> TestClient:
    return TestClient(make_app(service), raise_server_exceptions=False, **more)


@pytest.fixture
def keyed(make_service: Make, tmp_path: Path) -> tuple[TestClient, dict[str, str]]:
    """A service that asks for keys, and the keys of two people."""
    path = tmp_path / "keys.json"
    keys = {name: new_key(path, name) for name in ("ada", "bob")}
    return caller(make_service(keys=Keys(path))), keys


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_without_a_key_only_health_and_the_description_answer(keyed: tuple[TestClient, dict[str, str]]) -> None:
    client, _ = keyed
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200
    for path in ("/", "/metrics", "/v1/models", "/v1/portraits", "/nothing"):
        assert client.get(path).status_code == 401
    for wrong in (bearer("ff_wrong"), bearer(""), {"X-API-Key": "x" * 5000}, {"Authorization": "Basic !"}):
        answer = client.get("/v1/models", headers=wrong)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert client.get("/healthz", headers=bearer("ff_wrong")).status_code == 401


def test_a_key_may_be_sent_in_three_ways(keyed: tuple[TestClient, dict[str, str]]) -> None:
    client, keys = keyed
    basic = base64.b64encode(f"me:{keys['ada']}".encode()).decode()
    for headers in (bearer(keys["ada"]), {"X-API-Key": keys["ada"]}, {"Authorization": f"Basic {basic}"}):
        assert client.get("/v1/models", headers=headers).status_code == 200


def test_owners_see_their_own_jobs_only(keyed: tuple[TestClient, dict[str, str]], photo: bytes) -> None:
    client, keys = keyed
    ada, bob = bearer(keys["ada"]), bearer(keys["bob"])
    made = client.post("/v1/portraits", data=ASK, files={"face": photo}, headers=ada | {"Idempotency-Key": "1"})
    at = made.json()["links"]["self"]
    for path in (at, f"{at}/events", f"{at}/images/0.png"):
        assert client.get(path, headers=bob).status_code == 404
    assert client.delete(at, headers=bob).status_code == 404
    assert client.get("/v1/portraits", headers=bob).json()["data"] == []
    own = client.post("/v1/portraits", data=ASK, files={"face": photo}, headers=bob | {"Idempotency-Key": "1"})
    assert own.status_code == 202  # an idempotency key is its owner's
    assert own.json()["id"] != made.json()["id"]
    assert client.get(at, headers=ada).json()["state"] == "queued"


def test_keys_come_and_go_while_it_runs(
    keyed: tuple[TestClient, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, keys = keyed
    monkeypatch.setattr("facefact.apps.service.api.keys.LOOK_AGAIN", 0.0)
    later = new_key(tmp_path / "keys.json", "eve")
    assert client.get("/v1/models", headers=bearer(later)).status_code == 200
    (tmp_path / "keys.json").write_text('{"keys": []}')
    assert client.get("/v1/models", headers=bearer(keys["ada"])).status_code == 401


def test_strangers_get_no_list(make_service: Make, photo: bytes) -> None:
    client = caller(make_service(shared=True))
    made = client.post("/v1/portraits", data=ASK, files={"face": photo})
    assert client.get(made.json()["links"]["self"]).status_code == 200
    assert client.get("/v1/portraits").status_code == 403


def test_pages_of_other_addresses_may_not_call(make_service: Make, photo: bytes) -> None:
    """Neither by this machine's address nor by a name that they let point here."""
    client = caller(make_service(hosts=LOOPBACK), base_url="http://127.0.0.1:8188")

    def post(**headers: str) -> int:
        return client.post("/v1/portraits", data=ASK, files={"face": photo}, headers=headers).status_code

    assert post() == 202
    assert post(Origin="http://127.0.0.1:8188") == 202
    for origin in ("https://evil.example", "http://127.0.0.1:9999", "null", "http://[", ""):
        assert post(Origin=origin) == 403
    assert client.get("/v1/portraits", headers={"Host": "rebound.example:8188"}).status_code == 403
    assert client.get("/v1/portraits", headers={"Host": "localhost:8188"}).status_code == 200
    answer = client.options("/v1/portraits", headers={"Origin": "https://x", "Access-Control-Request-Method": "POST"})
    assert "access-control-allow-origin" not in answer.headers


def test_an_origin_that_is_allowed_may(make_service: Make, photo: bytes) -> None:
    client = caller(make_service(origins=["https://studio.example"]))
    headers = {"Origin": "https://studio.example"}
    made = client.post("/v1/portraits", data=ASK, files={"face": photo}, headers=headers)
    assert made.status_code == 202
    assert made.headers["access-control-allow-origin"] == "https://studio.example"
    other = client.get("/v1/portraits", headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


def test_a_body_that_is_too_large_is_refused_before_it_is_read(make_service: Make) -> None:
    client = caller(make_service(limits=Limits(body_bytes=100_000)))
    said = client.post("/v1/portraits", data=ASK, files={"face": b"x" * 200_000})
    assert said.status_code == 413

    def pieces() -> Any:
        for _ in range(50):
            yield b"x" * 10_000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert client.post("/v1/portraits", content=pieces(), headers=headers).status_code == 413
    assert (
        client.post(
            "/v1/images/generations", content=pieces(), headers={"Content-Type": "application/json"}
        ).status_code
        == 413
    )
    assert client.get("/v1/models", headers={"Content-Length": "many"}).status_code == 400


def test_a_body_that_never_ends_is_given_up() -> None:
    async def never() -> Any:
        await asyncio.sleep(60)

    with pytest.raises(ApiError) as error:
        asyncio.run(Body(never, 100, 0.05)())
    assert error.value.status == 408


def test_answers_carry_what_keeps_browsers_from_guessing(keyed: tuple[TestClient, dict[str, str]]) -> None:
    client, _ = keyed
    for path in ("/healthz", "/v1/models", "/docs"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in client.get("/docs").headers["content-security-policy"]
