"""FaceAdapter: encoder, resampler and adapter layers as one thing that a diffusers user loads, attaches and calls.

adapter = FaceAdapter.from_pretrained(path_or_hub_id).attach(pipe)
face = adapter.encode("me.jpg")
image = pipe("in a red coat", cross_attention_kwargs=adapter.condition(face, scale=0.7)).images[0]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import facefact.adapter.facechain as facechain_adapter
import facefact.encoder.facechain as facechain_encoder
from facefact import checkpoint, hub
from facefact.adapter import (
    UNET,
    AdapterLayers,
    Attachment,
    Increment,
    LayerConfig,
    Local,
    Seam,
    chosen,
    denoiser,
    make_condition,
    token_width,
)
from facefact.adapter.regions import Region, gathered
from facefact.config import from_tree
from facefact.encoder import Resampler, ResamplerConfig, TransFace, TransFaceConfig
from facefact.types import FaceCrop, FaceTokens, UserError

if TYPE_CHECKING:
    from typing_extensions import Self

FORMAT = "facefact.FaceAdapter"
VERSION = 1


class FaceAdapter(nn.Module):
    """The whole of FACT but for the base model.

    encoder: pixels (n, 3, 112, 112) in [-1, 1] -> (n, 144, 512), frozen. resampler: -> (n, 16, 768). layers: one per
    transformer block of the base model. (Sizes of the published adapter; they are settings.) seam: where the layers sit
    in the kind of base model that they were made for.
    """

    def __init__(self, *, encoder: TransFace, resampler: Resampler, layers: AdapterLayers, seam: Seam = UNET) -> None:
        super().__init__()
        if encoder.config.width != resampler.config.input_width:
            raise UserError(
                f"the encoder's tokens are {encoder.config.width} wide, the resampler reads "
                f"{resampler.config.input_width}"
            )
        for name, config in layers.configs.items():
            if config.token_width != resampler.config.output_width:
                raise UserError(
                    f"the resampler's tokens are {resampler.config.output_width} wide, the layer of {name} reads "
                    f"{config.token_width}"
                )
        self.encoder = encoder.requires_grad_(False)
        self.resampler = resampler
        self.layers = layers
        self.seam = seam
        self.about: dict[str, Any] = {}
        self._attachment: Attachment | None = None
        self.train(self.training)

    # Make, load, save

    @classmethod
    def new(
        cls,
        host: Any,
        *,
        encoder: TransFace,
        resampler_config: ResamplerConfig | None = None,
        gate: float = 0.0,
        blocks: Sequence[str] | None = None,
        seam: Seam = UNET,
    ) -> Self:
        """A fresh adapter for a pipeline or model, to be trained; it is not attached yet.

        resampler_config: None for the published one between this encoder and this host's text. gate: where the gates
        start; at 0 the adapter starts as the identity. blocks: those that carry the adapter, by the beginning of their
        names (`down_blocks.1`, `mid_block`, `up_blocks.1.attentions.2`); None for all that read the text.
        """
        configs = chosen(seam.hosts(host), blocks)
        width = token_width(configs)
        config = resampler_config or replace(ResamplerConfig(), input_width=encoder.config.width, output_width=width)
        if config.output_width != width:
            raise UserError(f"resampler output_width is {config.output_width}, the model's text is {width} wide")
        layers = AdapterLayers(configs, gate=gate, blocks=blocks)
        return cls(encoder=encoder, resampler=Resampler(config), layers=layers, seam=seam)

    @classmethod
    def from_facechain(
        cls,
        adapter: str | Path,
        encoder: str | Path,
        *,
        encoder_config: TransFaceConfig | None = None,
        resampler_config: ResamplerConfig | None = None,
    ) -> Self:
        """From the two published files (FaceChain-FACT's `.ckpt` and TransFace's `.pt`), in float32, for use.

        The configs are read off the tensors; give one where its heads are not 64 wide.
        """
        vit = facechain_encoder.encoder_from_state(
            checkpoint.load_torch(encoder), source=encoder, config=encoder_config
        )
        resampler, layers = facechain_adapter.split(checkpoint.load_torch(adapter), source=adapter)
        return cls(
            encoder=vit,
            resampler=facechain_encoder.resampler_from_state(resampler, source=adapter, config=resampler_config),
            layers=facechain_adapter.layers_from_state(layers, source=adapter),
        ).eval()

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        dtype: torch.dtype | None = torch.float32,
        revision: str | None = None,
        local_files_only: bool = False,
        seam: Seam = UNET,
    ) -> Self:
        """From a directory that `save_pretrained` wrote, or from the hub ("owner/name"), for use (`eval` mode). dtype:
        of the weights; None: as they are stored."""
        directory = hub.directory(
            source,
            allow_patterns=[checkpoint.WEIGHTS, checkpoint.CONFIG],
            revision=revision,
            local_files_only=local_files_only,
        )
        config = checkpoint.read_config(directory)
        if config.get("format") != FORMAT:
            raise UserError(f"{source} is not a face adapter: its {checkpoint.CONFIG} does not say {FORMAT}")
        if config.get("version") != VERSION:
            raise UserError(f"{source} has format version {config.get('version')}, this facefact reads {VERSION}")
        state, _ = checkpoint.load(directory)
        with torch.device("meta"):
            adapter = cls(**_parts(config), seam=seam)
        checkpoint.load_strictly(adapter, state, source=source, dtype=dtype)
        adapter.about = dict(config.get("about", {}))
        return adapter.eval()

    def save_pretrained(
        self, directory: str | Path, *, dtype: torch.dtype | None = None, about: Mapping[str, Any] | None = None
    ) -> None:
        """Write model.safetensors and config.json. dtype: to store the weights in; None keeps theirs. about: what is
        worth knowing of them (recipe, base model, scores), any JSON; None keeps `self.about`."""
        state = {k: v.to(dtype) if dtype and v.is_floating_point() else v for k, v in self.state_dict().items()}
        config = {
            "format": FORMAT,
            "version": VERSION,
            "encoder": asdict(self.encoder.config),
            "resampler": asdict(self.resampler.config),
            "blocks": None if self.layers.carrying is None else list(self.layers.carrying),
            "layers": {name: asdict(layer) for name, layer in self.layers.configs.items()},
            "about": dict(self.about if about is None else about),
        }
        checkpoint.save(directory, state, config)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_attachment": None}  # a copy is attached to nothing

    def with_blocks(self, blocks: Sequence[str]) -> Self:
        """The same adapter with the layers of these blocks alone, which it shares with this one; it is attached to
        nothing. blocks: as in `new`. UserError: one of them has no layer."""
        kept = chosen(self.layers.configs, blocks)
        with torch.device("meta"):
            layers = AdapterLayers(kept, blocks=blocks)
        for name in kept:
            parent, _, last = name.rpartition(".")
            layers.get_submodule(parent).add_module(last, self.layers[name])
        made = type(self)(encoder=self.encoder, resampler=self.resampler, layers=layers, seam=self.seam)
        made.about = dict(self.about)
        return made.train(self.training)

    def without(self, blocks: Sequence[str]) -> Self:
        """The same with the layers of all other blocks: in these the base model does what it does without a face.
        UserError: one of them has no layer, or none is left."""
        return self.with_blocks(self.layers.outside(blocks))

    # Photos -> tokens

    @torch.no_grad()
    def encode(self, pictures: Any, *, detector: Any = None, which: int = 0) -> FaceTokens:
        """Photos of one person (one, or a list of n: picture, path or FaceCrop) -> FaceTokens, each (1, 16 * n, width).

        detector, which: as `facefact.faces.face_crop`: how to find faces, and which one counts (0: the largest).
        """
        several = isinstance(pictures, Sequence) and not isinstance(pictures, (str, bytes))
        crops = [_crop(picture, detector, which) for picture in (pictures if several else [pictures])]
        if not crops:
            raise UserError("no picture of the person was given")
        return self.tokens(torch.stack([crop_pixels(crop) for crop in crops]))

    def tokens(self, pixels: Tensor) -> FaceTokens:
        """Aligned faces of one person (n, 3, 112, 112) RGB in [-1, 1] -> FaceTokens, each (1, 16 * n, width).

        In training gradients reach the resampler (never the encoder); for use (`eval` mode) there are none.
        """
        size = self.encoder.config.image_size
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, size, size) or not len(pixels):
            raise UserError(f"faces must be (n, 3, {size}, {size}), n >= 1, not {tuple(pixels.shape)}")
        with torch.no_grad():
            weight = self.encoder.pos_embed
            local = self.encoder(pixels.to(weight.device, weight.dtype))
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.training):
            face = self.resampler(local.to(self.device, self.dtype))
            return FaceTokens(face=face.flatten(0, 1)[None], null=self.null_tokens(len(pixels)))

    def null_tokens(self, pictures: int = 1) -> Tensor:
        """The resampler's answer to all-zero encoder tokens, the condition "no face": (1, 16 * pictures, width)."""
        config = self.encoder.config
        zeros = torch.zeros(1, config.tokens, config.width, device=self.device, dtype=self.dtype)
        return self.resampler(zeros).repeat(1, pictures, 1)

    forward = tokens

    # Inside the base model

    def attach(self, target: Any) -> Self:
        """Put the layers into a pipeline or model, and go to its device. Again on the same one: nothing happens.

        For use (`eval` mode) the layers take on the model's type as well; in training they keep theirs, and so does the
        optimiser's copy of the weights.
        """
        model = denoiser(target)
        if self.attached is model:
            return self
        if self.attached is not None:
            raise UserError(f"the adapter is attached to another {type(self.attached).__name__}: detach() it first")
        self._attachment = self.seam.put(self.layers, target)
        weight = next((p for p in model.parameters() if p.is_floating_point() and p.element_size() > 1), None)
        if weight is not None and weight.device.type != "meta":
            self.to(weight.device)
            if not self.training:
                self.layers.to(weight.dtype)
        return self

    def detach(self) -> Self:
        """Take the layers off the model, which is then exactly as before; nothing happens when there is none."""
        if self._attachment is not None:
            self._attachment.undo()
            self._attachment = None
        return self

    @property
    def attached(self) -> nn.Module | None:
        """The model that holds the layers."""
        return self._attachment.model if self._attachment is not None else None

    @property
    def arrived(self) -> bool:
        """Whether the model was called with a condition since the last one was made: pipelines may drop it."""
        return self._attachment is not None and self._attachment.arrived

    def condition(
        self,
        tokens: FaceTokens | Sequence[Region],
        scale: float | Tensor | Mapping[str, float] = 1.0,
        guidance: bool = True,
        *,
        start: float = 0.0,
        end: float = 1.0,
        local: bool | Tensor | Local = False,
    ) -> dict[str, Any]:
        """The `cross_attention_kwargs` of a pipeline or U-Net call.

        tokens: face and null (people, m, width): one person, or one row per prompt; rows are repeated to fill the
        batch, each as often as the other (`num_images_per_prompt`). Several people in each picture: a
        `facefact.adapter.Region` for each, with their place. guidance: True: the null face where the batch asks
        without the prompt (the negative half under guidance, whatever else the pipeline lays out), the face elsewhere;
        False: the face everywhere. scale: of what the adapter adds; a number (0: bit for bit the base model), a
        tensor (one number, or (rows,): one per row of the batch), or numbers by block ({"mid_block": 1.0, "": 0.5}; ""
        is the rest, without it the rest stays out). start, end: fractions of the noise schedule between which the face
        counts (start > 0: delayed condition); in the other steps the model costs and does what it does without a face.
        local: work for the face's region only, which costs a part and leaves the rest of the picture to the base model.
        True: the region is found in the first steps; a mask, (h, w) or (pictures, h, w) at any size: not 0 where the
        face may be; a `facefact.adapter.Local`: all settings. A compiled model works locally with a mask only.
        """
        regions = None
        if not isinstance(tokens, FaceTokens):
            tokens, regions = gathered(tokens)
        width = self.resampler.config.output_width
        if tokens.face.ndim != 3 or tokens.face.shape[-1] != width:
            raise UserError(
                f"the face tokens are {tuple(tokens.face.shape)}, this adapter reads (people, tokens, {width}): make "
                "them with its own encode()"
            )
        if not 0 <= start <= end <= 1:
            raise UserError(f"the face counts from start={start} to end={end}: 0 <= start <= end <= 1")
        for prefix in scale if isinstance(scale, Mapping) else ():
            if prefix and not any(f"{name}.".startswith(f"{prefix}.") for name in self.layers.configs):
                raise UserError(f"scale names {prefix}, and no layer of this adapter has a name that starts so")
        if guidance and tokens.null.shape not in (tokens.face.shape, (1, *tokens.face.shape[1:])):
            raise UserError(f"null tokens {tuple(tokens.null.shape)} do not pair with face {tuple(tokens.face.shape)}")
        rows = torch.cat([tokens.null.expand_as(tokens.face), tokens.face]) if guidance else tokens.face
        condition = make_condition(
            self.layers,
            rows,
            scale=scale,
            start=start,
            end=end,
            local=_local_settings(local),
            regions=regions,
            guided=guidance,
        )
        if self._attachment is not None:
            self._attachment.arrived = False
        return self.seam.kwargs(condition)

    def record(self) -> AbstractContextManager[list[Increment]]:
        """Collect what each layer adds in the forward passes inside the `with`, for FAIR; gradients are kept.

        A layer whose scale is the number 0 is skipped and leaves no record.
        """
        if self._attachment is None or self.attached is None:
            raise UserError("the adapter is attached to no model: attach() it before recording")
        return self._attachment.record()

    # Training

    def train(self, mode: bool = True) -> Self:
        """As any module, but the encoder stays frozen: its normalisation never learns."""
        super().train(mode)
        self.encoder.eval()
        return self

    def trainable_parameters(self) -> list[nn.Parameter]:
        """What FACT learns: resampler and layers."""
        return [*self.resampler.parameters(), *self.layers.parameters()]

    def gates(self) -> list[nn.Parameter]:
        """The layers' gates, alpha: tanh of it is how far one is open."""
        return [alpha for _, layer in self.layers.items() for alpha in (layer.alpha_attn, layer.alpha_dense)]

    # What it is and where

    @property
    def device(self) -> torch.device:
        """Where tokens are made."""
        return self.resampler.latents.device

    @property
    def dtype(self) -> torch.dtype:
        """The type that tokens are made in."""
        return self.resampler.latents.dtype

    def content_hash(self) -> str:
        """SHA-256 of all weights, for recipes and cards."""
        return checkpoint.content_hash(self.state_dict())


