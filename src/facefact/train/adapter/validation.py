"""Validation while an adapter is trained: the same held-out people, prompts and noise every time.

Each one leaves RUN/validation/step-N/ with the contact sheet, the leak meter's heat map and the figures, and leaves the
training as it was: random generators, modes of the modules, weights, scheduler.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facefact.face_adapter import FaceAdapter
from facefact.faces import Detector, face_crop
from facefact.metrics.scores import change_outside, own_and_other, retrieved
from facefact.metrics.views import to_pixels
from facefact.train.adapter.leak_meter import TIMESTEPS, LeakTable, draw_leak, measure_leak, quiet
from facefact.train.material.samples import Sample
from facefact.train.report.sheet import contact_sheet
from facefact.train.settings import Validation
from facefact.types import FaceTokens, UserError

FACE_MARGIN = 1 / 32  # share of the picture's side by which a found face is grown before "outside" begins
AT_ONCE = 8  # pictures in one call of the pipeline

Similarity = Callable[[np.ndarray], np.ndarray]  # (n, 112, 112, 3) uint8 aligned heads -> (n, d) unit embeddings


@dataclass(frozen=True)
class Reference:
    """A held-out person. picture: (r, r, 3) uint8, for the sheet. heads: (n, 112, 112, 3) uint8, aligned and masked;
    tokens: (n, t, width), the encoder's for them: the condition, known by one of the two or by both."""

    picture: np.ndarray
    heads: np.ndarray | None = None
    tokens: Tensor | None = None

    @classmethod
    def of(cls, *samples: Sample) -> Reference:
        """From pictures of one person; the first one is shown."""
        return cls(samples[0].image, np.stack([one.head for one in samples]))


