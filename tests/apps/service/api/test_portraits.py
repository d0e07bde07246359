"""Jobs by HTTP: made, looked at, listed, cancelled, forgotten; what does not fit is refused by name."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from facefact.apps.service.api.service import Service

ASK = {"prompt": "a red coat", "n": "2", "seed": "7", "steps": "5", "scale": "0.5"}


def post(client: TestClient, photo: bytes, path: str = "/v1/portraits", data: Any = None, **more: Any) -> Any:
    return client.post(path, data=ASK if data is None else data, files=[("face", ("me.jpg", photo))], **more)


def error_of(response: Any) -> dict[str, Any]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_a_job_is_written_down_with_what_was_asked_and_no_more(
    client: TestClient, service: Service, photo: bytes
) -> None:
    response = post(client, photo)
    said = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == said["links"]["self"] == f"/v1/portraits/{said['id']}"
    assert (said["state"], said["position"], said["count"], said["photos"]) == ("queued", 0, 2, 1)
    job = service.jobs.get(said["id"])
    assert job is not None
    assert job.settings == {"prompt": "a red coat", "seed": 7, "steps": 5, "scale": 0.5, "format": "png"}
    assert job.inputs == {"face": [f"{job.id}/input/face-0.png"]}


def test_only_pixels_are_kept_of_a_photo(client: TestClient, service: Service, photo: bytes) -> None:
    """Upright, without EXIF (where it was taken), profile, and what lies behind its end."""
    with Image.open(io.BytesIO(photo)) as image:
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "a camera of somebody"
        out = io.BytesIO()
        image.save(out, format="JPEG", quality=95, exif=exif, comment="a secret")
        upright = image.transpose(Image.Transpose.ROTATE_270)
    said = post(client, out.getvalue() + b"PK\x03\x04 a secret behind the end").json()
    job = service.jobs.get(said["id"])
    assert job is not None
    kept = service.store.get(job.inputs["face"][0])
    assert b"secret" not in kept
    assert b"camera" not in kept
    with Image.open(io.BytesIO(kept)) as image:
        assert image.info == {}
        difference = np.abs(np.asarray(image).astype(int) - np.asarray(upright).astype(int))
    assert difference.mean() < 3


def test_the_same_key_gives_the_same_job_and_another_wish_with_it_is_refused(
    client: TestClient, service: Service, photo: bytes, tmp_path: Path
) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again = (post(client, photo, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    other = post(client, photo, data=ASK | {"seed": "8"}, headers=headers)
    assert other.status_code == 409
    assert error_of(other)["code"] == "key_taken"
    assert [path.name for path in (tmp_path / "files").iterdir()] == [first.json()["id"]]
    assert len(service.jobs.list()) == 1


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("prompt", "", 400),
        ("prompt", "a" * 4001, 400),
        ("prompt", "a\x00b", 400),
        ("steps", "0", 400),
        ("steps", "101", 400),
        ("steps", "many", 400),
        ("n", "11", 400),
        ("scale", "nan", 400),
        ("scale", "-1", 400),
        ("seed", str(2**60), 400),
        ("width", "100", 400),
        ("width", "512", 400),
        ("start", "0.9", 202),
        ("format", "tiff", 400),
        ("which", "1", 202),
        ("strength", "0.5", 400),
        ("face", "/etc/passwd", 400),
        ("face", "http://127.0.0.1/me.jpg", 400),
    ],
)
def test_every_field_has_bounds(client: TestClient, photo: bytes, field: str, value: str, status: int) -> None:
    response = post(client, photo, data=ASK | {field: value})
    assert response.status_code == status, response.text
    if status == 400:
        assert error_of(response)["param"] == field
        assert value not in error_of(response)["message"] or len(value) < 6


def test_what_is_missing_twice_or_unknown_is_said(client: TestClient, photo: bytes) -> None:
    assert error_of(client.post("/v1/portraits", data=ASK, files={"other": photo}))["code"] == "unknown_parameter"
    assert error_of(client.post("/v1/portraits", files={"face": photo}))["param"] == "prompt"
    missing = client.post("/v1/portraits", data=ASK, files={"prompt": photo})
    assert "not a file" in error_of(missing)["message"]
    nine = client.post("/v1/portraits", data=ASK, files=[("face", photo)] * 9)
    assert nine.status_code == 400
    assert client.post("/v1/portraits", json=ASK).status_code == 415
    twice = client.post("/v1/portraits", data={"prompt": ["a", "b"]}, files={"face": photo})
    assert "twice" in error_of(twice)["message"]
    late = post(client, photo, data=ASK | {"start": "0.9", "end": "0.1"})
    assert error_of(late)["param"] == "start"


def test_a_full_queue_says_when_to_come_again(client: TestClient, service: Service, photo: bytes) -> None:
    answers = [post(client, photo) for _ in range(service.limits.queue + 2)]
    assert [one.status_code for one in answers[:-2]] == [202] * service.limits.queue
    for full in answers[-2:]:
        assert full.status_code == 429
        assert int(full.headers["retry-after"]) >= 1
        assert error_of(full)["type"] == "rate_limit_error"
    assert len(list(service.jobs.list(limit=200))) == service.limits.queue


def finish(service: Service, id: str, pictures: list[bytes]) -> None:
    """What a worker does."""
    job = next(one for one in service.jobs.claim("a worker") if one.id == id)
    keys = [f"{id}/{k}.png" for k in range(len(pictures))]
    for key, picture in zip(keys, pictures, strict=True):
        service.store.put(key, picture)
    assert service.jobs.finish(job.id, "a worker", results=keys, warnings=["a warning"])


def test_pictures_are_given_out_as_they_lie_and_go_with_the_job(
    client: TestClient, service: Service, photo: bytes, tmp_path: Path
) -> None:
    id = post(client, photo).json()["id"]
    at = f"/v1/portraits/{id}"
    assert client.get(f"{at}/images/0.png").status_code == 404
    finish(service, id, [b"first", b"second"])
    said = client.get(at).json()
    assert (said["state"], said["progress"], said["warnings"], said["position"]) == ("done", 1.0, ["a warning"], None)
    assert said["links"]["images"] == [f"{at}/images/0.png", f"{at}/images/1.png"]
    picture = client.get(said["links"]["images"][1])
    assert (picture.content, picture.headers["content-type"]) == (b"second", "image/png")
    assert "no-store" in picture.headers["cache-control"]
    for wrong in ("2.png", "0.webp", "0.exe", "-1.png", "..%2f..%2fjobs.png"):
        assert client.get(f"{at}/images/{wrong}").status_code in (400, 404)
    assert client.get(f"/v1/templates/{id}").status_code == 404
    assert client.delete(at).status_code == 200
    assert client.get(at).status_code == 404
    assert list((tmp_path / "files").rglob("*.png")) == []


def test_delete_cancels_what_is_not_finished(client: TestClient, service: Service, photo: bytes) -> None:
    id = post(client, photo).json()["id"]
    assert client.delete(f"/v1/portraits/{id}").json()["state"] == "cancelled"
    assert client.get(f"/v1/portraits/{id}").json()["state"] == "cancelled"
    assert service.jobs.claim("a worker") == []


def test_the_list_has_pages_and_kinds(client: TestClient, photo: bytes) -> None:
    ids = [post(client, photo).json()["id"] for _ in range(5)]
    template = {"template": photo, "face": photo}
    other = client.post("/v1/templates", data={"prompt": "smiling"}, files=template).json()["id"]
    first = client.get("/v1/portraits", params={"limit": 3}).json()
    rest = client.get("/v1/portraits", params={"limit": 3, "before": first["before"]}).json()
    assert [one["id"] for one in first["data"] + rest["data"]] == ids[::-1]
    assert rest["before"] is None
    assert [one["id"] for one in client.get("/v1/templates").json()["data"]] == [other]
    assert client.get("/v1/portraits", params={"state": "done"}).json()["data"] == []
    for wrong in ({"limit": 0}, {"limit": 201}, {"state": "lost"}, {"before": "../x"}):
        assert client.get("/v1/portraits", params=wrong).status_code == 400


def test_templates_say_who_goes_where(client: TestClient, service: Service, photo: bytes) -> None:
    def inputs(files: list[tuple[str, bytes]], **data: str) -> dict[str, list[str]]:
        said = client.post("/v1/templates", data={"prompt": "smiling"} | data, files=files)
        assert said.status_code == 202, said.text
        job = service.jobs.get(said.json()["id"])
        assert job is not None
        return {role: [key.split("/")[-1] for key in keys] for role, keys in job.inputs.items()}

    one = inputs([("template", photo), ("face", photo), ("face", photo)], which="1")
    assert one == {"template": ["template-0.png"], "put.1": ["put.1-0.png", "put.1-1.png"]}
    two = inputs([("template", photo), ("put.0", photo), ("put.2", photo), ("mask", photo)])
    assert set(two) == {"template", "put.0", "put.2", "mask"}
    for files in ([("face", photo)], [("template", photo)], [("template", photo), ("face", photo), ("put.0", photo)]):
        assert client.post("/v1/templates", data={"prompt": "a"}, files=files).status_code == 400


def test_groups_say_where_everybody_is(client: TestClient, service: Service, photo: bytes) -> None:
    def ask(names: list[str], **data: str) -> Any:
        return client.post("/v1/groups", data={"prompt": "a"} | data, files=[(name, photo) for name in names])

    said = ask(["put.0", "put.1"], **{"box.0": "0,0,0.5,1", "box.1": "0.5,0,1,1", "words.1": "in a blue hat"})
    assert said.status_code == 202, said.text
    job = service.jobs.get(said.json()["id"])
    assert job is not None
    assert job.settings["places"] == {"put.0": "0,0,0.5,1", "put.1": "0.5,0,1,1"}
    assert job.settings["words"] == ["", "in a blue hat"]
    assert ask(["put.0", "put.1"]).status_code == 202
    assert ask(["put.0", "template"]).status_code == 202
    assert ask([]).status_code in (400, 415)
    assert ask(["put.0"], **{"box.1": "0,0,1,1"}).status_code == 400
    assert ask(["put.0", "put.1"], **{"box.0": "0,0,1,1"}).status_code == 400
    assert ask(["put.0"], **{"box.0": "0.5,0,0.4,1"}).status_code == 400
    assert ask(["put.0", "template"], **{"box.0": "0,0,1,1"}).status_code == 400
    assert ask([f"put.{number}" for number in range(9)]).status_code == 400
