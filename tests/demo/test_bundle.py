"""The embedded bundle as a user meets it: standard classes, small, able to find its avatars and to draw them."""

import json

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from facefact import FaceAdapter
from facefact.demo import bundle_path, judges_path, scores
from facefact.evaluate.judges import Judges
from facefact.evaluate.sheet import sheet_protocol
from facefact.faces import face_crop, get_detector
from facefact.world import look, person, render

MEGABYTE = 1e6


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(bundle_path(), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def adapter() -> FaceAdapter:
    return FaceAdapter.from_pretrained(bundle_path() / "adapter")


def test_it_keeps_its_size() -> None:
    size = lambda folder: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())  # noqa: E731
    assert size(bundle_path()) <= 40 * MEGABYTE
    assert size(judges_path()) <= 20 * MEGABYTE


def test_its_scores_are_those_of_a_whole_evaluation() -> None:
    found = scores()
    assert found["people"] >= 100
    assert found["images"] >= 400
    for name in ("recogniser", "autoencoder", "base", "adapter", "adapter_without_fair", "leakage"):
        assert name in found
    assert json.loads(json.dumps(found)) == found


def test_the_face_path_finds_avatars_no_training_saw() -> None:
    plan, detector = sheet_protocol(11, people=8), get_detector("avatar")
    for reference in plan.references:
        crop = face_crop(reference.image, detector=detector)
        distance = np.linalg.norm(crop.face.landmarks - reference.landmarks, axis=1)
        assert distance.mean() < 4  # of 128 px
        overlap = (crop.head & reference.head).sum() / (crop.head | reference.head).sum()
        assert overlap > 0.6


def test_pictures_without_an_avatar_are_not_taken_for_one() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3))
    ramp = np.tile(np.arange(128)[:, None, None], (1, 128, 3))
    for picture in (noise, ramp, np.full((128, 128, 3), 90)):
        assert not get_detector("avatar").detect(picture.astype(np.uint8))


def test_the_same_seed_gives_the_same_picture_and_scale_0_the_base_models(
    pipe: StableDiffusionPipeline, adapter: FaceAdapter
) -> None:
    reference = render(person(2**41 + 5), look(2**41 + 5, glasses="none"))

    def picture(**more: object) -> np.ndarray:
        generator = torch.Generator().manual_seed(3)
        prompt = "portrait of a person, smiling, in a city"
        return pipe(prompt, num_inference_steps=2, generator=generator, output_type="np", **more).images[0]

    base = picture()
    adapter.attach(pipe)
    face = adapter.encode(reference.image, detector=get_detector("avatar"))
    first, again, without = (picture(cross_attention_kwargs=adapter.condition(face, scale=s)) for s in (1.0, 1.0, 0.0))
    adapter.detach()
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(without, base)
    assert np.abs(first - base).mean() > 0.002


def test_the_judges_know_renders(pipe: StableDiffusionPipeline) -> None:
    judges = Judges.open(judges_path(), bundle_path())
    people = [person(2**41 + 100 + i) for i in range(12)]
    first, second = (
        [render(who, look(2**41 + 50 * k + i, glasses="none")).image for i, who in enumerate(people)] for k in (1, 2)
    )
    similarity = judges.embed(first) @ judges.embed(second).T
    assert (similarity.argmax(1) == np.arange(12)).mean() >= 0.9
