"""The one way to open a base model with a face adapter: commands, services, pages and nodes all stand on a Studio."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from facefact import demo
from facefact.adapter import Region, fast_kernels
from facefact.demo import DEMO
from facefact.device import choose_device, choose_dtype
from facefact.encoder.card import encoder_hash, is_card
from facefact.face_adapter import FaceAdapter
from facefact.faces import Detector, get_detector
from facefact.generate.borrowed import borrowed_parts
from facefact.generate.control import add_controlnet
from facefact.generate.demo_model import S, settings_for, warn_of_words, words_for_template
from facefact.generate.group_squares import BATCH, portraits_joined, prompts_of, squares_in_template, squares_over
from facefact.generate.groups import GroupSettings, InTemplate, Way, paint_group
from facefact.generate.inpaint import InpaintSettings, Replacement, inpaint_faces
from facefact.generate.licences import brief, detector_licences, licences, refuse_unfree
from facefact.generate.models import load_base, locate
from facefact.generate.parts import Lora, add_loras, content_hash, exchange_autoencoder, exchange_scheduler
from facefact.generate.person import Person, find_person, tokens_of
from facefact.generate.preview import OnPreview
from facefact.generate.prompts import windows
from facefact.generate.strangers import warn_of_strangers
from facefact.generate.template import Template
from facefact.generate.text_to_image import Settings, text_to_images
from facefact.generate.wording import completed
from facefact.types import Face, FaceTokens, Portrait, UserError

log = logging.getLogger("facefact")

CHOSEN_WORDS = "what the prompt leaves open the seed chooses, as in %r (--exact-prompt: draw what it says and no more)"
KEPT_EXPRESSION = (
    "the prompt names no expression: the template's is kept, here %r (--free-expression: the model decides)"
)


class Studio:
    """A base model with a face adapter attached.

    One call at a time may use it: the attachment, local mode's tracker and the scheduler hold the state of the call
    that runs. The Studio's lock makes it so: of two threads that ask for portraits one waits until the other's batch is
    made. (So no `on_step` may ask its own Studio for portraits, and who calls `pipe` directly is on their own.)

    pipe: a diffusers pipeline. adapter: attached to it. model: the name that it was opened by; "demo" has settings of
    its own and warns of what it cannot draw. origin: names and content hashes of both, for the recipe. yunet: a YuNet
    model that finds faces, None for the best detector there is; detector: one that is open already.
    exact_prompt: of the demo model's prompts, that the seed chooses nothing which they do not name (see `wording`).
    loras: those in the pipeline. strict_licences: whether LoRAs that come later must allow commercial use.
    """

    def __init__(
        self,
        pipe: Any,
        adapter: FaceAdapter,
        *,
        model: str = "",
        origin: Mapping[str, Any] | None = None,
        yunet: str | Path | None = None,
        detector: Detector | None = None,
        exact_prompt: bool = False,
        loras: Sequence[Lora] = (),
        strict_licences: bool = False,
    ) -> None:
        self.pipe = pipe
        self.adapter = adapter
        self.model = model
        self.origin = dict(origin or {})
        self._yunet = yunet
        self._detector = detector
        self.exact_prompt = exact_prompt
        self._loras = tuple(loras)
        self._strict_licences = strict_licences
        self._kept: set[str] = set()  # expressions of templates that the log has told of
        self._painting = Lock()
        self._finding = Lock()

    @classmethod
    def open(
        cls,
        *,
        model: str = DEMO,
        adapter: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        offline: bool = False,
        stock_kernels: bool = False,
        yunet: str | Path | None = None,
        vae: str | Path | None = None,
        scheduler: str | None = None,
        loras: Sequence[str] = (),
        control_model: str | Path | None = None,
        detector: Detector | None = None,
        exact_prompt: bool = False,
        strict_licences: bool = False,
    ) -> Studio:
        """Opens a base model with the adapter that is named, or with the one inside the model.

        model, adapter: a directory, a name in the models directory or a hub id; "demo" ships with the package, and a
        model may be one .safetensors file of SD1.5, SD2 or SDXL. vae: another autoencoder, a directory or a file.
        scheduler: the name of one of diffusers' schedulers. loras: FILE or FILE:WEIGHT of each. control_model: a
        ControlNet's directory; the settings then need a control image. device: "cuda",
        "cuda:1", "mps", "cpu"; None for the best there is. dtype: "fp32", "fp16", "bf16"; None for what the device does
        well. offline: no network, whatever is missing. stock_kernels: compute as diffusers does on a CPU too, where
        faster ways are used otherwise. strict_licences: refuse parts whose licence forbids commercial use, or is not
        known. UserError: no such model, adapter, part or device, or they do not fit.
        """
        chosen_device = choose_device(device)
        chosen_dtype = choose_dtype(chosen_device, dtype)
        base_path = _base(model, offline)
        adapter_folder = locate_adapter(model=model, adapter=adapter, offline=offline)
        chosen_loras = [Lora.parse(one) for one in loras]
        stated = licences(model=model, adapter=adapter, vae=vae, loras=loras, control_model=control_model)
        if strict_licences:
            detector = detector or get_detector(model=yunet)
            refuse_unfree([*stated, *detector_licences(detector)])
        pipe = load_base(base_path, device=chosen_device, dtype=chosen_dtype)
        base: dict[str, Any] = {"name": public_name(model), "sha256": content_hash(base_path)}
        origin: dict[str, Any] = {"model": base, "licences": brief(stated)}
        pipe = _with_parts(pipe, origin, vae=vae, scheduler=scheduler, loras=chosen_loras, control_model=control_model)
        if chosen_device.type == "cpu" and not stock_kernels:  # (on GPUs they were not measured)
            fast_kernels(pipe)
        opened = FaceAdapter.from_pretrained(adapter_folder, local_files_only=True)
        origin["adapter"] = {"name": public_name(adapter or model), "sha256": opened.content_hash()}
        return cls(
            pipe,
            opened.attach(pipe),
            model=model,
            origin=origin,
            yunet=yunet,
            detector=detector,
            exact_prompt=exact_prompt,
            loras=chosen_loras,
            strict_licences=strict_licences,
        )

    @contextlib.contextmanager
    def with_parts(self, *, scheduler: str | None = None, loras: Sequence[Lora] = ()) -> Iterator[None]:
        """Inside, pictures are made with another scheduler, and with these LoRAs besides the Studio's own, and their
        recipes say so. For one thread, as `pipe` is. UserError: no such scheduler, or a LoRA that does not fit."""
        how: dict[str, Any] = {"own": self._loras, "strict_licences": self._strict_licences}
        with borrowed_parts(self.pipe, self.origin, scheduler=scheduler, loras=loras, **how) as origin:
            before, self.origin = self.origin, origin
            try:
                yield
            finally:
                self.origin = before

    @property
    def detector(self) -> Detector:
        """What finds faces; unless it was given, opened when first asked for. UserError: there is none."""
        if self._detector is None:
            self._detector = get_detector(model=self._yunet)
        return self._detector

    def find_person(self, photos: Sequence[str | Path], *, which: int = 0) -> Person:
        """As the function of that name, with this Studio's detector; one call at a time. Of a photo that shows somebody
        else than the others the log warns."""
        with self._finding:
            known = all(map(is_card, photos))
            detector = None if known else self.detector
            person = find_person(photos, detector=detector, which=which, model=self.model)
            warn_of_strangers(person.names, person.crops, encoder=self.adapter.encoder, cards=person.cards)
            return person

    def tokens(self, person: Person) -> FaceTokens:
        """What the adapter sees of a person, photos and cards. UserError: a card was made with another encoder."""
        return tokens_of(person, self.adapter, encoder=self._encoder if person.cards else "")

    @cached_property
    def _encoder(self) -> str:
        return encoder_hash(self.adapter.encoder, self.adapter.resampler)

    def settings(self, kind: type[S], **given: Any) -> S:
        """The settings record `kind`; what is not given, or None, has this model's own default, else the record's. Of
        words that the model does not know the log warns."""
        settings = settings_for(self.model, kind, **given)
        warn_of_words([settings.prompt], model=self.model)
        return settings

    def text_to_images(
        self,
        people: FaceTokens | Sequence[FaceTokens],
        settings: Sequence[Settings],
        *,
        batch: int = 1,
        origin: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        on_step: Callable[[], None] | None = None,
        on_preview: OnPreview | None = None,
        exact_prompt: bool = False,
    ) -> Iterator[Portrait]:
        """As `facefact.generate.text_to_images`. origin: what is to be in the recipe besides this Studio's own, for all
        pictures or for each. exact_prompt: as the Studio's, for these alone. Other calls have their turn
        between two batches."""
        several = [origin or {}] * len(settings) if origin is None or isinstance(origin, Mapping) else origin
        wordings = [(one.prompt, ()) if exact_prompt else self._completed(one) for one in settings]
        if words := next((words for _, words in wordings if words), None):
            log.warning(CHOSEN_WORDS, ", ".join(words))
        whole = [replace(one, prompt=prompt) for one, (prompt, _) in zip(settings, wordings, strict=True)]
        origins = [
            self.origin | dict(said) | ({"prompt": one.prompt, "words": list(words)} if words else {})
            for one, said, (_, words) in zip(settings, several, wordings, strict=True)
        ]
        made = text_to_images(
            self.pipe, self.adapter, people, whole, batch=batch, origin=origins, on_step=on_step, on_preview=on_preview
        )
        return _locked(self._painting, made)

    def _completed(self, settings: Settings) -> tuple[str, tuple[str, ...]]:
        """The prompt that is painted, and what was added to the one that was given: see `wording`. (The text encoder
        reads one window of it.)"""
        if self.model != DEMO or self.exact_prompt:
            return settings.prompt, ()
        return completed(settings.prompt, settings.seed, fits=lambda text: windows(self.pipe, text) == 1)

    def text_to_image(
        self,
        tokens: FaceTokens,
        settings: Settings,
        *,
        origin: Mapping[str, Any] | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> Portrait:
        """One portrait."""
        return next(self.text_to_images(tokens, [settings], origin=origin, on_step=on_step))

    def inpaint(
        self,
        tokens: FaceTokens,
        settings: InpaintSettings,
        *,
        template: Template,
        face: Face,
        mask: np.ndarray | None = None,
        origin: Mapping[str, Any] | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> Portrait:
        """As `inpaint_faces`, for one face."""
        people = [(face, tokens)]
        return self.inpaint_faces(people, settings, template=template, mask=mask, origin=origin, on_step=on_step)

    def inpaint_faces(
        self,
        people: Sequence[tuple[Face, FaceTokens]],
        settings: InpaintSettings,
        *,
        template: Template,
        mask: np.ndarray | None = None,
        batch: int = 1,
        origin: Mapping[str, Any] | None = None,
        on_step: Callable[[], None] | None = None,
        exact_prompt: bool = False,
    ) -> Portrait:
        """As `facefact.generate.inpaint_faces`: the template with faces replaced. people: faces of the template, and
        who takes the place of each, drawn up to `batch` at a time. What the prompt leaves open of the template is added
        in words, for each face (see `words_for_template`), unless what the prompt says is to be drawn and no more:
        exact_prompt, the Studio's or for this call."""
        told = partial(self._words, settings=settings, picture=template.seen, exact=exact_prompt)
        found = [Replacement(face, tokens, told(face)) for face, tokens in people]
        with self._painting:
            return inpaint_faces(
                self.pipe,
                self.adapter,
                found,
                settings,
                template=template,
                detector=self.detector,
                mask=mask,
                batch=batch,
                origin=self.origin | dict(origin or {}),
                on_step=on_step,
            )

    def _words(self, face: Face, settings: InpaintSettings, picture: np.ndarray, *, exact: bool) -> str:
        if self.exact_prompt or exact:
            return ""
        words, expression = words_for_template(face, settings, model=self.model, picture=picture)
        if expression and expression not in self._kept:
            self._kept.add(expression)
            log.warning(KEPT_EXPRESSION, expression)
        return words

    def group(
        self,
        people: Sequence[Region],
        settings: GroupSettings,
        *,
        place: InTemplate | None = None,
        batch: int = BATCH,
        origin: Mapping[str, Any] | None = None,
        on_step: Callable[[], None] | None = None,
        exact_prompt: bool = False,
    ) -> Portrait:
        """Several people in one picture, in the settings' way (see `group_squares`). None of them: squares in a
        template whose faces are known; else each one's portrait for the demo model, which draws no wide pictures
        (measured), and one run for others, with a square for each face that came out small. exact_prompt: as of
        `inpaint_faces`."""
        whole: dict[str, Any] = {"origin": self.origin | dict(origin or {}), "on_step": on_step}
        way = settings.way or self._way(settings, place)
        parts = (self.pipe, self.adapter, people)
        with self._painting:
            if way == "together":
                return paint_group(*parts, replace(settings, way=way), place=place, **whole)
            if way == "portraits":
                if place is not None:
                    raise UserError("portraits are laid into places, not into a template: --way squares or together")
                return portraits_joined(*parts, settings, batch=batch, **whole)
            square = settings_for(self.model, InpaintSettings, prompt="")
            more = whole | {"square": square, "detector": self.detector, "batch": batch}
            if place is not None:
                told, seen = prompts_of(settings, len(place.faces)), place.template.seen
                more["more"] = [
                    self._words(face, replace(square, prompt=prompt), seen, exact=exact_prompt)
                    for face, prompt in zip(place.faces, told, strict=True)
                ]
                return squares_in_template(*parts, settings, place=place, **more)
            return squares_over(*parts, settings, **more)

    def _way(self, settings: GroupSettings, place: InTemplate | None) -> Way:
        """The default: one run over the whole picture where something needs it."""
        if place is not None:
            return "squares" if place.faces else "together"
        if settings.control_image is not None:
            return "together"
        if self.model == DEMO:
            return "portraits"
        return "squares" if self._finds_faces() else "together"

    def _finds_faces(self) -> bool:
        try:
            return self.detector is not None
        except UserError:
            return False