class Validator:
    """Fixed people and prompts, looked at again and again.

    pipe: a stock Stable Diffusion (XL) pipeline around the parts that are being trained on (`live_pipeline`); its text
    encoders are read here, once, and may go afterwards. people: their references. similarity: how alike faces are; None
    for the embedding of the adapter's own face encoder, which the training looks through: NOT an independent judge, it
    shows progress and proves nothing (`facefact eval` has the judges). detector: None to leave identity and the change
    outside the face out. samples, scheduler: a batch of held-out samples and the training's noise, for the leak meter;
    None to leave it out. size: pixels of a side, None for the model's own.
    """

    def __init__(
        self,
        pipe: Any,
        adapter: FaceAdapter,
        people: Sequence[Reference],
        prompts: Sequence[str],
        settings: Validation,
        *,
        similarity: Similarity | None = None,
        detector: Detector | None = None,
        samples: Mapping[str, Any] | None = None,
        scheduler: Any = None,
        timesteps: Sequence[int] = TIMESTEPS,
        size: int | None = None,
    ):
        if not people or not prompts:
            raise UserError(
                "validation needs at least one held-out person and one prompt: set validation.every=0 to do without it"
            )
        self.pipe, self.adapter, self.settings, self.detector = quiet_copy(pipe), adapter, settings, detector
        self.people, self.prompts, self.size = list(people), list(prompts), size
        self.samples, self.timesteps = samples, timesteps
        self.scheduler = scheduler if scheduler is not None else pipe.scheduler
        self.similarity = similarity or (lambda heads: encoder_embeddings(adapter, heads))
        with untouched(pipe, adapter):
            self.words = encode_prompts(pipe, self.prompts, guidance=self.guided)
            self.tokens = [self._local(one) for one in self.people]
            self.references = np.stack([unit(self._known(one, similarity).mean(0)) for one in self.people])
        self.base: np.ndarray | None = None  # frozen as it is, the base model draws its pictures once

    @property
    def guided(self) -> bool:
        return self.settings.guidance_scale > 1

    def run(self, step: int, folder: Path, *, weights: Mapping[str, Tensor] | None = None) -> dict[str, float]:
        """Write folder/validation/step-N, whole or not at all; returns the figures (those that could be measured).

        weights: averaged ones by the names of the adapter's parameters, used instead of those being trained.
        """
        began = time.monotonic()
        with untouched(self.pipe, self.adapter), exchanged(self.adapter, weights or {}):
            base, made = self._base(), np.stack([self._adapted(tokens) for tokens in self.tokens])
            drawn = time.monotonic()
            figures, words = self._measure(base, made)
            table = self._leak()
        figures |= table.figures() if table is not None else {}
        figures |= {"pictures_seconds": round(drawn - began, 3), "seconds": round(time.monotonic() - began, 3)}
        title = f"step {step}: {len(self.people)} held-out people, scale {self.settings.scale:g}"
        sheet = contact_sheet(title, self.prompts, base, [one.picture for one in self.people], made, words)
        with replacing_folder(folder / "validation" / f"step-{step}") as temporary:
            sheet.save(temporary / "sheet.png")
            if table is not None:
                draw_leak(table, temporary / "leak.png")
            about = {"prompts": self.prompts, "leak": table.as_json() if table is not None else None}
            (temporary / "figures.json").write_text(
                json.dumps({"step": step, **figures, **about}, indent=2, allow_nan=False) + "\n", encoding="utf-8"
            )
        return figures

    # Pictures

    def _base(self) -> np.ndarray:
        if self.base is None:
            self.base = self._paint(lambda part: {})
        return self.base

    def _adapted(self, local: Tensor) -> np.ndarray:
        """(prompts, s, s, 3): one person's row."""
        face = self.adapter.resampler(local.to(self.adapter.device, self.adapter.dtype)).flatten(0, 1)[None]
        tokens = FaceTokens(face, self.adapter.null_tokens(len(local)))
        condition = self.adapter.condition(tokens, scale=self.settings.scale, guidance=self.guided)
        return self._paint(lambda part: {"cross_attention_kwargs": condition})

    def _paint(self, extra: Callable[[slice], dict[str, Any]]) -> np.ndarray:
        """(prompts, s, s, 3) uint8. The noise of prompt j is that of seed + j, whoever is in the picture."""
        made = []
        for start in range(0, len(self.prompts), AT_ONCE):
            part = slice(start, min(start + AT_ONCE, len(self.prompts)))
            seeds = range(self.settings.seed + part.start, self.settings.seed + part.stop)
            result = self.pipe(
                **{name: states[part] for name, states in self.words.items()},
                num_inference_steps=self.settings.num_inference_steps,
                guidance_scale=self.settings.guidance_scale,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                height=self.size,
                width=self.size,
                output_type="latent",
                **extra(part),
            )
            made.append(decoded(self.pipe.vae, result.images))
        return np.concatenate(made)

    def _local(self, one: Reference) -> Tensor:
        """(n, t, width) encoder tokens."""
        if one.tokens is None and one.heads is None:
            raise ValueError("a reference needs the person's aligned heads, or the encoder's tokens for them")
        return one.tokens if one.tokens is not None else self.adapter.encoder(head_pixels(self.adapter, one.heads))

    def _known(self, one: Reference, similarity: Similarity | None) -> np.ndarray:
        """(n, d) embeddings of the person."""
        if one.heads is not None:
            return self.similarity(one.heads)
        if similarity is not None:
            raise ValueError("another measure of similarity needs the aligned heads of the people")
        return embeddings(self.adapter, self._local(one))

    # Figures

    def _measure(self, base: np.ndarray, made: np.ndarray) -> tuple[dict[str, float], list[list[str]]]:
        """Figures over all pictures, and the words below each picture of the sheet."""
        people, prompts = made.shape[:2]
        figures = {"people": float(people), "pictures": float(people * prompts)}
        words = [[f"person {i + 1}: the reference", *[""] * prompts] for i in range(people)]
        if self.detector is None:
            return figures, words
        heads = {
            (i, j): found
            for i in range(people)
            for j in range(prompts)
            if (found := head_of(made[i, j], self.detector)) is not None
        }
        figures["faces_found"] = float(len(heads))
        if heads:
            own, similarity = np.array([i for i, _ in heads]), self._compare(list(heads.values()))
            figures |= identity_figures(similarity, own)
            for (i, j), row in zip(heads, similarity, strict=True):
                words[i][j + 1] = f"similarity {row[i]:.2f}"
        words = [[text or "no face found" for text in row] for row in words]
        on_base = [found for one in base if (found := head_of(one, self.detector)) is not None]
        if on_base:
            figures["similarity_base"] = round(float(self._compare(on_base).mean()), 4)
        return figures | self._outside(base, made), words

    def _compare(self, heads: Sequence[np.ndarray]) -> np.ndarray:
        """(n, people) cosines."""
        return self.similarity(np.stack(heads)) @ self.references.T

    def _outside(self, base: np.ndarray, made: np.ndarray) -> dict[str, float]:
        """Mean absolute change (0..255) outside the faces of both pictures; pictures without any face do not count."""
        assert self.detector is not None
        faces_of_base = np.stack([face_region(one, self.detector) for one in base])
        inside = np.concatenate(
            [faces_of_base | np.stack([face_region(one, self.detector) for one in row]) for row in made]
        )
        counts = inside.any((1, 2)) & ~inside.all((1, 2))
        changes = change_outside(np.concatenate(made), np.concatenate([base] * len(made)), inside)[counts]
        return {"outside_change": round(float(changes.mean()), 4)} if len(changes) else {}

    def _leak(self) -> LeakTable | None:
        if self.samples is None or not self.settings.scale:
            return None
        return measure_leak(
            self.pipe.unet,
            self.adapter,
            self.scheduler,
            self.samples,
            self.timesteps,
            seed=self.settings.seed,
            scale=self.settings.scale,
        )


