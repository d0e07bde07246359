"""Validation: its figures, its files, and that a training with it is the training without it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from live import LiveStage, autoencoder, batches, new_adapter, samples, text_parts
from PIL import Image

import facefact
from facefact.faces.avatar import AvatarDetector
from facefact.train.adapter.judged import Judge, face_region, identity_figures, outside_figures
from facefact.train.adapter.painted import Painted, Painter, pictures_of
from facefact.train.adapter.references import Reference, head_pixels
from facefact.train.adapter.validation import LeakSamples, Validator, of_adapter, replacing_folder
from facefact.train.bundle.base_model import new_scheduler
from facefact.train.engine.loop import Average, Schedule, fit
from facefact.train.material.live_pipeline import live_pipeline
from facefact.train.settings import Validation
from facefact.types import UserError
from facefact.world import look, person, render

pytest.importorskip("matplotlib")

PROMPTS = ("portrait of a person, laughing", "portrait of a person, with a straw hat")
SETTINGS = Validation(num_inference_steps=2, seed=5)
SHOWN = {"glasses": "none", "hat": "none", "pose": "front", "light": "day"}


@pytest.fixture(scope="module")
def detector() -> AvatarDetector:
    return AvatarDetector.from_pretrained(Path(facefact.__file__).parent / "demo/bundle/face_detector", presence=0.5)


def painted(pipe) -> np.ndarray:
    """What the pipeline itself makes of the prompts: (2, h, w, 3) in [0, 1]."""
    return pipe(
        list(PROMPTS),
        num_inference_steps=2,
        guidance_scale=SETTINGS.guidance_scale,
        output_type="np",
        generator=[torch.Generator().manual_seed(5), torch.Generator().manual_seed(6)],
    ).images


def parts(*, gate: float = 0.5):
    """Stage and its pipeline."""
    stage, (text_encoder, tokenizer) = LiveStage(gate=gate), text_parts()
    pipe = live_pipeline(
        unet=stage.unet, vae=autoencoder(), scheduler=stage.scheduler, text_encoder=text_encoder, tokenizer=tokenizer
    )
    return stage, pipe


def people(n: int = 2) -> list[Reference]:
    shown = [render(person(10 + i), look(3, **SHOWN)) for i in range(n)]
    return [Reference(one.image, np.stack([np.array(Image.fromarray(one.image).resize((112, 112)))])) for one in shown]


def validator_of(pipe, adapter, known=None, *, leak: LeakSamples | None = None, **judging) -> Validator:
    known = people() if known is None else known
    judge = Judge(adapter, known, **judging)
    return Validator(Painter(pipe, adapter, PROMPTS, SETTINGS), known, judge, leak)


def leak_of(stage) -> LeakSamples:
    return LeakSamples(samples(4), stage.scheduler)


def read(folder: Path) -> dict[str, object]:
    return json.loads((folder / "figures.json").read_text())


def test_a_training_with_validation_is_the_training_without_it(tmp_path, detector) -> None:
    """Bit for bit: losses, and weights at the end."""
    plan = Schedule(steps=4, batch=4, warmup=1, precision="fp32", seed=3, log_every=1)
    ends = {}
    for name in ("with", "without"):
        stage, pipe = parts()
        validator = validator_of(pipe, stage.adapter, leak=leak_of(stage), detector=detector)

        def watch(step: int, stage, average, validator=validator, name=name) -> dict[str, float] | None:
            return validator.run(step, tmp_path / name) if name == "with" and step == 2 else None

        fit(stage, batches, plan, tmp_path / name, watch=watch)
        ends[name] = {key: value.clone() for key, value in stage.state_dict().items()}
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("with", "without")]
    losses = [[json.loads(line)["loss"] for line in one] for one in lines]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4
    assert all(torch.equal(value, ends["without"][key]) for key, value in ends["with"].items())
    assert (tmp_path / "with/validation/step-2/sheet.png").is_file()


def test_everything_is_put_back(tmp_path, detector) -> None:
    stage, pipe = parts()
    validator = validator_of(pipe, stage.adapter, leak=leak_of(stage), detector=detector, similarity=noisy_unit)
    stage.adapter.resampler.eval()  # a mixture of modes
    modes = [one.training for one in (*stage.modules(), *pipe.vae.modules())]
    weights = {name: value.clone() for name, value in stage.state_dict().items()}
    state, of_numpy, of_python = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    assert torch.is_grad_enabled()
    validator.run(1, tmp_path, weights={name: torch.zeros_like(p) for name, p in learning(stage)})
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], of_numpy)
    assert random.getstate() == of_python
    assert pipe.text_encoder is not None
    assert stage.scheduler.num_inference_steps is None
    assert pipe.scheduler.num_inference_steps is None
    assert [one.training for one in (*stage.modules(), *pipe.vae.modules())] == modes
    assert all(torch.equal(value, weights[name]) for name, value in stage.state_dict().items())
    assert stage.adapter.attached is stage.unet
    assert all(p.grad is None for p in stage.parameters())
    assert all(p.requires_grad for _, p in learning(stage))


def learning(stage):
    return [(name, p) for name, p in stage.adapter.named_parameters() if p.requires_grad]


def noisy_unit(heads: np.ndarray) -> np.ndarray:
    """Draws from every global generator, as a careless judge would."""
    torch.rand(1), np.random.rand(), random.random()
    return np.eye(8, dtype=np.float32)[: len(heads)]


def test_it_comes_back_whole_from_an_error(tmp_path) -> None:
    stage, pipe = parts()
    validator = validator_of(pipe, stage.adapter)
    stage.adapter.detach()
    pipe.vae.decode = None
    with pytest.raises(TypeError):
        validator.run(1, tmp_path)
    assert stage.adapter.attached is None
    assert stage.adapter.training
    assert not list(tmp_path.rglob("*"))


def test_an_adapter_that_is_not_attached_is_so_afterwards_and_keeps_its_type(tmp_path) -> None:
    stage, pipe = parts()
    stage.adapter.detach()
    stage.adapter.eval()
    pipe.unet.to(torch.bfloat16)
    validator_of(pipe, stage.adapter).run(1, tmp_path)
    assert stage.adapter.attached is None
    assert next(stage.adapter.layers.parameters()).dtype == torch.float32


def test_the_averaged_weights_draw_the_pictures(tmp_path) -> None:
    """With gates averaged to 0 each person's row is the base model's; the trained gates are open."""
    stage, pipe = parts()
    validator = validator_of(pipe, stage.adapter, leak=leak_of(stage))
    average = Average(stage, 0.1).values
    closed = {name: torch.zeros_like(v) if "alpha_" in name else v for name, v in average.items()}
    figures = validator.run(1, tmp_path, weights=of_adapter(closed))
    assert figures["leak_inside_whole"] < 1e-3
    assert validator.run(2, tmp_path)["leak_inside_whole"] > 0.01
    first, second = (np.array(Image.open(tmp_path / f"validation/step-{step}/sheet.png")) for step in (1, 2))
    assert not np.array_equal(first, second)


def test_the_same_noise_every_time_and_files_that_explain_themselves(tmp_path) -> None:
    stage, pipe = parts()
    validator = validator_of(pipe, stage.adapter, leak=leak_of(stage))
    for _ in range(2):  # the second run takes the first one's place
        figures = validator.run(7, tmp_path)
    folder = tmp_path / "validation/step-7"
    assert sorted(path.name for path in folder.iterdir()) == ["figures.json", "leak.png", "sheet.png"]
    assert [path.name for path in folder.parent.iterdir()] == ["step-7"]
    kept = read(folder)
    assert kept["step"] == 7
    assert kept["prompts"] == list(PROMPTS)
    assert {name: kept[name] for name in figures} == figures
    assert figures["seconds"] >= figures["pictures_seconds"] > 0
    assert len(kept["leak"]["outside"]["attention"]) == len(kept["leak"]["layers"])
    again = validator_of(pipe, stage.adapter)
    assert np.array_equal(again.painter.base, validator.painter.base)
    assert np.abs(255.0 * painted(pipe) - validator.painter.base).max() < 0.51  # rounding


def test_faces_that_are_not_found_are_counted(tmp_path, detector) -> None:
    """A random autoencoder draws none: no figure of identity, and none of what lies outside a face."""
    stage, pipe = parts()
    figures = validator_of(pipe, stage.adapter, detector=detector).run(1, tmp_path)
    assert figures["faces_found"] == 0
    assert figures["pictures"] == 4
    assert not {"similarity_own", "rank1", "outside_change", "leak_outside_whole"} & figures.keys()


def test_what_is_measured_on_real_faces(detector) -> None:
    """Portraits of the right people, one of them without a face: own over other, and the change of the background."""
    stage, _ = parts()
    who = [person(10 + i) for i in range(2)]
    drawn = [render(one, look(3, **SHOWN)).image for one in who]
    made = np.stack([[drawn[0], drawn[0]], [drawn[1], np.zeros_like(drawn[1])]])
    brightness = lambda heads: np.stack([_by_brightness(one) for one in heads])  # noqa: E731
    references = [Reference(one, np.stack([_head(one, detector)])) for one in drawn]
    judge = Judge(stage.adapter, references, detector=detector, similarity=brightness)
    judged = judge.judge(Painted(np.stack([drawn[0], drawn[0]]), made))
    figures = judged.figures
    assert figures["faces_found"] == 3
    assert figures["similarity_own"] == pytest.approx(1.0, abs=1e-4)
    assert figures["similarity_gap"] == pytest.approx(figures["similarity_own"] - figures["similarity_other"], abs=2e-4)
    assert figures["rank1"] == 1.0
    assert judged.captions[1] == ["person 2: the reference", "similarity 1.00", "no face found"]
    inside = [face_region(drawn[0], detector) | face_region(one, detector) for one in (drawn[0], drawn[1])]
    assert 0.02 < inside[0].mean() < 0.6
    assert figures["outside_change"] > 0
    same = outside_figures(Painted(np.stack([drawn[0]] * 2), np.stack([[drawn[0]] * 2])), detector)
    assert same == {"outside_change": 0.0}


def _head(picture: np.ndarray, detector: AvatarDetector) -> np.ndarray:
    from facefact.faces import face_crop

    return face_crop(picture, detector=detector).pixels


def _by_brightness(head: np.ndarray) -> np.ndarray:
    angle = head.mean() / 40
    return np.array([np.cos(angle), np.sin(angle)])


def test_identity_figures() -> None:
    similarity = np.array([[0.9, 0.1, 0.3], [0.2, 0.4, 0.6]])
    found = identity_figures(similarity, np.array([0, 1]))
    assert found == {"similarity_own": 0.65, "similarity_other": 0.3, "similarity_gap": 0.35, "rank1": 0.5}
    assert identity_figures(similarity[:, :1], np.array([0, 0])) == {"similarity_own": 0.55}


def test_two_text_encoders_make_an_xl_pipeline_and_its_pictures(tmp_path) -> None:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    text_encoder, tokenizer = text_parts()
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=(1, 2),
        cross_attention_dim=32 + 16,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 16,
        use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    second = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=1,
            projection_dim=16,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    pipe = live_pipeline(
        unet=unet,
        vae=autoencoder(),
        scheduler=new_scheduler(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=second,
        tokenizer_2=tokenizer,
    )
    assert isinstance(pipe, StableDiffusionXLPipeline)
    assert pipe.unet is unet
    adapter = new_adapter(unet, gate=0.5, text_width=48).train().attach(unet)
    validator = validator_of(pipe, adapter, people(1))
    validator.run(3, tmp_path)
    assert (tmp_path / "validation/step-3/sheet.png").is_file()
    assert np.abs(255.0 * painted(pipe) - validator.painter.base).max() < 0.51


def test_tokens_stand_for_heads() -> None:
    stage, pipe = parts()
    known = people(2)
    adapter = stage.adapter
    with torch.no_grad():
        tokens = [adapter.encoder(head_pixels(adapter, one.heads)) for one in known]
    of_heads = validator_of(pipe, adapter, known)
    of_tokens = validator_of(
        pipe, adapter, [Reference(a.picture, tokens=b) for a, b in zip(known, tokens, strict=True)]
    )
    np.testing.assert_allclose(of_heads.judge.known, of_tokens.judge.known, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(of_heads.tokens, of_tokens.tokens, strict=True))
    np.testing.assert_allclose(np.linalg.norm(of_heads.judge.known, axis=1), 1.0, rtol=1e-5)
    with pytest.raises(ValueError, match="aligned heads"):
        validator_of(pipe, adapter, [Reference(known[0].picture)])


def test_nobody_to_look_at_is_refused() -> None:
    stage, pipe = parts()
    with pytest.raises(UserError, match=r"validation\.every=0"):
        Judge(stage.adapter, [])
    with pytest.raises(UserError, match=r"validation\.every=0"):
        Painter(pipe, stage.adapter, [], SETTINGS)


@pytest.mark.parametrize("shift", [None, 0.3])
def test_latents_are_decoded_as_they_were_encoded(shift) -> None:
    """An autoencoder may shift its latents besides scaling them: z = (mode - shift) * scaling."""
    torch.manual_seed(3)
    vae = autoencoder().requires_grad_(False)
    vae.register_to_config(scaling_factor=0.5, shift_factor=shift)
    mode = torch.randn(2, 4, 4, 4)
    pixels = vae.decode(mode).sample.clamp(-1, 1)
    pictures = pictures_of(vae, (mode - (shift or 0.0)) * 0.5)
    assert pictures.shape == (2, *pixels.shape[2:], 3)
    assert np.abs(pictures - 127.5 * (pixels + 1).permute(0, 2, 3, 1).numpy()).max() < 0.51


def test_half_a_folder_is_never_seen(tmp_path) -> None:
    with pytest.raises(RuntimeError, match="full"):
        half_written(tmp_path / "step-1")
    assert not list(tmp_path.iterdir())


def half_written(path: Path) -> None:
    with replacing_folder(path) as folder:
        (folder / "a").write_text("half")
        raise RuntimeError("the disk is full")
