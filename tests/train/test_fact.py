"""The adapter's stage: it starts as the base model, and only resampler and layers learn."""

from __future__ import annotations

import pytest
import torch
from parts import base, fact_stage, portraits

from facefact.train.base_model import BaseStage, new_scheduler
from facefact.train.fact import FactConfig
from facefact.train.portrait_set import batches


def one_batch(tokenizer, **options):
    return next(batches(portraits(), tokenizer, batch=6, seed=5, **options)(0))


def test_with_closed_gates_the_loss_is_the_base_models() -> None:
    unet, text_encoder, tokenizer = base()
    batch = one_batch(tokenizer)
    torch.manual_seed(9)
    with torch.no_grad():
        before = BaseStage(unet, text_encoder, new_scheduler())(batch)
    torch.manual_seed(9)
    after = fact_stage(unet, text_encoder, FactConfig(face_weight=1.0))
    torch.manual_seed(9)
    with torch.no_grad():
        terms = after(batch)
    torch.testing.assert_close(terms["diffusion"], before["loss"])
    assert float(terms["fair"]) < 1e-3
    assert float(terms["gates"]) == 0


def test_only_resampler_and_layers_learn() -> None:
    unet, text_encoder, tokenizer = base()
    stage = fact_stage(unet, text_encoder, FactConfig(fair_from=0), gate=0.3)
    stage(one_batch(tokenizer))["loss"].backward()
    learning = {name for name, p in stage.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    wanted = {name for name, p in stage.named_parameters() if any(p is q for q in stage.adapter.trainable_parameters())}
    assert learning <= wanted
    heads = {name.split(".")[1] for name in learning}
    assert heads == {"resampler", "layers"}
    assert {name for name, p in stage.named_parameters() if p.requires_grad} == wanted
    assert all(p.grad is None for p in [*unet.parameters(), *text_encoder.parameters()] if not p.requires_grad)
    assert not any(p.requires_grad for p in stage.adapter.encoder.parameters())


def test_closed_gates_can_open() -> None:
    """At 0 the layers' weights see no gradient, but the gates do."""
    unet, text_encoder, tokenizer = base()
    stage = fact_stage(unet, text_encoder, FactConfig())
    stage(one_batch(tokenizer))["loss"].backward()
    for name, parameter in stage.adapter.layers.named_parameters():
        moves = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert moves == ("alpha_" in name), name


def test_fair_joins_the_loss_at_its_step() -> None:
    unet, text_encoder, tokenizer = base()
    stage = fact_stage(unet, text_encoder, FactConfig(fair=0.5, fair_from=2), gate=0.3)
    batch = one_batch(tokenizer)
    for step in range(4):
        with torch.no_grad():
            terms = stage(batch)
        weight = 0.5 if step >= 2 else 0.0
        assert float(terms["loss"]) == pytest.approx(float(terms["diffusion"] + weight * terms["fair"]), rel=1e-6)
    assert int(stage.step) == 4


def test_a_dropped_face_is_the_published_null_face() -> None:
    """All faces dropped: the loss does not depend on whose faces they were."""
    unet, text_encoder, tokenizer = base()
    stage = fact_stage(unet, text_encoder, FactConfig(), gate=0.5)
    batch = one_batch(tokenizer)
    losses = {}
    for dropped in (True, False):
        for name, tokens in (("own", batch["tokens"]), ("other", batch["tokens"].flip(0))):
            torch.manual_seed(2)
            given = batch | {"tokens": tokens, "face_dropped": torch.full((6,), dropped)}
            losses[dropped, name] = float(stage(given)["diffusion"].detach())
    assert losses[True, "own"] == losses[True, "other"]
    assert losses[False, "own"] != losses[False, "other"]


def test_the_face_counts_as_often_as_it_is_weighted() -> None:
    """Where all is face, or nothing is, the weight cancels; in between it moves the loss towards the face's own."""
    unet, text_encoder, tokenizer = base()
    batch = one_batch(tokenizer)
    losses = {}
    for weight in (1.0, 4.0):
        stage = fact_stage(unet, text_encoder, FactConfig(face_weight=weight))
        for share in (0.0, 1.0):
            torch.manual_seed(3)
            losses[weight, share] = float(stage(batch | {"face": torch.full((6, 16, 16), share)})["diffusion"].detach())
        stage.adapter.detach()
    assert losses[4.0, 0.0] == pytest.approx(losses[1.0, 0.0], rel=1e-5)
    assert losses[4.0, 1.0] == pytest.approx(losses[1.0, 1.0], rel=1e-5)