# Parts


def quiet_copy(pipe: Any) -> Any:
    """The pipeline with the same parts but a scheduler of its own, without progress bars, and without text encoders (by
    whose number type it would run, and not by the U-Net's)."""
    own = copy.copy(pipe)
    own.set_progress_bar_config(disable=True)
    own.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    for name in ("text_encoder", "text_encoder_2"):
        if hasattr(own, name):
            setattr(own, name, None)
    return own


def encode_prompts(pipe: Any, prompts: Sequence[str], *, guidance: bool) -> dict[str, Tensor]:
    """The pipeline's arguments that stand for the prompts (and, under guidance, for the empty one)."""
    names = ["prompt_embeds", "negative_prompt_embeds"]
    if getattr(pipe, "text_encoder_2", None) is not None:
        names += ["pooled_prompt_embeds", "negative_pooled_prompt_embeds"]
    states = pipe.encode_prompt(
        list(prompts), device=pipe.text_encoder.device, num_images_per_prompt=1, do_classifier_free_guidance=guidance
    )
    like = {"device": pipe.unet.device, "dtype": pipe.unet.dtype}
    return {name: one.to(**like) for name, one in zip(names, states, strict=True) if one is not None}


def decoded(vae: Any, latents: Tensor) -> np.ndarray:
    """Latents as the U-Net has them -> (n, h, w, 3) uint8. (A pipeline's own decoding wants the autoencoder in the
    U-Net's number type; in training they differ.)"""
    if vae.dtype == torch.float16 and vae.config.force_upcast:  # SDXL's overflows in half precision
        vae = copy.deepcopy(vae).float()
    latents = latents.to(vae.dtype) / vae.config.scaling_factor
    if (std := getattr(vae.config, "latents_std", None)) is not None:
        mean, std = (latents.new_tensor(one).view(1, -1, 1, 1) for one in (vae.config.latents_mean, std))
        latents = latents * std + mean
    pixels = vae.decode(latents).sample.float().nan_to_num().clamp(-1, 1)
    return torch.round((pixels + 1) * 127.5).byte().permute(0, 2, 3, 1).cpu().numpy()


def head_pixels(adapter: FaceAdapter, heads: np.ndarray | None) -> Tensor:
    """(n, 112, 112, 3) uint8 -> as the adapter's encoder reads them."""
    assert heads is not None
    weight = adapter.encoder.pos_embed
    return torch.stack([to_pixels(one) for one in heads]).to(weight.device, weight.dtype)


@torch.no_grad()
def encoder_embeddings(adapter: FaceAdapter, heads: np.ndarray) -> np.ndarray:
    """(n, 112, 112, 3) uint8 aligned heads -> (n, d) unit embeddings of the adapter's own face encoder."""
    return embeddings(adapter, adapter.encoder(head_pixels(adapter, heads)))


