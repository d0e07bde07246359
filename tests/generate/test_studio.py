"""One Studio for several callers: each has the picture that it gets alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facefact.demo import GUIDANCE_SCALE
from facefact.faces import face_from_landmarks
from facefact.faces.align import TEMPLATE
from facefact.generate import InpaintSettings, Settings, Studio, Template
from facefact.types import Face, FaceTokens, Portrait, UserError
from tiny import save_tiny_model, tiny_pipeline


@pytest.fixture
def studio(pipe: Any, adapter: Any) -> Studio:
    return Studio(pipe, adapter, origin={"model": {"name": "tiny"}})


@pytest.fixture
def people(adapter: Any) -> list[FaceTokens]:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        return [adapter.tokens(torch.rand(1, 3, 112, 112, generator=generator) * 2 - 1) for _ in range(2)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline directory with an adapter inside."""
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def array(portrait: Portrait) -> np.ndarray:
    return np.asarray(portrait.image)


def pause() -> None:
    """Between two steps of a call: whoever else may run runs now."""
    time.sleep(0.02)


def painted(studio: Studio, tokens: FaceTokens) -> list[np.ndarray]:
    """Two batches in a part of the schedule, in local mode: everything that has a state of its own."""
    settings = [Settings(prompt="a coat", steps=5, seed=seed, end=0.6, local=True) for seed in range(3)]
    return [array(one) for one in studio.text_to_images(tokens, settings, batch=2, on_step=pause)]


def inpainted(studio: Studio, tokens: FaceTokens) -> list[np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    face = face_from_landmarks(TEMPLATE + 15)
    settings = InpaintSettings(prompt="a hat", steps=5, start=0.4)
    template = Template(pixels, None, pixels)
    return [array(studio.inpaint(tokens, settings, template=template, face=face, on_step=pause))]


@pytest.mark.parametrize("ways", [(painted, painted), (painted, inpainted)])
def test_two_threads_with_two_people_get_what_each_gets_alone(
    studio: Studio, people: list[FaceTokens], ways: tuple[Callable[..., list[np.ndarray]], ...]
) -> None:
    calls = [partial(way, studio, tokens) for way, tokens in zip(ways, people, strict=True)]
    alone = [call() for call in calls]
    with ThreadPoolExecutor(2) as threads:
        together = [one.result() for one in [threads.submit(call) for call in calls]]
    for one, other in zip(alone, together, strict=True):
        for picture, same in zip(one, other, strict=True):
            np.testing.assert_allclose(picture.astype(int), same, atol=1)  # a busy machine shares out sums otherwise
    assert (alone[0][0] != array(studio.text_to_image(people[1], Settings(prompt="a coat", steps=5)))).any()


def test_who_stops_asking_does_not_keep_the_others_out(studio: Studio, people: list[FaceTokens]) -> None:
    settings = Settings(prompt="a coat", steps=1)
    unfinished = studio.text_to_images(people[0], [settings] * 3)
    next(unfinished)
    studio.text_to_image(people[1], settings)
    with pytest.raises(UserError, match="take a multiple of 8"):
        studio.text_to_image(people[0], Settings(prompt="a coat", width=63))
    assert studio.text_to_image(people[1], settings).recipe["steps"] == 1


def test_the_recipe_names_the_model_and_what_is_added(studio: Studio, people: list[FaceTokens]) -> None:
    settings = [Settings(prompt="a coat", steps=1, seed=seed) for seed in (0, 1)]
    made = studio.text_to_images(people, settings, origin=[{"faces": ["a"]}, {"faces": ["b"]}])
    assert [(one.recipe["model"], one.recipe["faces"]) for one in made] == [
        ({"name": "tiny"}, ["a"]),
        ({"name": "tiny"}, ["b"]),
    ]


def test_the_demo_model_chooses_by_the_seed_what_no_word_names(model: Path, people: list[FaceTokens]) -> None:
    opened = Studio.open(model=str(model), device="cpu")
    asked, whole = "portrait of a person, smiling", "portrait of a person, with short red hair, smiling, at the beach"
    for exact in (False, True):
        studio = Studio(opened.pipe, opened.adapter, model="demo", exact_prompt=exact)
        one, other = studio.text_to_images(people[0], [Settings(prompt=asked, steps=1, seed=seed) for seed in (0, 1)])
        assert one.recipe["prompt"] == asked
        assert ("words" in one.recipe) is not exact
        if not exact:
            assert one.recipe["words"] != other.recipe["words"]
    assert Studio(opened.pipe, opened.adapter, model="tiny")._completed(Settings(prompt=asked)) == (asked, ())
    spoken = Studio(opened.pipe, opened.adapter, model="demo").text_to_image(people[0], Settings(prompt=whole, steps=1))
    assert not any("hair" in words or "beach" in words for words in spoken.recipe["words"])


class OneFace:
    """A detector of one face, anywhere."""

    name, licence = "one", ""

    def detect(self, picture: np.ndarray) -> list[Face]:
        return [face_from_landmarks(TEMPLATE + 15)]

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        return np.ones(picture.shape[:2], bool)


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("facefact.generate.studio.get_detector", lambda **options: OneFace())
    Image.new("RGB", (150, 150), "white").save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_from_photos_to_a_portrait(model: Path, photo: Path, caplog: pytest.LogCaptureFixture) -> None:
    studio = Studio.open(model=str(model), device="cpu")
    person = studio.find_person([photo, photo])
    settings = studio.settings(Settings, prompt="a zebra", steps=1, scale=None)
    assert (settings.guidance_scale, settings.scale) == (5.0, 0.7)
    made = studio.text_to_image(studio.adapter.encode(person.crops), settings, origin=person.origin)
    assert len(made.recipe["faces"]) == 2
    assert made.recipe["which"] == 0
    assert made.recipe["model"]["name"] == made.recipe["adapter"]["name"] == "tiny"
    assert not caplog.text


def test_the_demo_model_has_its_own_defaults_and_limits(
    model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("facefact.demo.bundle_path", lambda: model)
    studio = Studio.open(device="cpu")
    assert studio.find_person([photo]).avatar is not None
    assert "a.png: the demo model draws avatars: one was drawn from the photo" in caplog.text
    assert studio.settings(Settings, prompt="a zebra smiling").guidance_scale == GUIDANCE_SCALE
    assert "have no word for: zebra." in caplog.text
    assert studio.settings(Settings, prompt="smiling", guidance_scale=1.0).guidance_scale == 1.0


def test_what_cannot_be_opened_is_said(model: Path, tmp_path: Path) -> None:
    tiny_pipeline().save_pretrained(tmp_path / "bare")
    with pytest.raises(UserError, match="name one with --adapter"):
        Studio.open(model=str(tmp_path / "bare"), device="cpu")
    with pytest.raises(UserError, match="--offline forbids"):
        Studio.open(model=str(model), adapter="someone/adapter", device="cpu", offline=True)
    with pytest.raises(UserError, match="models import"):
        Studio.open(model=str(model), adapter=str(model / "model_index.json"), device="cpu")


def test_opening_asks_nobody(model: Path) -> None:
    """A directory is opened without a connection, also where no variable of the environment forbids them."""
    code = (
        "import socket, sys\n"
        "def refuse(*args, **options): print('asked'); raise OSError\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from facefact.generate import Studio\n"
        "Studio.open(model=sys.argv[1], device='cpu', offline=True)"
    )
    free = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", code, str(model)], capture_output=True, text=True, env=free, check=True
    )
    assert "asked" not in done.stdout
