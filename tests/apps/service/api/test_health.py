"""Whether it can work, its figures, and the pages that load nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from facefact.apps.service.api.app import make_app
from facefact.apps.service.api.service import Service

ASK = {"prompt": "somebody-secret in a red coat"}


def test_ready_means_database_and_workers(make_service: Callable[..., Service]) -> None:
    for workers, status in ((None, 200), (lambda: 2, 200), (lambda: 0, 503)):
        client = TestClient(make_app(make_service(workers=workers)))
        assert client.get("/readyz").status_code == status
    assert client.get("/readyz").json() == {"ready": False, "database": True, "workers": 0}
    assert client.get("/healthz").json() == {"status": "ok"}


def figure(text: str, line: str) -> float:
    found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
    assert found, f"{line} is not in\n{text}"
    return float(found[1])


def test_figures_count_and_name_nobody(client: TestClient, service: Service, photo: bytes) -> None:
    client.get("/metrics")
    ids = [
        client.post("/v1/portraits", data=ASK, files={"face": ("somebody-secret.jpg", photo)}).json()["id"]
        for _ in range(3)
    ]
    service.jobs.claim("a worker")
    service.jobs.finish(ids[0], "a worker", results=[f"{ids[0]}/0.png"])
    client.get(f"/v1/portraits/{ids[1]}")
    client.get("/v1/somebody-secret")
    text = client.get("/metrics").text
    assert figure(text, "facefact_queue_length") == 2
    assert figure(text, 'facefact_jobs{state="done"}') == 1
    assert figure(text, "facefact_pictures_total") == 1
    assert figure(text, 'facefact_stage_seconds_count{stage="upload"}') == 3
    assert figure(text, 'facefact_stage_seconds_count{stage="painting"}') == 1
    route = 'facefact_request_seconds_count{method="GET",route="/v1/portraits/{id}",status="200"}'
    assert figure(text, route) == 1
    assert figure(text, "process_resident_memory_bytes") > 0
    assert figure(text, "facefact_children_memory_bytes") > 0
    assert "secret" not in text
    assert not any(id in text for id in ids)
    again = client.get("/metrics").text
    assert figure(again, "facefact_pictures_total") == 1  # a look does not count twice


@pytest.mark.parametrize("path", ["/docs", "/"])
def test_pages_load_nothing_from_anywhere(client: TestClient, path: str) -> None:
    text = client.get(path).text
    assert not re.search(r"<script|<link|<iframe|@import|url\(|src=\"(?!data:)", text)
    assert not re.search(r"href=\"(?:https?:)?//", text)


def test_the_description_names_every_route(client: TestClient) -> None:
    said = client.get("/openapi.json").json()
    page = client.get("/docs").text
    for path in ("/v1/portraits", "/v1/templates/{id}", "/v1/groups/{id}/events", "/v1/faces", "/v1/cards", "/metrics"):
        assert path in said["paths"]
        assert path in page
    body = said["paths"]["/v1/portraits"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(body["required"]) == {"prompt", "face"}
    assert body["properties"]["face"]["items"]["format"] == "binary"