def embeddings(adapter: FaceAdapter, tokens: Tensor) -> np.ndarray:
    """(n, t, width) tokens of the face encoder -> (n, d) unit embeddings."""
    weight = adapter.encoder.pos_embed
    return (
        F.normalize(adapter.encoder.embed_tokens(tokens.to(weight.device, weight.dtype)).float(), dim=-1).cpu().numpy()
    )


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def identity_figures(similarity: np.ndarray, own: np.ndarray) -> dict[str, float]:
    """similarity: (n, people) cosines of the faces that were found. own: (n,) whose each should be."""
    if similarity.shape[1] < 2:
        return {"similarity_own": round(float(similarity[:, 0].mean()), 4)}
    right, other = own_and_other(similarity, own)
    found = {
        "similarity_own": right,
        "similarity_other": other,
        "similarity_gap": right - other,
        "rank1": retrieved(similarity, own),
    }
    return {name: round(float(values.mean()), 4) for name, values in found.items()}


def head_of(picture: np.ndarray, detector: Detector) -> np.ndarray | None:
    """(112, 112, 3) uint8: the aligned head of the largest face; None where none is found."""
    try:
        return face_crop(picture, detector=detector).pixels
    except UserError:
        return None


def face_region(picture: np.ndarray, detector: Detector) -> np.ndarray:
    """(h, w) bool: the largest face and a margin around it (its oval, else the ellipse in its box); all False where
    none is found."""
    height, width = picture.shape[:2]
    plane = np.zeros((height, width), np.uint8)
    for found in detector.detect(picture)[:1]:
        if found.oval is not None:
            cv2.fillPoly(plane, [np.round(found.oval).astype(np.int32)], 1)
        else:
            x0, y0, x1, y1 = found.box
            axes = (max(1, round((x1 - x0) / 2)), max(1, round((y1 - y0) / 2)))
            cv2.ellipse(plane, (round((x0 + x1) / 2), round((y0 + y1) / 2)), axes, 0, 0, 360, 1, cv2.FILLED)
    side = 2 * round(FACE_MARGIN * width) + 1
    return cv2.dilate(plane, np.ones((side, side), np.uint8)).astype(bool)


# Leaving the training alone


@contextlib.contextmanager
def untouched(pipe: Any, adapter: FaceAdapter) -> Iterator[None]:
    """Draw pictures with the parts of a training, without gradients; afterwards all is as it was: random generators,
    modes, where the autoencoder lies, and whether the adapter was attached."""
    parts = [one for one in pipe.components.values() if isinstance(one, nn.Module)]
    vae, place, attached = pipe.vae, pipe.vae.device, adapter.attached is not None
    with kept_random_state(), quiet(adapter, *parts), torch.no_grad():
        if not attached:
            adapter.train().attach(pipe)  # (in `eval` mode the layers would take on the model's number type)
            adapter.eval()
        vae.to(pipe.unet.device)
        try:
            yield
        finally:
            vae.to(place)
            if not attached:
                adapter.detach()


@contextlib.contextmanager
def kept_random_state() -> Iterator[None]:
    """The generators of torch (all devices), numpy and Python go on afterwards as if nothing had been drawn."""
    of_numpy, of_python = np.random.get_state(), random.getstate()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            np.random.set_state(of_numpy)
            random.setstate(of_python)


@contextlib.contextmanager
def exchanged(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The module with other weights for a while; those that `weights` does not name stay. ValueError: a name that the
    module does not have."""
    parameters = dict(module.named_parameters())
    if unknown := sorted(weights.keys() - parameters.keys()):
        raise ValueError(f"{type(module).__name__} has no parameter {unknown[0]}")
    kept = {name: parameters[name].detach().clone() for name in weights}

    @torch.no_grad()
    def put(values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            parameters[name].copy_(value)

    put(weights)
    try:
        yield
    finally:
        put(kept)


def of_adapter(values: Mapping[str, Tensor], *, prefix: str = "adapter.") -> dict[str, Tensor]:
    """The averaged weights of a whole stage -> those of its adapter, as `Validator.run` wants them."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it takes its place, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes it private
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
