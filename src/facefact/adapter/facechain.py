"""The published adapter file (FaceChain-FACT `.ckpt`): the one place that knows its names.

local_fac_prj.<name>                     the resampler
<block>.attn2.processor.<name>           the adapter's layer in that transformer block
<block>.attn2.processor.ln.<name>        the base model's own norm2: not ours, ignored
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from facefact import checkpoint
from facefact.adapter.layer import AdapterLayers, LayerConfig
from facefact.types import UserError

RESAMPLER = "local_fac_prj."
LAYER = ".attn2.processor."
BASE_NORM = "ln."

log = logging.getLogger(__name__)


def split(state: Mapping[str, Tensor], *, source: str | Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The published file's tensors -> the resampler's, and the layers' as `<block>.<name>`; all keep their shapes.

    Its other entries, if any, were never read by the published code either; they are named in the log. source: the
    file, for errors. UserError: there is no resampler in it, or no layer.
    """
    resampler = {key[len(RESAMPLER) :]: value for key, value in state.items() if key.startswith(RESAMPLER)}
    layers, other = {}, []
    for key, value in state.items():
        block, mark, name = key.partition(LAYER)
        if mark and not name.startswith(BASE_NORM):
            layers[f"{block}.{name}"] = value
        elif not mark and not key.startswith(RESAMPLER):
            other.append(key)
    if other:
        log.warning("%s: ignored %d entries that belong to no adapter (%s, ...)", source, len(other), other[0])
    if not resampler or not layers:
        lack = RESAMPLER + "*" if not resampler else "*" + LAYER + "*"
        raise UserError(f"{source} is not a FaceChain-FACT adapter: it has no {lack} entries")
    return resampler, layers


def layers_from_state(state: Mapping[str, Tensor], *, source: str | Path) -> AdapterLayers:
    """The layers in float32, from what `split` made; the heads stay open: they are the host's. UserError: see
    `configs_from_state`; or a tensor is missing, too many or of another shape."""
    with torch.device("meta"):
        layers = AdapterLayers(configs_from_state(state, source=source))
    checkpoint.load_strictly(layers, state, source=source, dtype=torch.float32)
    return layers


def configs_from_state(state: Mapping[str, Tensor], *, source: str | Path) -> dict[str, LayerConfig]:
    """By block, sizes read off the shapes: linear.weight (width, token width), attn.to_q.weight (inner width, width),
    ff.net.2.weight (width, width * ff_mult). UserError: a layer lacks one of them."""
    mark = ".linear.weight"
    configs = {}
    for key in state:
        if not key.endswith(mark):
            continue
        block = key[: -len(mark)]
        try:
            width, token_width = state[key].shape
            configs[block] = LayerConfig(
                width=width,
                token_width=token_width,
                inner_width=state[f"{block}.attn.to_q.weight"].shape[0],
                ff_mult=state[f"{block}.ff.net.2.weight"].shape[1] // width,
            )
        except (KeyError, ValueError, IndexError) as error:
            raise UserError(f"{source}: the layer of {block} is not whole: {error}") from error
    return configs
