"""OpenAI's own Python client against the whole service."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.demo import SCALE
from facefact.world import look, person, render

openai = pytest.importorskip("openai", reason="needs OpenAI's client")

ASK: dict[str, Any] = {"prompt": "smiling, at the beach"}
FEW = {"num_inference_steps": 4, "seed": 7}


@pytest.fixture(scope="module")
def client(served_at: str) -> Any:
    with openai.OpenAI(base_url=f"{served_at}/v1", api_key="unused", max_retries=0) as made:
        yield made


def file_of(pixels: np.ndarray, name: str = "me.png") -> tuple[str, bytes, str]:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return name, out.getvalue(), "image/png"


@pytest.fixture(scope="module")
def photos() -> list[tuple[str, bytes, str]]:
    return [file_of(render(person(1), look(number), size=192).image) for number in (1, 2)]


def opened(b64: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def test_an_edit_is_a_portrait_of_the_person(client: Any, photos: list[Any]) -> None:
    made = client.images.edit(image=photos, n=2, size="128x128", input_fidelity="high", extra_body=FEW, **ASK)
    assert len(made.data) == 2
    recipes = [json.loads(opened(one.b64_json).info["facefact"]) for one in made.data]
    assert [recipe["seed"] for recipe in recipes] == [7, 8]
    assert {(recipe["scale"], recipe["steps"], recipe["width"]) for recipe in recipes} == {(1.3, 4, 128)}
    assert recipes[0]["scale"] > SCALE, "more than the model's own"
    assert len(recipes[0]["faces"]) == 2


def test_one_image_and_low_fidelity(client: Any, photos: list[Any]) -> None:
    body = FEW | {"guidance_scale": 2.0, "negative_prompt": "hat"}
    made = client.images.edit(
        image=photos[0], model="demo", input_fidelity="low", output_format="webp", extra_body=body, **ASK
    )
    image = opened(made.data[0].b64_json)
    assert (image.format, image.size) == ("WEBP", (128, 128))


def test_with_a_mask_the_rest_of_the_picture_stays(client: Any, photos: list[Any]) -> None:
    """Outside what is transparent every pixel is the first image's."""
    whole = render(person(5), look(5), size=192).image
    mask = np.full((192, 192, 4), 255, np.uint8)
    mask[40:150, 40:150, 3] = 0
    made = client.images.edit(image=[file_of(whole), *photos], mask=file_of(mask), extra_body=FEW, **ASK)
    changed = (np.asarray(opened(made.data[0].b64_json).convert("RGB")) != whole).any(-1)
    assert changed[60:130, 60:130].mean() > 0.5
    assert not changed[:8].any()
    assert not changed[:, -8:].any()


def test_a_generation_is_of_nobody(client: Any) -> None:
    made = client.images.generate(model="demo", size="128x128", response_format="b64_json", extra_body=FEW, **ASK)
    recipe = json.loads(opened(made.data[0].b64_json).info["facefact"])
    assert recipe["scale"] == 0
    assert "faces" not in recipe


def test_a_stream_shows_how_it_forms(client: Any, photos: list[Any]) -> None:
    events = list(
        client.images.edit(image=photos[0], stream=True, partial_images=2, extra_body={"num_inference_steps": 8}, **ASK)
    )
    kinds = [event.type for event in events]
    assert kinds[-1] == "image_edit.completed"
    assert set(kinds[:-1]) <= {"image_edit.partial_image"}
    assert 1 <= len(kinds) - 1 <= 2
    assert [event.partial_image_index for event in events[:-1]] == list(range(len(kinds) - 1))
    assert all(opened(event.b64_json).size == (128, 128) for event in events)
    generated = list(client.images.generate(stream=True, extra_body=FEW, **ASK))
    assert [event.type for event in generated] == ["image_generation.completed"]


def test_models_are_listed(client: Any) -> None:
    assert [one.id for one in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").owned_by == "facefact"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_errors_are_those_of_its_own_kind(client: Any, photos: list[Any]) -> None:
    def refused(kind: Any, **given: Any) -> Any:
        with pytest.raises(kind) as error:
            client.images.edit(**(ASK | {"image": photos[0]} | given))
        return error.value

    assert refused(openai.NotFoundError, model="gpt-image-1").code == "model_not_found"
    assert refused(openai.BadRequestError, size="100x100").param == "size"
    assert refused(openai.BadRequestError, image=("a.png", b"no picture", "image/png")).code == "bad_picture"
    assert refused(openai.BadRequestError, extra_body={"colour": "red"}).code == "unknown_parameter"
    assert refused(openai.BadRequestError, background="transparent").param == "background"
    assert refused(openai.BadRequestError, partial_images=2).param == "partial_images"
    black = file_of(np.zeros((192, 192, 3), np.uint8))
    assert "face" in refused(openai.BadRequestError, image=black).message
    assert "transparent" in refused(openai.BadRequestError, mask=black).message


def test_who_hangs_up_cancels(client: Any, photos: list[Any], served_at: str) -> None:
    from facefact.client import Client

    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=2.0).images.edit(
            image=photos[0], n=8, extra_body={"num_inference_steps": 100}, prompt="nobody waits"
        )
    job = next(job for job in Client(served_at).jobs() if job.said["settings"].get("prompt") == "nobody waits")
    from facefact.client import Cancelled

    with pytest.raises(Cancelled):
        job.wait(progress=False)
