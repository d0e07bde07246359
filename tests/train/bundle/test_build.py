"""The recipe: its settings, and a whole tiny bundle made from nothing and used as any diffusers pipeline is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from facefact.apps.cli import main
from facefact.config import load_config
from facefact.encoder.files import load_transface
from facefact.train.bundle.build import WORK, build_bundle
from facefact.train.bundle.config import WorldConfig
from facefact.train.bundle.parts import PARTS, fingerprint
from facefact.train.engine.schedule import Schedule
from facefact.types import UserError

CONFIGS = Path(__file__).parents[3] / "configs"


def smoke(*overrides: str) -> WorldConfig:
    return load_config(WorldConfig, CONFIGS / "world_smoke.yaml", overrides=overrides)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("smoke")
    assert main(["train", str(CONFIGS / "world_smoke.yaml"), "--out", str(out)]) == 0
    return out


def test_the_recipe_in_the_repository_is_the_default() -> None:
    assert load_config(WorldConfig, CONFIGS / "world.yaml") == WorldConfig()


def test_the_bundle_is_a_stable_diffusion_that_the_adapter_fits(run) -> None:
    from diffusers import StableDiffusionPipeline

    from facefact import FaceAdapter

    pipe = StableDiffusionPipeline.from_pretrained(run / "bundle")
    pipe.set_progress_bar_config(disable=True)
    assert pipe.vae.config.scaling_factor == 1.0
    adapter = FaceAdapter.from_pretrained(run / "bundle/adapter").attach(pipe)
    face = adapter.tokens(torch.zeros(1, 3, 112, 112))
    picture = pipe(
        "portrait of a person, smiling",
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(1),
        cross_attention_kwargs=adapter.condition(face, scale=0.7),
        output_type="np",
    ).images[0]
    assert picture.shape == (128, 128, 3)
    assert np.isfinite(picture).all()
    assert picture.std() > 0


def test_the_weights_are_half_precision_safetensors_and_nothing_else(run) -> None:
    from safetensors import safe_open

    files = [path for part in ("bundle", "judges") for path in (run / part).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors"}
    for path in files:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as weights:
                kinds = {weights.get_tensor(name).dtype for name in weights.keys()}  # noqa: SIM118
            assert kinds <= {torch.float16, torch.int64}, path


def test_the_judges_and_the_face_detector_open(run) -> None:
    from facefact.faces.avatar import AvatarDetector
    from facefact.metrics.reader import AttributeReader
    from facefact.world import CHOICES

    assert load_transface(run / "judges/recogniser").config == smoke().judge.network
    assert AttributeReader.from_pretrained(run / "judges/reader").config.factors == {
        k: len(v) for k, v in CHOICES.items()
    }
    AvatarDetector.from_pretrained(run / "bundle/face_detector")


def test_the_adapter_without_fair_differs_by_fair_alone(run) -> None:
    made = {
        name: json.loads((run / name / "model/config.json").read_text()) for name in ("adapter", "adapter_without_fair")
    }
    recipes = {name: config["about"]["recipe"] for name, config in made.items()}
    assert recipes["adapter"]["loss"].pop("fair") == [[0, 0.0], [1, 0.1]]
    assert recipes["adapter_without_fair"]["loss"].pop("fair") == 0
    assert [recipes[name]["loss"].pop("output_fair") for name in recipes] == [0.5, 0]
    assert recipes["adapter"] == recipes["adapter_without_fair"]


def test_the_same_command_again_changes_nothing(run) -> None:
    models = {path: path.stat().st_mtime_ns for name in PARTS for path in (run / name).rglob("*") if path.is_file()}
    build_bundle(smoke(), run)
    assert models == {path: path.stat().st_mtime_ns for path in models}


def test_a_finished_part_keeps_its_settings(run) -> None:
    with pytest.raises(UserError, match=r"base.*text_drop"):
        build_bundle(smoke("base.text_drop=0.3"), run, only=["base"])
    with pytest.raises(UserError, match="portraits"):  # the base model stands on it
        build_bundle(smoke("portraits.seed=5"), run, only=["base"])
    build_bundle(smoke("base.schedule.save_every=5"), run, only=["base"])  # changes no weight


def test_starting_from_the_bundle_takes_over_what_is_not_trained_again(tmp_path) -> None:
    from facefact import FaceAdapter
    from facefact.demo import bundle_path
    from facefact.train.bundle.assemble import load_base

    portraits = ["portraits.people=2", "portraits.looks=1"]
    schedule = [f"base.schedule.{one}" for one in ("steps=1", "batch=1", "lr=0", "ema=1.0e-9")]
    config = load_config(
        WorldConfig, CONFIGS / "world.yaml", overrides=["start=bundle", "base.compile=false", *portraits, *schedule]
    )
    build_bundle(config, tmp_path, only=["portraits", "base"])
    ours = load_transface(tmp_path / "encoder/model").state_dict()
    theirs = FaceAdapter.from_pretrained(bundle_path() / "adapter").encoder.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    (unet, text, _), (begun, words, _) = load_base(tmp_path / "base/model"), load_base(bundle_path())
    for one, other in ((unet, begun), (text, words)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_every_part_has_its_maker() -> None:
    assert list(WORK) == list(PARTS)


def test_a_part_needs_its_inputs(tmp_path) -> None:
    with pytest.raises(UserError, match="adapter needs the part encoder"):
        build_bundle(smoke(), tmp_path, only=["adapter"])
    with pytest.raises(UserError, match="no part is called adaptor"):
        build_bundle(smoke(), tmp_path, only=["adaptor"])


def test_the_fingerprint_is_of_a_part_and_of_all_that_it_stands_on() -> None:
    a, b = smoke(), smoke("encoder.schedule.steps=7")
    changed = {name for name in PARTS if fingerprint(a, name) != fingerprint(b, name)}
    assert changed == {"encoder", "portraits", "base", "adapter", "adapter_without_fair"}


def test_wrong_settings_exit_with_2_and_one_line(capsys) -> None:
    assert main(["train", str(CONFIGS / "world_smoke.yaml"), "--set", "base.schedule.stepz=3"]) == 2
    assert "base.schedule.stepz: did you mean steps?" in capsys.readouterr().err


def test_every_schedule_has_its_own_seed() -> None:
    config = WorldConfig()
    parts = (
        config.autoencoder,
        config.decoder,
        config.encoder,
        config.base,
        config.adapter,
        config.judge,
        config.reader,
        config.face_detector,
    )
    schedules: list[Schedule] = [part.schedule for part in parts]
    assert len({one.seed for one in schedules} | {config.portraits.seed, config.autoencoder.latents_seed}) == 10
