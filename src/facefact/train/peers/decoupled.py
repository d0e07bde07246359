"""IP-Adapter (Ye et al. 2023) as a face adapter: cross-attention to the face's tokens beside that to the text, by
diffusers' own processors.

    x = x + Attention(q, text) + s * Attention(q, face)

Trainer, pipelines and judges ask of it what they ask of FACT, and get it in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from torch import Tensor, nn

from facefact import checkpoint
from facefact.adapter import denoiser, token_width
from facefact.adapter.layer import fill_batch
from facefact.adapter.unet_seam import layer_configs
from facefact.config import from_tree
from facefact.encoder import Resampler, ResamplerConfig, TransFace, TransFaceConfig
from facefact.face_adapter import FaceAdapter
from facefact.train.peers.config import FORMAT, VERSION, PeerConfig, save_peer
from facefact.train.peers.global_face import GlobalFace
from facefact.train.peers.last_layer import LastLayerAdapter
from facefact.types import FaceTokens, UserError

SLOT = "facefact_peer"  # of `cross_attention_kwargs`


class PeerCondition(NamedTuple):
    """rows: (r, m, width) tokens, half of them the null face's under guidance. scale: of what is added."""

    rows: Tensor
    scale: float


class FaceInput(nn.Module):
    """In the place of the U-Net's `encoder_hid_proj`: the face's tokens as its processors want them."""

    def forward(self, tokens: Tensor) -> list[Tensor]:
        return [tokens]


