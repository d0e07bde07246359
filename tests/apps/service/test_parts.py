"""Jobs with a scheduler and a LoRA of their own, between jobs without."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from facefact.apps.service.jobs import Job
from facefact.apps.service.store import FolderStore
from facefact.apps.service.work import Made, Maker
from facefact.generate import Studio, read_recipe

pytest.importorskip("peft", reason="needs peft (extra `lora`)")
Ask = Callable[..., Job]


class Unwatched:
    def step(self, progress: dict[str, float]) -> None:
        pass

    def preview(self, id: str, number: int, image: Image.Image) -> None:
        pass


def lora(studio: Studio, *, out: int = 0) -> bytes:
    """Of the embedded model's cross-attention. out: another width than the model's."""
    generator, state = torch.Generator().manual_seed(5), {}
    for name, layer in studio.pipe.unet.named_modules():
        if name.endswith("attn2.to_v"):
            rows, wide = layer.weight.shape
            state[f"unet.{name}.lora_A.weight"] = 0.2 * torch.randn(4, wide, generator=generator)
            state[f"unet.{name}.lora_B.weight"] = 0.2 * torch.randn(out or rows, 4, generator=generator)
    return save(state)


@pytest.fixture
def with_lora(store: FolderStore, ask: Ask) -> Callable[..., Job]:
    def asked(content: bytes, **settings: Any) -> Job:
        job = ask(settings={"seed": 1} | settings)
        key = f"{job.id}/input/lora_file-0.safetensors"
        store.put(key, content)
        job.inputs["lora_file"] = [key]
        return job

    return asked


def made(studio: Studio, store: FolderStore, job: Job) -> Made:
    (one,) = Maker(studio, store, Unwatched()).make([job])
    return one


def picture(store: FolderStore, one: Made) -> np.ndarray:
    assert one.reason is None
    with Image.open(io.BytesIO(store.get(one.results[0]))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_lora_and_a_scheduler_are_of_their_job_alone(
    studio: Studio, store: FolderStore, ask: Ask, with_lora: Callable[..., Job]
) -> None:
    before = picture(store, made(studio, store, ask(settings={"seed": 1})))
    one = made(studio, store, with_lora(lora(studio), lora_weight=0.8, lora_file="abc"))
    assert np.abs(picture(store, one) - before).mean() > 0.5
    recipe = read_recipe(store.folder / one.results[0])
    assert [(part["name"], part["weight"]) for part in recipe["model"]["loras"]] == [("lora-abc.safetensors", 0.8)]
    other = made(studio, store, ask(settings={"seed": 1, "scheduler": "EulerAncestralDiscrete"}))
    assert (picture(store, other) != before).any()
    recipe = read_recipe(store.folder / other.results[0])
    assert recipe["scheduler"] == "EulerAncestralDiscreteScheduler"
    assert "loras" not in recipe["model"]
    np.testing.assert_array_equal(picture(store, made(studio, store, ask(settings={"seed": 1}))), before)


def test_a_lora_of_another_model_fails_in_one_line_with_the_remedy(
    studio: Studio, store: FolderStore, ask: Ask, with_lora: Callable[..., Job]
) -> None:
    one = made(studio, store, with_lora(lora(studio, out=7)))
    assert one.reason is not None
    assert "the LoRA lora-sent.safetensors does not fit this model" in one.reason
    assert one.reason.endswith("take one that was made for this model, or leave it out")
    assert "/" not in one.reason
    assert made(studio, store, ask(settings={"seed": 1})).reason is None


def test_a_named_lora_that_is_not_here_any_more(
    studio: Studio, store: FolderStore, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEFACT_HOME", str(tmp_path))
    one = made(studio, store, ask(settings={"lora": "gone.safetensors"}))
    assert "there is no LoRA gone.safetensors here (none yet)" in str(one.reason)