def crop_pixels(crop: FaceCrop) -> Tensor:
    """A face crop, (112, 112, 3) of 0 to 255, as the encoder reads it: (3, 112, 112) float in [-1, 1]."""
    return (torch.tensor(crop.pixels).permute(2, 0, 1).float() / 255 - 0.5) / 0.5


def _local_settings(local: bool | Tensor | Local) -> Local | None:
    """local: as `FaceAdapter.condition` gets it; a mask is (h, w) or (pictures, h, w)."""
    if torch.is_tensor(local):
        return Local(mask=local)
    if isinstance(local, Local):
        return local
    return Local() if local else None


def _crop(picture: Any, detector: Any, which: int) -> FaceCrop:
    if isinstance(picture, FaceCrop):
        return picture
    from facefact.faces import face_crop

    return face_crop(picture, detector=detector, which=which)


def _parts(config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        layers = {
            name: from_tree(LayerConfig, tree, where=f"layers.{name}.") for name, tree in config["layers"].items()
        }
        encoder = from_tree(TransFaceConfig, config["encoder"], where="encoder.")
        resampler = from_tree(ResamplerConfig, config["resampler"], where="resampler.")
    except (KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{checkpoint.CONFIG} of the face adapter is not whole: {error}") from error
    made = AdapterLayers(layers, blocks=config.get("blocks"))
    return {"encoder": TransFace(encoder), "resampler": Resampler(resampler), "layers": made}
