"""The recipes that the repository offers: each is read, checked, and says what it trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.attention import SDPBackend

from facefact.bench.train_memory import GIB, KEPT, per_gpu, sizes
from facefact.config import load_config
from facefact.train.bundle.config import WorldConfig
from facefact.train.encoder.config import EncoderTraining
from facefact.train.engine.loop import attention_kernels
from facefact.train.material.random_base import random_base
from facefact.train.recipe import recipe_of
from facefact.train.settings import AdapterTraining
from facefact.types import UserError
from facefact.world import look, person, render

CONFIGS = Path(__file__).parents[2] / "configs"
KINDS: dict[str, type[Any]] = {"adapter": AdapterTraining, "encoder": EncoderTraining, "world": WorldConfig}
TRIAL = (
    "base.source=random:tiny",
    "adapter.encoder=random:tiny",
    "adapter.warm_up.steps=1",
    "adapter.warm_up.batch=2",
    "data.validation_people=2",
    "data.size=64",
    "schedule.steps=2",
    "schedule.batch=2",
    "schedule.accumulate=1",
    "schedule.workers=0",
    "validation.every=2",
    "validation.people=1",
    "validation.num_inference_steps=1",
    "trackers=[]",
)


RECIPES = sorted(path for path in CONFIGS.glob("*.yaml") if "\nrecipe:" in f"\n{path.read_text(encoding='utf-8')}")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_is_read_and_checked(path: Path) -> None:
    config = load_config(KINDS[recipe_of(path)], path)
    if isinstance(config, AdapterTraining):
        config.check()
    else:
        assert config.recipe in KINDS


@pytest.mark.parametrize(("name", "shape"), [("sd15", "tiny"), ("sdxl", "tiny-xl"), ("sdxl-24gb", "slim-xl")])
def test_a_published_scale_recipe_runs_but_for_its_size(name: str, shape: str, tmp_path: Path) -> None:
    """Every setting but size, length and inputs is the recipe's: bf16 base, checkpointing, curriculum, AdamW, views and
    shapes of photos, pictures without a person, the resampler's warm-up, the identity loss, the validation's losses."""
    from facefact import FaceAdapter
    from facefact.train.adapter.run import train_adapter

    overrides = [*TRIAL, f"base.source=random:{shape}"]
    width = {"tiny": 32, "tiny-xl": 80, "slim-xl": 80}[shape]
    overrides.append(f"adapter.resampler={{input_width: 32, width: 32, depth: 1, heads: 2, output_width: {width}}}")
    photos, regular = pictures(tmp_path)
    overrides += [f"data.source={photos}", f"data.regular.source={regular}", "data.regular.share=0.5"]
    config = load_config(AdapterTraining, CONFIGS / f"{name}.yaml", overrides=overrides)
    adapter = FaceAdapter.from_pretrained(train_adapter(config, tmp_path / "run"))
    assert adapter.dtype.itemsize == 4
    figures = json.loads((tmp_path / "run/validation/step-2/figures.json").read_text())
    assert figures["loss_people"] == 2
    record = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[0])
    assert ({"regular"} if name == "sdxl-24gb" else {"identity", "regular"}) <= record.keys()  # there it has no room
    if config.adapter.blocks:
        assert {name.partition(".transformer")[0] for name in adapter.layers.configs} == {
            "up_blocks.0.attentions.2",
            *(f"up_blocks.1.attentions.{n}" for n in range(3)),
        }
        adapter.attach(random_base(shape, torch.float32).unet)


def pictures(folder: Path) -> tuple[Path, Path]:
    """Five people with two pictures each, of two shapes; and captioned ones without a person, enough for all shapes."""
    for who in range(5):
        for shown in range(2):
            path = folder / "people" / f"p{who}" / f"{shown}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn = render(
                person(who), look(10 * who + shown, glasses="none", hat="none", pose="front"), size=128
            ).image
            wide = np.pad(drawn, ((0, 0), (30, 30), (0, 0)), constant_values=90) if shown else drawn
            Image.fromarray(wide).save(path)
    (folder / "regular").mkdir()
    for number in range(16):
        plain = np.full((128, 128, 3), 90, np.uint8)
        plain[40 + number :] = (40, 120, 60)
        Image.fromarray(plain).save(folder / "regular" / f"{number}.png")
        (folder / "regular" / f"{number}.txt").write_text("a green field")
    return folder / "people", folder / "regular"


def test_sdxl_fits_a_gpu_of_24_gb() -> None:
    """By computation, with a tenth for fragments and a gigabyte for the context."""
    config = load_config(AdapterTraining, CONFIGS / "sdxl-24gb.yaml")
    assert config.schedule.optimizer == "adamw"  # what is computed
    made = sizes("sdxl", config.adapter.blocks)
    needed = per_gpu(
        made,
        "ddp",
        pictures=config.schedule.batch,
        kept=KEPT["sdxl", config.data.size_at(0), config.base.gradient_checkpointing],
    )["total"]
    assert needed == pytest.approx(17.1, abs=0.05)  # as docs/use/train.md says
    assert 1.1 * needed + 1 < 24e9 / GIB
    assert made.learned == pytest.approx(0.385e9, rel=0.01)
    assert sizes("sdxl").learned > 4.8 * made.learned


def test_what_the_user_has_to_set_is_asked_for(tmp_path: Path) -> None:
    from facefact.train.adapter.run import train_adapter

    with pytest.raises(UserError, match=r"data\.source: there is no folder /data/people"):
        train_adapter(load_config(AdapterTraining, CONFIGS / "sd15.yaml"), tmp_path / "run")


def test_attention_over_many_places_is_fused_on_a_cpu() -> None:
    """Over few, plain products are faster; over many they would keep n x n scores for the backward pass."""
    stage, cpu = torch.nn.Linear(1, 1), torch.device("cpu")
    assert attention_kernels(stage, cpu) == [SDPBackend.MATH]
    stage.long_attention = True  # type: ignore[assignment]
    assert SDPBackend.FLASH_ATTENTION in attention_kernels(stage, cpu)
