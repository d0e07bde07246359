"""Each region reads its own text; where all read one, it is that text's picture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hosts import make_adapter, make_host, make_tokens
from torch import Tensor

from facefact import UserError
from facefact.adapter import Region, fast_kernels
from facefact.adapter.regional_text import RegionalAttnProcessor, regional_text

LEFT, RIGHT = torch.zeros(2, 8, 8)
LEFT[:, :4], RIGHT[:, 4:] = 1, 1


def texts(count: int) -> list[Tensor]:
    """(1, 7, 12) each."""
    return list(torch.randn(count, 1, 7, 12, generator=torch.Generator().manual_seed(1)))


@torch.no_grad()
def call(host: Any, text: Tensor, **kwargs: Any) -> Tensor:
    """text: (1, m, 12)."""
    sample = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    return host(sample, 500, encoder_hidden_states=text, **kwargs).sample


def seen(host: Any, text: Tensor) -> list[Tensor]:
    """What the first cross-attention gives: (1, 8, 8, c)."""
    kept: list[Tensor] = []
    attention = host.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    hook = attention.register_forward_hook(lambda module, args, y: kept.append(y.unflatten(1, (8, 8))))
    call(host, text)
    hook.remove()
    return kept


@pytest.mark.parametrize("fast", [False, True])
def test_each_place_reads_its_own_text(fast: bool) -> None:
    host = make_host()
    if fast:
        fast_kernels(host)
    whole, one, other = texts(3)
    half = LEFT.clone()
    half[4:] = 0
    with regional_text(host, [half, RIGHT], copies=1):
        (got,) = seen(host, torch.cat([whole, one, other], 1))
    (first,), (second,), (rest,) = (seen(host, text) for text in (one, other, whole))
    torch.testing.assert_close(got[:, :4, :4], first[:, :4, :4], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(got[:, :, 4:], second[:, :, 4:], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(got[:, 4:, :4], rest[:, 4:, :4], atol=1e-6, rtol=1e-5)


def test_one_text_for_all_is_that_text() -> None:
    host = make_host()
    (text,) = texts(1)
    alone = call(host, text)
    overlapping = torch.ones(8, 8)
    with regional_text(host, [LEFT, overlapping], copies=1):
        torch.testing.assert_close(call(host, text.repeat(1, 3, 1)), alone, atol=1e-5, rtol=1e-5)
    assert torch.equal(call(host, text), alone), "and afterwards the model is as it was"
    assert not any(isinstance(one, RegionalAttnProcessor) for one in host.attn_processors.values())


def test_with_faces_in_the_same_places() -> None:
    """Swapping two people, faces and texts, swaps what the halves read."""
    host = make_host()
    adapter = make_adapter(host).attach(host)
    whole, one, other = texts(3)
    faces = [make_tokens(adapter, seed=seed) for seed in (1, 2)]

    def picture(order: tuple[int, int], masks: list[Tensor]) -> Tensor:
        regions = [Region(mask, faces[i]) for i, mask in zip(order, masks, strict=True)]
        kwargs = adapter.condition(regions, guidance=False)
        text = torch.cat([whole, *((one, other)[i] for i in order)], 1)
        with regional_text(host, masks, copies=1):
            return call(host, text, cross_attention_kwargs=kwargs)

    straight = picture((0, 1), [LEFT, RIGHT])
    torch.testing.assert_close(picture((1, 0), [RIGHT, LEFT]), straight, atol=1e-5, rtol=1e-5)
    assert (picture((1, 0), [LEFT, RIGHT]) - straight).abs().max() > 1e-3


def test_what_sits_there_already_is_not_thrown_out() -> None:
    from diffusers.models.attention_processor import SlicedAttnProcessor

    host = make_host()
    host.mid_block.attentions[0].transformer_blocks[0].attn2.set_processor(SlicedAttnProcessor(1))
    with pytest.raises(UserError, match="SlicedAttnProcessor is there"), regional_text(host, [LEFT], copies=1):
        pass
