"""Pipelines of diffusers as generators, an IP-Adapter among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from facefact.evaluate.causal.generators import Adapted, Generator, OneByOne, Pipeline, Request, from_picture
from facefact.evaluate.pictures import Sampling
from facefact.faces import get_detector
from facefact.world import look, person, render
from ip_adapter import with_ip_adapter
from tiny import tiny_adapter

ONE = render(person(1), look(1, glasses="none"), size=128).image
OTHER = render(person(2), look(1, glasses="none"), size=128).image
STEPS = {"num_inference_steps": 2, "guidance_scale": 2.0}
SAMPLING = Sampling(steps=2, guidance_scale=2.0, batch=2)


def requests(*shown: np.ndarray, seed: int = 3) -> list[Request]:
    return [Request((picture,), "portrait", seed) for picture in shown]


def same_noise_other_reference(generator: Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same request twice and another reference in between; what is the same stays the same (to the last bit of a
    colour: a batch of another size may round otherwise)."""
    made = list(generator(requests(ONE, OTHER, ONE)))
    assert all(one.dtype == np.uint8 and one.shape[2] == 3 for one in made)
    np.testing.assert_allclose(made[0].astype(int), made[2], atol=1)
    return made[0], made[1], made[2]


def test_diffusers_ip_adapter_is_a_generator(pipe: Any) -> None:
    wrapped = Pipeline(name="IP-Adapter", pipe=with_ip_adapter(pipe), reference="ip_adapter_image", arguments=STEPS)
    one, other, _ = same_noise_other_reference(wrapped)
    assert (one != other).any(), "the reference arrives"
    pipe.set_ip_adapter_scale(0.0)
    one, other, _ = same_noise_other_reference(wrapped)
    np.testing.assert_array_equal(one, other)


def test_the_face_adapter_is_one_and_leaves_the_model_as_it_was(pipe: Any) -> None:
    base = Pipeline(name="base", pipe=pipe, arguments=STEPS)
    before = base(requests(ONE))[0]
    adapter, crops = tiny_adapter(pipe), {}
    wrapped = Adapted(
        name="FACT", pipe=pipe, adapter=adapter, detector=get_detector("avatar"), sampling=SAMPLING, crops=crops
    )
    one, other, _ = same_noise_other_reference(wrapped)
    assert (one != other).any()
    assert (one != before).any()
    assert len(crops) == 2, "each reference is looked at once"
    np.testing.assert_array_equal(base(requests(ONE))[0], before)
    assert adapter.attached is None


def test_image_to_image_starts_from_the_reference(pipe: Any) -> None:
    wrapped = from_picture(pipe, SAMPLING, strength=0.5)
    one, other, _ = same_noise_other_reference(wrapped)
    assert (one != other).any()
    assert wrapped.arguments["num_inference_steps"] == 4, "as many steps as the others take"


def test_a_pipeline_that_reads_no_reference_paints_once(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = type(pipe).__call__

    def counted(self: Any, prompts: list[str], **arguments: Any) -> Any:
        calls.append(len(prompts))
        return real(self, prompts, **arguments)

    monkeypatch.setattr(type(pipe), "__call__", counted)
    made = Pipeline(name="base", pipe=pipe, arguments=STEPS, batch=4)([*requests(ONE, OTHER), *requests(ONE, seed=4)])
    assert calls == [2]
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).any()


def test_a_plain_function_is_one_too() -> None:
    darker = OneByOne("darker", lambda references, prompt, seed: references[0] // 2)
    np.testing.assert_array_equal(darker(requests(ONE, OTHER))[1], OTHER // 2)
