"""Where an adapter's layers sit in a model, and how the face's condition reaches them: one kind of model, one seam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from facefact.adapter.attachment import Attachment
from facefact.adapter.condition import FaceCondition
from facefact.adapter.layer import AdapterLayers, LayerConfig, within
from facefact.types import UserError


class Seam(Protocol):
    """What the rest of facefact asks of a kind of model. target: a pipeline or its model (see `denoiser`)."""

    def hosts(self, target: Any) -> dict[str, LayerConfig]:
        """The blocks that get a layer, by name, and the layer that fits each. UserError: the model has none."""
        ...

    def put(self, layers: AdapterLayers, target: Any) -> Attachment:
        """Put the layers into the model.

        UserError: the model has no place for them, has an adapter already, or is not the kind of base that they were
        made for.
        """
        ...

    def remove(self, target: Any) -> None:
        """Take whatever adapter is on the model off, and let its Attachment go; nothing happens when there is none."""
        ...

    def kwargs(self, condition: FaceCondition) -> dict[str, Any]:
        """What brings the condition to the layers: the keyword arguments for attention of a pipeline or model."""
        ...


def chosen(hosts: Mapping[str, LayerConfig], blocks: Sequence[str] | None) -> dict[str, LayerConfig]:
    """The hosts that carry the adapter. blocks: prefixes of their names (`down_blocks.1`, `mid_block`); None: all.
    UserError: no blocks, or one that names no host."""
    if blocks is None:
        return dict(hosts)
    if not blocks:
        raise UserError("adapter.blocks is empty: an adapter needs a block to sit in (null: all that read the text)")
    for prefix in blocks:
        if not any(within(name, [prefix]) for name in hosts):
            places = dict.fromkeys(name.partition(".transformer_blocks")[0] for name in hosts)
            raise UserError(
                f"adapter.blocks: no block that reads the text is in {prefix!r}; there are {', '.join(places)}"
            )
    return {name: config for name, config in hosts.items() if within(name, blocks)}


def token_width(hosts: Mapping[str, LayerConfig]) -> int:
    """Width of the tokens that the layers of all these blocks read. UserError: they read several widths."""
    widths = {config.token_width for config in hosts.values()}
    if len(widths) > 1:
        raise UserError(f"the model reads text of several widths ({sorted(widths)}): one adapter cannot serve it")
    return widths.pop()
