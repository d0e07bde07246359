"""Each region of a picture reads a text of its own, in the same pass of the model.

The texts of the whole picture and of each person are one text, one after the other; in cross-attention each latent
token sees its own person's part alone, and the whole picture's outside of all regions. That is the way in which the
adapter's layers tell people apart (`regions`), and it costs as little: the few text tokens more, as keys.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facefact.adapter.attention import attention
from facefact.adapter.denoiser import denoiser, transformer_blocks
from facefact.adapter.fast import FastAttnProcessor, is_plain_attention
from facefact.adapter.regions import Regions
from facefact.types import UserError


@dataclass
class Place:
    """Where the texts hold in this pass. regions: of the whole picture's text and each person's."""

    regions: Regions


class RegionalAttnProcessor:
    """Stands where diffusers' AttnProcessor2_0 stood in a cross-attention. place: which query reads which part."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """hidden_states: (b, n, c), encoder_hidden_states: (b, texts * m, c') -> (b, n, c)."""
        assert encoder_hidden_states is not None
        if attention_mask is not None:
            raise UserError("regional texts and a mask of the text's tokens do not work together")
        shares = self.place.regions.shares(hidden_states.shape[1])
        keys, values = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        owner = torch.arange(keys.shape[1], device=keys.device) // (keys.shape[1] // shares.logs.shape[-1])
        y = attention(attn.to_q(hidden_states), [keys], [values], heads=attn.heads, shares=shares.logs, owner=owner)
        for part in attn.to_out:
            y = part(y)
        return y


@contextlib.contextmanager
def regional_text(target: Any, masks: Sequence[Tensor], *, copies: int = 1) -> Iterator[None]:
    """While a pipeline or model is called with texts (b, (1 + people) * m, width): the whole picture's, each person's.

    masks: of each person, as in Region. copies: how often the batch holds the pictures (2 under guidance), where masks
    are of several. UserError:
    something else sits in the model's cross-attention.
    """
    model = denoiser(target)
    place = Place(text_regions(masks))
    attentions = [block.attn2 for block in transformer_blocks(model).values() if block.attn2 is not None]
    replaced = [one.processor for one in attentions]
    for one in attentions:
        if not (isinstance(one.processor, FastAttnProcessor) or is_plain_attention(one)):
            raise UserError(
                f"regional texts need the model's stock cross-attention, and {type(one.processor).__name__} is there"
            )
    name = list(inspect.signature(type(model).forward).parameters)[1]

    def before(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        latents = args[0] if args else kwargs[name]
        place.regions = place.regions.in_pass(tuple(latents.shape), copies)

    hook = model.register_forward_pre_hook(before, with_kwargs=True)
    try:
        for one in attentions:
            one.set_processor(RegionalAttnProcessor(place))
        yield
    finally:
        hook.remove()
        for one, processor in zip(attentions, replaced, strict=True):
            one.set_processor(processor)


def text_regions(masks: Sequence[Tensor]) -> Regions:
    """Of the whole picture's text, which holds where nobody is, and of each person's."""
    size = max(mask.shape[-2] for mask in masks), max(mask.shape[-1] for mask in masks)
    people = [F.interpolate(mask.float().reshape(-1, 1, *mask.shape[-2:]), size, mode="area")[:, 0] for mask in masks]
    several = max(len(one) for one in people)
    nobody = (1 - torch.stack([one.expand(several, -1, -1) for one in people]).sum(0)).clamp(min=0)
    return Regions((nobody, *people), torch.ones(1 + len(people), device=nobody.device), torch.zeros(0))
