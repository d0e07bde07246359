"""Styles by name, likeness and licences: what the process that looks at photos answers, through the API."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from facefact.apps.service.api.service import Service
from facefact.world import look, person, render


def encoded(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


def somebody(number: int, view: int) -> bytes:
    return encoded(render(person(number), look(view), size=192).image)


def asked(client: TestClient, photo: bytes, **fields: str) -> Any:
    return client.post("/v1/portraits", data={"prompt": "smiling"} | fields, files={"face": photo})


def test_a_styles_words_are_in_the_jobs_settings(client: TestClient, service: Service, photo: bytes) -> None:
    style = service.photos.ask("styles", {}, [], seconds=120)[0]["data"][0]
    job = service.jobs.get(asked(client, photo, style=style["name"], exact_prompt="true").json()["id"])
    assert job is not None
    assert job.settings["prompt"].startswith("smiling, ")
    assert job.settings["prompt"].removeprefix("smiling, ").split(", ")[-1] in style["prompt"]
    assert job.settings["exact_prompt"] is True
    assert job.settings["style"]["name"] == style["name"]
    assert len(job.settings["style"]["sha256"]) == 64


@pytest.mark.parametrize("name", ["nothing-of-the-kind", "../../etc/passwd", "a.yaml", "", "A" * 70, "/tmp/x.yaml"])
def test_a_style_that_is_none_is_refused(client: TestClient, service: Service, photo: bytes, name: str) -> None:
    answer = asked(client, photo, style=name)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "style"
    assert service.jobs.list() == []


def test_the_same_person_is_more_alike_than_another(client: TestClient) -> None:
    same, other, nobody = somebody(1, 5), somebody(2, 5), encoded(np.full((64, 64, 3), 128, np.uint8))
    files = [("face", somebody(1, 1)), *(("picture", one) for one in (same, other, nobody))]
    answer = client.post("/v1/likeness", files=files)
    assert answer.status_code == 200, answer.text
    first, second, third = (one["similarity"] for one in answer.json()["data"])
    assert first > second + 0.1
    assert third is None


@pytest.mark.parametrize(
    "hostile", [b"no picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\x89PNG\r\n\x1a\n" + b"\0" * 64]
)
def test_likeness_to_what_is_no_picture_is_refused(client: TestClient, photo: bytes, hostile: bytes) -> None:
    for face, picture in ((photo, hostile), (hostile, photo)):
        assert client.post("/v1/likeness", files={"face": face, "picture": picture}).status_code == 400
    assert client.post("/v1/likeness", files={"face": photo}).json()["error"]["param"] == "picture"
    assert client.post("/v1/likeness", files={"picture": photo}).json()["error"]["param"] == "face"
