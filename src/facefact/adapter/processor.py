"""The adapter's attention kernel for the base model too: one switch, off by default."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from facefact.adapter.attention import attention
from facefact.adapter.host import denoiser


class FastAttnProcessor:
    """Stands where diffusers' AttnProcessor2_0 stood, and is exact as that is.

    before: the processor that it replaced. diffusers makes a new one without arguments when it loads an IP-Adapter.
    """

    def __init__(self, before: Any = None) -> None:
        from diffusers.models.attention_processor import AttnProcessor2_0

        self.before = before or AttnProcessor2_0()

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
        if attention_mask is not None or hidden_states.ndim != 3:
            return self.before(attn, hidden_states, encoder_hidden_states, attention_mask, temb, *args, **kwargs)
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        y = attention(attn.to_q(hidden_states), [attn.to_k(seen)], [attn.to_v(seen)], heads=attn.heads)
        for part in attn.to_out:
            y = part(y)
        return y


def fast_attention(target: Any, *, enable: bool = True) -> int:
    """Let a pipeline (its ControlNet too) or a model compute its own attention by `facefact.adapter.attention`.

    Only the plain attention of diffusers changes hands; processors that others put there (IP-Adapter's, sliced, fused
    ones) stay. enable=False gives every module back the very processor that it had. Returns how many modules changed.
    """
    from diffusers.models.attention_processor import Attention

    controlnet = None if isinstance(target, nn.Module) else getattr(target, "controlnet", None)
    models = [denoiser(target), *([controlnet] if isinstance(controlnet, nn.Module) else [])]
    changed = 0
    for attn in (module for model in models for module in model.modules() if isinstance(module, Attention)):
        if enable and _is_plain(attn):
            attn.set_processor(FastAttnProcessor(attn.processor))
        elif not enable and isinstance(attn.processor, FastAttnProcessor):
            attn.set_processor(attn.processor.before)
        else:
            continue
        changed += 1
    return changed


def _is_plain(attn: Any) -> bool:
    """Whether the module does no more than the method's formula between its projections."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    extras = (attn.spatial_norm, attn.group_norm, attn.norm_q, attn.norm_k, attn.norm_cross, attn.residual_connection)
    return type(attn.processor) is AttnProcessor2_0 and not any(extras) and attn.rescale_output_factor == 1
