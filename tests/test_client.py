"""The client against the whole service: photos in, portraits with their recipes out."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from facefact.client import AsyncClient, Cancelled, Client
from facefact.client.wire import form
from facefact.types import UserError
from facefact.world import look, person, render


@pytest.fixture(scope="module")
def client(served_at: str) -> Client:
    return Client(served_at)


@pytest.fixture(scope="module")
def photo() -> bytes:
    out = io.BytesIO()
    Image.fromarray(render(person(1), look(1), size=192).image).save(out, format="PNG")
    return out.getvalue()


def test_photos_become_portraits_with_their_recipes(
    client: Client, photo: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from facefact.generate import read_recipe

    (tmp_path / "me.png").write_bytes(photo)
    job = client.portraits(face=[tmp_path / "me.png"], prompt="smiling, at the beach", n=2, seed=7, steps=4)
    assert (job.state, job.progress, job.position) == ("done", 1.0, None)
    assert "100%" in capsys.readouterr().err
    files = job.save(tmp_path / "out")
    recipes = [read_recipe(file) for file in files]
    assert [recipe["seed"] for recipe in recipes] == [7, 8]
    assert {recipe["steps"] for recipe in recipes} == {4}
    assert [file.read_bytes() for file in files] == job.images()
    assert any(one.id == job.id for one in client.jobs())
    job.forget()
    with pytest.raises(UserError, match="no portrait"):
        client.job(job.id)


def test_a_card_stands_for_the_photos(client: Client, photo: bytes) -> None:
    card = client.cards(face=photo, name="Ada")
    of_card = client.portraits(face=card, prompt="smiling", steps=2, progress=False)
    of_photo = client.portraits(face=photo, prompt="smiling", steps=2, progress=False)
    pictures = [Image.open(io.BytesIO(job.images()[0])).convert("RGB").tobytes() for job in (of_card, of_photo)]
    assert pictures[0] == pictures[1]


def test_a_template_and_a_group(client: Client, photo: bytes) -> None:
    template = io.BytesIO()
    Image.fromarray(render(person(5), look(5), size=192).image).save(template, format="PNG")
    done = client.templates(template=template.getvalue(), face=photo, prompt="smiling", steps=3, progress=False)
    with Image.open(io.BytesIO(done.images()[0])) as image:
        assert image.size == (192, 192)
    boxes = {0: (0, 0, 0.5, 1), 1: (0.5, 0, 1, 1)}
    group = client.groups(put=[photo, photo], boxes=boxes, prompt="two people", steps=2, progress=False)
    assert len(group.images()) == 1


def test_faces_are_found(client: Client, photo: bytes) -> None:
    found = client.faces(photo, draw=True)
    assert len(found["faces"]) == 1
    assert found["faces"][0]["backend"] == "avatar"
    assert found["drawn"]
    assert client.models()[0]["id"] == "demo"
    assert {"name", "title", "preview"} <= set(client.styles()[0])


def test_events_tell_how_the_picture_forms(client: Client, photo: bytes) -> None:
    job = client.portraits(face=photo, prompt="smiling", steps=8, wait=False)
    events = list(job.events())
    states = [what["state"] for name, what in events if name == "state"]
    assert states == ["queued", "running", "done"]
    previews = [what for name, what in events if name == "preview"]
    assert previews
    assert all(what["image"] == 0 for what in previews)
    progress = [what["progress"] for name, what in events if name == "progress"]
    assert progress == sorted(progress)
    assert list(job.events(after=3))[-1] == ("state", {"state": "done"})  # said again to who missed it


def test_who_gives_up_waiting_cancels(client: Client, photo: bytes) -> None:
    stop = threading.Event()
    job = client.portraits(face=photo, prompt="smiling", steps=100, wait=False)
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(Cancelled):
        job.wait(progress=False, stop=stop)
    assert job.refresh().state == "cancelled"

    async def given_up() -> None:
        waiting = asyncio.create_task(
            AsyncClient(client.url).portraits(face=photo, prompt="an end", steps=100, progress=False)
        )
        await asyncio.sleep(1.5)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(given_up())
    job = next(client.jobs())
    until = time.monotonic() + 30
    while job.refresh().state == "running" and time.monotonic() < until:
        time.sleep(0.1)
    assert (job.said["settings"]["prompt"], job.state) == ("an end", "cancelled")


def test_several_wait_at_once(client: Client, photo: bytes) -> None:
    async def both() -> list[str]:
        asked = AsyncClient(client.url)
        made = [asked.portraits(face=photo, prompt="smiling", seed=seed, steps=2, progress=False) for seed in (1, 2)]
        return [job.state for job in await asyncio.gather(*made)]

    assert asyncio.run(both()) == ["done", "done"]


def test_what_is_wrong_is_one_line(client: Client, photo: bytes, tmp_path: Path) -> None:
    for call, line in (
        (lambda: client.portraits(face=photo, prompt="a", steps=0), "steps"),
        (lambda: client.portraits(face=photo, prompt="a", colour=1), "colour: there is no such field"),
        (lambda: client.portraits(face=b"no picture", prompt="a"), "not a picture"),
        (lambda: client.portraits(face=tmp_path / "none.png", prompt="a"), "cannot be read"),
        (lambda: client.job("0" * 20), "no portrait"),
        (lambda: Client("ftp://x"), "no address"),
    ):
        with pytest.raises(UserError, match=line) as error:
            call()
        assert "\n" not in str(error.value)
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, format="PNG")
    with pytest.raises(UserError, match="face"):
        client.portraits(face=out.getvalue(), prompt="a", progress=False)


def test_a_service_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facefact.client.blocking.ATTEMPTS", 2)
    with pytest.raises(UserError, match="does not answer"):
        Client("http://127.0.0.1:9").models()


def test_names_of_files_are_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "somebodys-name.png"
    path.write_bytes(b"x")
    body, kind = form({"prompt": "a", "seed": None, "local": True}, {"face": [path, b"y"], "mask": None})
    assert b"somebodys-name" not in body
    assert b"seed" not in body
    assert body.count(b'name="face"') == 2
    assert b"\r\n\r\ntrue\r\n" in body
    assert kind.startswith("multipart/form-data; boundary=")