class DecoupledAdapter(FaceAdapter):
    """A peer in the place of a FaceAdapter: tokens of a face, and for every cross-attention two projections of them.

    layers: by the names of the cross-attentions, with a `/` for each `.`. What it lacks is refused: scales by block,
    a start and an end, local mode, regions.
    """

    def __init__(
        self, *, encoder: TransFace, peer: PeerConfig, resampler: Resampler | GlobalFace, widths: Mapping[str, int]
    ) -> None:
        nn.Module.__init__(self)
        self.encoder = encoder.requires_grad_(False)
        self.peer, self.widths = peer, dict(widths)
        self.resampler: Any = resampler
        self.token_width = resampler.config.output_width
        self.layers: Any = nn.ModuleDict(
            {
                name.replace(".", "/"): IPAdapterAttnProcessor2_0(
                    width, self.token_width, num_tokens=(resampler.config.queries,)
                )
                for name, width in self.widths.items()
            }
        )
        self.about: dict[str, Any] = {}
        self._model: nn.Module | None = None
        self._undo: Any = None
        self.train(self.training)

    @classmethod
    def fresh(
        cls, host: Any, *, encoder: TransFace, peer: PeerConfig, resampler_config: ResamplerConfig | None = None
    ) -> DecoupledAdapter:
        """For a pipeline or model, to be trained; attached to nothing yet. What is added starts at nothing: the values'
        projections are 0, as FACT's gates may be."""
        peer.check()
        configs = layer_configs(host)
        width = token_width(configs)
        config = resampler_config or replace(ResamplerConfig(), input_width=encoder.config.width, output_width=width)
        made = cls(
            encoder=encoder,
            peer=peer,
            resampler=_reader(encoder, peer, config, width),
            widths={f"{block}.attn2": one.width for block, one in configs.items()},
        )
        for layer in made.layers.values():
            nn.init.zeros_(layer.to_v_ip[0].weight)
        return made

    # Load, save

    @classmethod
    def from_pretrained(cls, source: str | Path, **_: Any) -> DecoupledAdapter:  # type: ignore[override]
        """From a directory that `save_pretrained` wrote, for use. UserError: it is none."""
        config = checkpoint.read_config(Path(source))
        if config.get("format") != FORMAT or config.get("version") != VERSION:
            raise UserError(f"{source} is no peer of version {VERSION}: its {checkpoint.CONFIG} does not say {FORMAT}")
        encoder = TransFace(from_tree(TransFaceConfig, config["encoder"], where="encoder."))
        peer = from_tree(PeerConfig, config["peer"], where="peer.")
        resampler = config["resampler"] and from_tree(ResamplerConfig, config["resampler"], where="resampler.")
        made = cls(
            encoder=encoder,
            peer=peer,
            resampler=_reader(encoder, peer, resampler, config["token_width"]),
            widths=config["widths"],
        )
        state, _ = checkpoint.load(Path(source))
        checkpoint.load_strictly(made, state, source=source, dtype=torch.float32)
        made.about = dict(config.get("about", {}))
        return made.eval()

    def save_pretrained(
        self, directory: str | Path, *, dtype: torch.dtype | None = None, about: Mapping[str, Any] | None = None
    ) -> None:
        """As `FaceAdapter.save_pretrained`."""
        parts = {
            "resampler": asdict(self.resampler.config) if isinstance(self.resampler, Resampler) else None,
            "token_width": self.token_width,
            "widths": self.widths,
        }
        save_peer(self, directory, parts, dtype=dtype, about=self.about if about is None else about)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None, "_undo": None}

    # Inside the base model

    def attach(self, target: Any) -> DecoupledAdapter:
        """Put the processors into a pipeline's U-Net, or a bare one. UserError: it has no such cross-attentions, or
        reads other tokens (an IP-Adapter) already."""
        model: Any = denoiser(target)
        if self._model is model:
            return self
        if self._model is not None:
            raise UserError("the adapter is attached to another model: detach() it first")
        before = dict(model.attn_processors)
        if missing := sorted(name for name in self.widths if f"{name}.processor" not in before):
            raise UserError(f"the model has no cross-attention {missing[0]}: this peer was made for another")
        if getattr(model, "encoder_hid_proj", None) is not None:
            raise UserError("the model reads other tokens already (an IP-Adapter?): unload it first")
        kind = model.config.encoder_hid_dim_type
        ours = {f"{name}.processor": layer for name, layer in zip(self.widths, self.layers.values(), strict=True)}
        model.set_attn_processor(before | ours)
        model.encoder_hid_proj = FaceInput()
        model.register_to_config(encoder_hid_dim_type="ip_image_proj")
        hook = model.register_forward_pre_hook(self._before, with_kwargs=True)

        def undo() -> None:
            hook.remove()
            model.set_attn_processor(before)
            model.encoder_hid_proj = None
            model.register_to_config(encoder_hid_dim_type=kind)

        self._model, self._undo = model, undo
        weight = next(p for p in model.parameters() if p.is_floating_point())
        self.to(weight.device)
        if not self.training:
            self.layers.to(weight.dtype)
        return self

    def detach(self) -> DecoupledAdapter:
        if self._undo is not None:
            self._undo()
        self._model = self._undo = None
        return self

    @property
    def attached(self) -> nn.Module | None:
        return self._model

    @property
    def arrived(self) -> bool:
        return self._model is not None

    def condition(  # type: ignore[override]
        self, tokens: FaceTokens, scale: float = 1.0, guidance: bool = True, **others: Any
    ) -> dict[str, Any]:
        """The `cross_attention_kwargs` of a call, as FaceAdapter's. UserError: what a peer lacks is asked for."""
        usual = {"start": 0.0, "end": 1.0, "local": False}
        if asked := sorted(name for name, value in others.items() if value != usual.get(name)):
            raise UserError(f"a peer has no {asked[0]}: it acts in the whole picture, in every step")
        if not isinstance(tokens, FaceTokens) or not isinstance(scale, (int, float)):
            raise UserError("a peer reads one person in each picture, at one scale")
        rows = torch.cat([tokens.null.expand_as(tokens.face), tokens.face]) if guidance else tokens.face
        return {SLOT: PeerCondition(rows, float(scale))}

    def record(self) -> AbstractContextManager[list[Any]]:
        """Nothing: there are no increments that FAIR could read."""
        return nullcontext([])

    def gates(self) -> list[nn.Parameter]:
        """A peer has none."""
        return []

    def trainable_parameters(self) -> list[nn.Parameter]:
        return [*self.resampler.parameters(), *self.layers.parameters()]

    @property
    def device(self) -> torch.device:
        return next(self.resampler.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.resampler.parameters()).dtype

    def _before(
        self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The condition moves to where the processors look for it; without one, tokens that count nothing."""
        asked = dict(kwargs.get("cross_attention_kwargs") or {})
        condition = asked.pop(SLOT, None)
        sample: Tensor = args[0] if args else kwargs["sample"]
        if condition is None:
            first = next(iter(self.layers.values()))
            condition = PeerCondition(sample.new_zeros(len(sample), first.num_tokens[0], self.token_width), 0.0)
        weight = next(iter(self.layers.values())).to_k_ip[0].weight
        for layer in self.layers.values():
            layer.scale = [condition.scale]
        rows = fill_batch(condition.rows.to(weight.device, weight.dtype), len(sample))
        added = {**(kwargs.get("added_cond_kwargs") or {}), "image_embeds": rows}
        return args, kwargs | {"cross_attention_kwargs": asked or None, "added_cond_kwargs": added}


def learned_weights(adapter: FaceAdapter) -> int:
    """How many numbers a training of it changes."""
    return sum(weight.numel() for weight in adapter.trainable_parameters())


def open_adapter(directory: str | Path) -> FaceAdapter:
    """A FaceAdapter or a peer, as its config says. UserError: neither."""
    config = checkpoint.read_config(Path(directory))
    if config.get("format") != FORMAT:
        return FaceAdapter.from_pretrained(directory)
    kind = LastLayerAdapter if "layers" in config else DecoupledAdapter
    return kind.from_pretrained(directory)


def _reader(encoder: TransFace, peer: PeerConfig, config: ResamplerConfig | None, width: int) -> Resampler | GlobalFace:
    """What makes the tokens of a face."""
    if peer.kind == "faceid":
        return GlobalFace(encoder, tokens=peer.tokens, hidden=peer.hidden, output_width=width)
    if config is None or config.output_width != width:
        raise UserError(f"the resampler's tokens must be {width} wide, as the model's text is")
    return Resampler(config)