def _with_parts(
    pipe: Any,
    origin: dict[str, Any],
    *,
    vae: str | Path | None,
    scheduler: str | None,
    loras: Sequence[Lora],
    control_model: str | Path | None,
) -> Any:
    """The pipeline with what is exchanged or added, which is written into its origin."""
    base = origin["model"]
    if vae is not None:
        base["vae"] = exchange_autoencoder(pipe, vae)
    if scheduler is not None:
        exchange_scheduler(pipe, scheduler)
        origin["scheduler"] = type(pipe.scheduler).__name__
    if loras:
        base["loras"] = add_loras(pipe, loras)
    if control_model is not None:
        pipe, base["controlnet"] = add_controlnet(pipe, control_model)
    return pipe


def _locked(lock: Lock, made: Iterator[Portrait]) -> Iterator[Portrait]:
    """The same; the lock is held while the next is made, and free while nobody asks for it."""
    while True:
        with lock:
            portrait = next(made, None)
        if portrait is None:
            return
        yield portrait


def locate_adapter(*, model: str, adapter: str | None = None, offline: bool = False) -> Path:
    """The directory of the adapter that is named, or of the one inside the model. UserError: there is none."""
    folder = locate(adapter, offline=offline) if adapter else _base(model, offline) / "adapter"
    if folder.is_file():
        raise UserError(f"{adapter} is no adapter's directory: `facefact models import` makes one of published files")
    if not folder.is_dir():
        raise UserError(f"the model {model} has no face adapter inside: name one with --adapter")
    return folder


def _base(model: str, offline: bool) -> Path:
    return demo.bundle_path() if model == DEMO else locate(model, offline=offline)


def public_name(name: str) -> str:
    """A hub id or `demo` as it is; of what lies on this machine only its last part."""
    return Path(name).resolve().name if Path(name).exists() else name
