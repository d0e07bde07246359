"""Which rows of a batch carry the face, whatever pipeline made it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hosts import make_adapter, make_host, make_tokens, run
from PIL import Image
from torch import Tensor, nn

from facefact import UserError
from facefact.adapter.batch import EDITED, PERTURBED, read_layout
from facefact.adapter.condition import GUIDED, PLAIN

UNKNOWN = nn.Module()


def latents(pictures: str) -> Tensor:
    """(b, 2, 3, 3), a row for each letter: the same ones for the same letter."""
    return torch.stack([torch.full((2, 3, 3), float(ord(letter))) for letter in pictures])


def texts(words: str) -> Tensor:
    """(b, 5, 4)."""
    return torch.stack([torch.full((5, 4), float(ord(letter))) for letter in words])


@pytest.mark.parametrize(
    ("pictures", "words", "people", "layout"),
    [
        ("x", "p", 1, PLAIN),
        ("xx", "np", 1, GUIDED),
        ("xx", "pp", 1, GUIDED),  # the prompt is its own negative prompt
        ("xy", "pp", 1, PLAIN),  # two pictures without guidance
        ("xy", "pq", 1, PLAIN),
        ("xyxy", "nnpq", 2, GUIDED),
        ("xyxy", "nmpq", 2, GUIDED),  # each its own negative prompt
        ("xyxy", "nnnq", 2, GUIDED),  # one without a prompt
        ("xyzxyz", "nnnppp", 1, GUIDED),
        ("xxxx", "nnpp", 1, GUIDED),  # equal seeds
        ("xxx", "npp", 1, PERTURBED),
        ("xyxyxy", "nnpppp", 1, PERTURBED),
        ("xxyy", "npnp", 1, GUIDED * 2),  # views of a panorama, steps in parallel
        ("xxyyzz", "npnpnp", 1, GUIDED * 3),
        ("xxxx", "nsnp", 1, GUIDED * 2),  # DiffEdit's mask
        ("xyxyxyxy", "nnssnnpp", 1, GUIDED * 2),
        ("sxsx", "nnsp", 1, GUIDED),  # cycle diffusion
    ],
)
def test_read_from_latents_and_text(pictures: str, words: str, people: int, layout: tuple[bool, ...]) -> None:
    assert read_layout(UNKNOWN, latents(pictures), texts(words), people=people) == layout


def test_without_text_the_latents_say_it() -> None:
    assert read_layout(UNKNOWN, latents("xyxy"), None, people=1) == GUIDED
    assert read_layout(UNKNOWN, latents("xyzw"), None, people=1) == PLAIN


def test_text_of_frames() -> None:
    assert read_layout(UNKNOWN, latents("xx"), texts("nnnppp"), people=1) == GUIDED


def test_the_same_face_in_all_parts() -> None:
    """Without a null face the parts matter for the order of people alone, and only clear ones count."""
    assert read_layout(UNKNOWN, latents("xyxy"), texts("nnpq"), people=2, guided=False) == GUIDED
    assert read_layout(UNKNOWN, latents("xxxx"), texts("pppp"), people=2, guided=False) == PLAIN


def test_what_the_model_says() -> None:
    class PAGIdentitySelfAttnProcessor2_0:
        pass

    class PAGCFGIdentitySelfAttnProcessor2_0:
        pass

    model: Any = nn.Module()
    model.add_module("attn", nn.Module())
    model.attn.processor = PAGIdentitySelfAttnProcessor2_0()
    assert read_layout(model, latents("xx"), texts("pp"), people=1) == (True, True)
    model.attn.processor = PAGCFGIdentitySelfAttnProcessor2_0()
    assert read_layout(model, latents("xxxxxx"), texts("nnpppp"), people=1) == PERTURBED
    assert read_layout(model, latents("x"), texts("p"), people=1) == PLAIN
    editing: Any = nn.Module()
    editing.config = SimpleNamespace(in_channels=8, out_channels=4)
    picture = torch.randn(3, 4, 3, 3)
    assert read_layout(editing, torch.cat([torch.ones(3, 4, 3, 3), picture], 1), texts("pnn"), people=1) == EDITED
    assert read_layout(editing, torch.cat([torch.randn(3, 4, 3, 3), picture], 1), texts("ppp"), people=1) == PLAIN


def rows(host: Any, kwargs: Any, pictures: str, words: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = {letter: torch.randn(4, 8, 8, generator=generator) for letter in sorted(set(pictures))}
    text = {letter: torch.randn(7, 12, generator=generator) for letter in sorted(set(words))}
    return host(
        torch.stack([noise[one] for one in pictures]),
        500,
        encoder_hidden_states=torch.stack([text[one] for one in words]),
        cross_attention_kwargs=kwargs,
    ).sample


@pytest.mark.parametrize(("words", "faced"), [("npp", "-ff"), ("npnp", "-f-f"), ("pq", "-f")])
@torch.no_grad()
def test_each_row_has_its_face(words: str, faced: str) -> None:
    """Two rows that show nothing in common are, outside of a pipeline, the two halves that the condition says."""
    host = make_host()
    adapter = make_adapter(host).attach(host)
    tokens = make_tokens(adapter)
    pictures = "xxx" if words == "npp" else "xxyy" if words == "npnp" else "xy"
    scale = torch.tensor([0.5, 0.8])  # of the null face and of the face
    got = rows(host, adapter.condition(tokens, scale=scale), pictures, words)
    for i, mark in enumerate(faced):
        face = tokens.null if mark == "-" else tokens.face
        alone = adapter.condition(type(tokens)(face, face), float(scale[int(mark != "-")]), guidance=False)
        torch.testing.assert_close(got[i], rows(host, alone, pictures, words)[i])


@torch.no_grad()
def test_people_keep_their_places() -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    people = make_tokens(adapter, people=2)
    got = rows(host, adapter.condition(people, guidance=False), "xyxy", "nnpq")
    for i in range(4):
        person = people.face[i % 2 : i % 2 + 1]
        alone = adapter.condition(type(people)(person, person), guidance=False)
        torch.testing.assert_close(got[i], rows(host, alone, "xyxy", "nnpq")[i])


def test_people_who_do_not_fit() -> None:
    host = make_host()
    adapter = make_adapter(host).attach(host)
    for guidance in (True, False):
        kwargs = adapter.condition(make_tokens(adapter, people=2), guidance=guidance)
        with pytest.raises(UserError, match="of 2 people, and UNet2DConditionModel runs a batch of 3: give one person"):
            run(host, batch=3, cross_attention_kwargs=kwargs)


def draw(pipe: Any, kwargs: Any = None, **options: Any) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    return pipe("x", generator=generator, output_type="np", cross_attention_kwargs=kwargs, **options).images


def test_the_pipeline_is_named(pipe: Any) -> None:
    adapter = make_adapter(pipe).attach(pipe)
    with pytest.raises(UserError, match="of 2 people, and StableDiffusionPipeline runs a batch of 1"):
        draw(pipe, adapter.condition(make_tokens(adapter, people=2)), num_inference_steps=1, guidance_scale=1.0)


def test_guidance_switched_off_midway(pipe: Any) -> None:
    """The face goes on in the half that remains, and local mode in the same region."""
    from diffusers.callbacks import SDCFGCutoffCallback

    adapter = make_adapter(pipe).attach(pipe)
    tokens = make_tokens(adapter)
    seen: list[tuple[int, Tensor]] = []

    def spy(model: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        seen.append((len(args[0]), result[0].clone()))

    def run_through(scale: float, **more: Any) -> list[tuple[int, Tensor]]:
        seen.clear()
        callback = SDCFGCutoffCallback(cutoff_step_ratio=0.4)
        kwargs = adapter.condition(tokens, scale, **more)
        draw(pipe, kwargs, num_inference_steps=5, callback_on_step_end=callback)
        return list(seen)

    hook = pipe.unet.register_forward_hook(spy, with_kwargs=True)
    base, adapted, local = run_through(0.0), run_through(1.0), run_through(1.0, local=True)
    hook.remove()
    assert [b for b, _ in adapted] == [2, 2, 2, 1, 1, 1]
    assert [b for b, _ in local] == [2, 2, 2, 1, 1, 1]
    assert all((x - y).abs().max() > 1e-4 for (_, x), (_, y) in zip(adapted, base, strict=True))


def test_perturbed_attention_guidance(pipe: Any) -> None:
    from diffusers import AutoPipelineForText2Image

    adapter = make_adapter(pipe).attach(pipe)
    tokens = make_tokens(adapter)
    pag = AutoPipelineForText2Image.from_pipe(pipe, enable_pag=True, pag_applied_layers=["mid"])
    base = draw(pag, num_inference_steps=2, guidance_scale=5.0)
    assert np.array_equal(draw(pag, adapter.condition(tokens, 0.0), num_inference_steps=2, guidance_scale=5.0), base)
    null = type(tokens)(tokens.null, tokens.null)
    several = {"num_inference_steps": 2, "guidance_scale": 5.0, "num_images_per_prompt": 2}
    adapted = draw(pag, adapter.condition(tokens), **several)
    assert not np.allclose(adapted, draw(pag, adapter.condition(null), **several), atol=1e-4)
    off = {"num_inference_steps": 2, "guidance_scale": 1.0}
    guided, unguided = (draw(pag, adapter.condition(tokens, guidance=guidance), **off) for guidance in (True, False))
    np.testing.assert_allclose(guided, unguided, atol=1e-4)  # both parts carry the face


def test_instruct_pix2pix() -> None:
    """Three rows, of which the first carries the text, and so the face."""
    from diffusers import StableDiffusionInstructPix2PixPipeline

    from tiny import tiny_pipeline

    parts = tiny_pipeline(in_channels=8).components
    pipe = StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)
    adapter = make_adapter(pipe).attach(pipe)
    tokens = make_tokens(adapter)
    outputs: list[Tensor] = []
    hook = pipe.unet.register_forward_hook(lambda model, args, result: outputs.append(result[0]))
    options = {"image": Image.new("RGB", (64, 64), "teal"), "num_inference_steps": 1}
    for face, guidance in ((tokens, True), (type(tokens)(tokens.face, tokens.face), False)):
        draw(pipe, adapter.condition(face, guidance=guidance), **options)
    draw(pipe, adapter.condition(type(tokens)(tokens.null, tokens.null), guidance=False), **options)
    hook.remove()
    mixed, faces, nulls = outputs
    torch.testing.assert_close(mixed[0], faces[0])
    torch.testing.assert_close(mixed[1:], nulls[1:])
    assert not torch.allclose(faces, nulls, atol=1e-4)
