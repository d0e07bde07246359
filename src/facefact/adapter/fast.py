"""The adapter's exact kernels for the base model too: one switch, off by default."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from facefact.adapter.attention import attention
from facefact.adapter.denoiser import denoiser
from facefact.adapter.feed_forward import geglu_network, row_blocks_are_faster
from facefact.adapter.linear import FastLinear, is_bare

LAYOUT_MARK = "_facefact_channels_last"  # marks the convolutions whose layout is ours


class FastAttnProcessor:
    """Stands where diffusers' AttnProcessor2_0 stood, and is exact as that is.

    replaced: the processor that it replaced. diffusers makes a new one without arguments when it loads an IP-Adapter.
    """

    def __init__(self, replaced: Any = None) -> None:
        from diffusers.models.attention_processor import AttnProcessor2_0

        self.replaced = replaced or AttnProcessor2_0()

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """hidden_states: (b, n, c), encoder_hidden_states: (b, m, c') or None for self-attention -> (b, n, c). With a
        mask, or for pictures (b, c, h, w), the replaced processor does it."""
        if attention_mask is not None or hidden_states.ndim != 3:
            return self.replaced(attn, hidden_states, encoder_hidden_states, attention_mask, temb, *args, **kwargs)
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        y = attention(attn.to_q(hidden_states), [attn.to_k(source)], [attn.to_v(source)], heads=attn.heads)
        for part in attn.to_out:
            y = part(y)
        return y


class FastFeedForward:
    """Stands, as the attribute `forward` of diffusers' FeedForward, before the method of that name."""

    def __init__(self, ff: Any) -> None:
        self.ff = ff

    def __call__(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """hidden_states: (..., width) -> the same."""
        proj, out = self.ff.net[0].proj, self.ff.net[2]
        if row_blocks_are_faster(hidden_states) and is_bare(proj, hidden_states) and proj.bias is not None:
            return geglu_network(hidden_states, proj, out)
        return type(self.ff).forward(self.ff, hidden_states, *args, **kwargs)


def fast_kernels(target: Any, *, enable: bool = True) -> int:
    """Let a pipeline (its ControlNet too) or a model compute in the ways that were measured to be fastest, with the
    same numbers but for rounding: attention, feed-forward networks and linear layers as `facefact.adapter.attention`,
    `.feed_forward` and `.linear` do, convolutions channels-last.

    Only the plain modules of diffusers change hands; processors that others put there (IP-Adapter's, sliced, fused
    ones) stay. enable=False gives every module back what it had. Returns how many modules changed.
    """
    controlnet = None if isinstance(target, nn.Module) else getattr(target, "controlnet", None)
    models = [denoiser(target), *([controlnet] if isinstance(controlnet, nn.Module) else [])]
    switch = _switch_on if enable else _switch_off
    return sum(switch(module) for model in models for module in model.modules())


def _switch_on(module: Any) -> bool:
    """Whether it changed."""
    from diffusers.models.attention import FeedForward
    from diffusers.models.attention_processor import Attention

    if isinstance(module, Attention) and is_plain_attention(module):
        module.set_processor(FastAttnProcessor(module.processor))
    elif type(module) is FeedForward and _is_plain_geglu(module):
        module.forward = FastFeedForward(module)
    elif _is_plain_linear(module):
        module.forward = FastLinear(module)
    elif _is_plain_convolution(module):
        module.to(memory_format=torch.channels_last)
        setattr(module, LAYOUT_MARK, True)
    else:
        return False
    return True


def _switch_off(module: Any) -> bool:
    """Whether it changed."""
    if isinstance(getattr(module, "processor", None), FastAttnProcessor):
        module.set_processor(module.processor.replaced)
    elif isinstance(module.__dict__.get("forward"), (FastFeedForward, FastLinear)):
        del module.forward
    elif module.__dict__.get(LAYOUT_MARK):
        module.to(memory_format=torch.contiguous_format)
        delattr(module, LAYOUT_MARK)
    else:
        return False
    return True


def is_plain_attention(attn: Any) -> bool:
    """Whether the module does no more than the method's formula between its projections."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    extras = (attn.spatial_norm, attn.group_norm, attn.norm_q, attn.norm_k, attn.norm_cross, attn.residual_connection)
    return type(attn.processor) is AttnProcessor2_0 and not any(extras) and attn.rescale_output_factor == 1


def _is_plain_geglu(ff: Any) -> bool:
    from diffusers.models.activations import GEGLU

    return type(ff.net[0]) is GEGLU and len(ff.net) == 3 and "forward" not in ff.__dict__


def _is_plain_linear(layer: Any) -> bool:
    return type(layer) is nn.Linear and "forward" not in layer.__dict__


def _is_plain_convolution(conv: Any) -> bool:
    """And laid out with its last dimension together, not its channels. (Of kernels of one pixel `is_contiguous` says
    both, but PyTorch goes by the strides: left out, they cost 5 % of a call.)"""
    return type(conv) is nn.Conv2d and conv.in_channels > 1 and conv.weight.stride(3) == 1
