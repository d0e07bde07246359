"""Uploads that mean harm become one line each: no error of the service, no file outside the store, decoders alive."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from facefact.apps.service.api.app import make_app
from facefact.apps.service.api.aside import Aside
from facefact.apps.service.api.service import Service
from hostile import NAMES, SVG, uploads, whole_picture

ASK = {"prompt": "a red coat"}
COUNT = int(os.environ.get("FACEFACT_HOSTILE", "150"))  # 500 in the long run


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that the service is in: nothing may come to be there, whatever an upload is called."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert list(folder.iterdir()) == []
    assert not Path("/tmp/was-here").exists()
    assert {path.name.split(".db")[0] for path in tmp_path.iterdir()} <= {"jobs", "files", "elsewhere"}


def test_nothing_that_is_sent_breaks_anything(
    client: TestClient, service: Service, elsewhere: Path, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers: dict[int, int] = {}
    for number, (what, content) in enumerate(uploads(COUNT)):
        name = NAMES[number % len(NAMES)]
        role, path = (("face", "/v1/portraits"), ("template", "/v1/templates"), ("image", "/v1/images/edits"))[
            number % 3
        ]
        files = [(role, (name, content, "image/png"))]
        more = {"template": [("face", photo)], "image": [("mask", content)]}.get(role, [])
        said = client.post(path, data=ASK, files=files + more)
        answers[said.status_code] = answers.get(said.status_code, 0) + 1
        assert said.status_code in (202, 400, 413, 429), f"{what}: {said.status_code} {said.text}"
        if said.status_code == 202:
            service.jobs.cancel(said.json()["id"])
            continue
        message = said.json()["error"]["message"]
        assert len(message) < 300
        assert "Traceback" not in message
        assert "/" not in message.replace("/docs", "").replace("32/", ""), message
    assert answers[400] > COUNT / 4
    assert answers[202] > 5  # some damage is none
    for job in service.jobs.list(limit=200):
        for key in (key for keys in job.inputs.values() for key in keys):
            assert service.store.get(key).startswith(b"\x89PNG")
    for name in NAMES:
        assert not name or len(name) < 3 or name not in caplog.text
    assert client.post("/v1/portraits", data=ASK, files={"face": photo}).status_code == 202


@pytest.mark.parametrize("kind", ["declared PNG, and SVG", "declared text, and PNG"])
def test_what_is_declared_counts_for_nothing(client: TestClient, kind: str) -> None:
    content, name, media, status = {
        "declared PNG, and SVG": (SVG, "me.png", "image/png", 400),
        "declared text, and PNG": (whole_picture(np.random.default_rng(0), "PNG"), "me.txt", "text/plain", 202),
    }[kind]
    assert client.post("/v1/portraits", data=ASK, files={"face": (name, content, media)}).status_code == status


def test_a_picture_that_takes_too_long_is_given_up_and_the_next_one_is_not(
    client: TestClient, service: Service, photo: bytes, decoders: Aside
) -> None:
    slow = np.random.default_rng(0).integers(0, 256, (1900, 2000, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(slow[:400]).save(out, format="JPEG2000", quality_layers=[2])
    object.__setattr__(service.limits, "decode_seconds", 0.02)
    try:
        said = client.post("/v1/portraits", data=ASK, files={"face": out.getvalue()})
    finally:
        object.__setattr__(service.limits, "decode_seconds", 15.0)
    assert said.status_code == 400
    assert "took more than" in said.json()["error"]["message"]
    assert client.post("/v1/portraits", data=ASK, files={"face": photo}).status_code == 202


def test_credentials_that_are_none_are_left_out(
    make_service: Callable[..., Service], photo: bytes, tmp_path: Path
) -> None:
    """Damaged ones, and a mark that only looks like theirs; the picture is one all the same."""
    pytest.importorskip("c2pa", reason="without the extra c2pa nothing is signed")
    from facefact.generate.certificates import make_credentials
    from facefact.generate.signing import Signer

    make_credentials(tmp_path / "keys", name="Eve")
    eve = Signer.open(tmp_path / "keys/key.pem", tmp_path / "keys/chain.pem")
    whole = eve.sign(photo, "JPEG", {"kind": "text-to-image"})
    at = whole.index(b"jumdc2pa")
    torn = whole[: at + 60] + os.urandom(200) + whole[at + 260 :]
    service, kept = make_service(signs=True), []
    with TestClient(make_app(service)) as client:
        for content in (photo + b"jumdc2pa" + os.urandom(100), torn, whole):
            said = client.post("/v1/portraits", data=ASK, files={"face": content})
            assert said.status_code == 202, said.text
            job = service.jobs.get(said.json()["id"])
            assert job is not None
            assert said.json()["photos"] == 1
            kept.append(len(job.inputs.get("kept", [])))
    assert kept == [0, 0, 1]


def test_a_form_that_is_no_form_is_refused(client: TestClient) -> None:
    bodies = [b"", b"--b", b"--b\r\n\r\n\r\n--b--", b"\r\n" * 1000, b"--b\r\n" * 3000, os.urandom(2000)]
    part = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n'
    bodies += [part * 300 + b"--b--", part + b"--b--", part.replace(b"prompt", b"\xff\xfe") + b"--b--"]
    for body in bodies:
        for kind in (
            "multipart/form-data; boundary=b",
            "multipart/form-data",
            "multipart/form-data; boundary=" + "b" * 500,
        ):
            said = client.post("/v1/portraits", content=body, headers={"Content-Type": kind})
            assert said.status_code in (400, 413), (body[:40], said.text)
            assert set(said.json()) == {"error"}


def test_a_template_keeps_its_pixels_and_its_transparency(client: TestClient, service: Service, photo: bytes) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (60, 90, 4), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    said = client.post("/v1/templates", data=ASK, files={"template": out.getvalue(), "face": photo})
    job = service.jobs.get(said.json()["id"])
    assert job is not None
    with Image.open(io.BytesIO(service.store.get(job.inputs["template"][0]))) as image:
        kept = np.asarray(image)
    assert kept.shape == pixels.shape
    assert (kept[..., 3] == pixels[..., 3]).all()
