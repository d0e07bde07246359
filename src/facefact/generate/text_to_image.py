"""Text-to-image portraits: a stock diffusers pipeline with a face adapter attached, one picture or many."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from PIL import Image

from facefact.generate import prompts
from facefact.generate.finite import finite_pictures
from facefact.generate.models import native_size
from facefact.generate.preview import OnPreview, Preview
from facefact.generate.recipe import versions
from facefact.types import FaceTokens, Portrait, UserError

if TYPE_CHECKING:
    from facefact.adapter import Region
    from facefact.face_adapter import FaceAdapter

log = logging.getLogger("facefact")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user decides about one picture. scale: how much the face counts, 0 is the base model alone.

    prompt, negative_prompt: of any length, with weights such as (red coat:1.3).
    guidance_scale: up to 1 there is no guidance (and no negative prompt), as turbo models and LCM LoRAs want it.
    face_guidance: guidance strengthens the face as it strengthens the words, as published (the unguided half of a step
    has the null face). False: the words alone, with the same face in both halves, as an adapter is trained whose
    training leaves the text out at times; take a scale about 1 then.
    start, end: fractions of the noise schedule between which the face counts; in the other steps it costs nothing.
    local: work for the face's region only, which is cheaper and leaves the rest to the base model.
    width, height: pixels; None is the model's native size. control_image: what a ControlNet or T2I-Adapter reads
    (several: one for each of its nets), at any size; control_scale: how much it counts; control_mode: which kind it is,
    for union nets.
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 25
    scale: float = 0.7
    guidance_scale: float = 5.0
    face_guidance: bool = True
    start: float = 0.0
    end: float = 1.0
    local: bool = False
    width: int | None = None
    height: int | None = None
    control_image: Image.Image | Sequence[Image.Image] | None = None
    control_scale: float = 1.0
    control_mode: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"{self.steps} steps make no picture: at least 1")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"the seed {self.seed} is not in 0 .. 2**63 - 1")
        if self.scale < 0:
            raise UserError(f"the face scale {self.scale} is negative; 0 is no face, 1 the whole face")
        if self.guidance_scale < 0:
            raise UserError(f"the guidance scale {self.guidance_scale} is negative; up to 1 there is no guidance")
        if not 0 <= self.start <= self.end <= 1:
            raise UserError(f"the face counts from start {self.start} to end {self.end}: 0 <= start <= end <= 1")


def text_to_image(
    pipe: Any,
    adapter: FaceAdapter,
    tokens: FaceTokens,
    settings: Settings,
    *,
    origin: Mapping[str, Any] | None = None,
    on_step: Callable[[], None] | None = None,
) -> Portrait:
    """One portrait. The adapter is attached to the pipeline; the same settings give the same picture.

    origin: what else belongs into the recipe (content hashes of model, adapter and faces). on_step: called after every
    denoising step. UserError: a size the model cannot make, an inpainting model, a type in which the
    model overflows.
    """
    return next(text_to_images(pipe, adapter, tokens, [settings], origin=origin, on_step=on_step))


def text_to_images(
    pipe: Any,
    adapter: FaceAdapter,
    people: FaceTokens | Sequence[FaceTokens],
    settings: Sequence[Settings],
    *,
    batch: int = 1,
    origin: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    on_step: Callable[[], None] | None = None,
    on_preview: OnPreview | None = None,
) -> Iterator[Portrait]:
    """One portrait for each of the settings, in their order, up to `batch` at a time: memory is that of one batch.

    Each is the one that `text_to_image` makes, to rounding: it has its own noise. (In local mode nearly: the region is
    as large for all of a batch.) people, origin: one for all pictures, or one for each. Neighbours share a batch where
    they differ in prompts, seed and person alone; people of different numbers of photos do not, nor prompts that fill
    different numbers of the text encoder's windows. on_step: called after every denoising step of a batch. on_preview:
    called a few times for each picture while it forms, with its number and what is to be seen of it (`preview`).
    UserErrors as `text_to_image`.
    """
    if batch < 1:
        raise UserError(f"a batch of {batch} pictures is none: at least 1")
    if not reads_latents_alone(pipe):
        raise UserError("this is an inpainting model: use it with `facefact inpaint`, or take its text-to-image base")
    if takes(pipe, "strength") or takes(pipe, "inpaint_strength"):
        raise UserError(
            f"{type(pipe).__name__} starts from a picture: use it with inpaint(), or take its text-to-image pipeline"
        )
    everyone, origins = _for_each(settings, people, "people"), _for_each(settings, origin, "origins")
    lengths = [prompts.windows(pipe, one.prompt, one.negative_prompt) for one in settings]
    jobs = [Job(*job) for job in zip(settings, everyone, origins, lengths, range(len(settings)), strict=True)]
    return (portrait for part in batches(jobs, batch) for portrait in _paint(pipe, adapter, part, on_step, on_preview))


@dataclass(frozen=True)
class Job:
    """One picture to be made. windows: of the text encoder that its prompts fill. number: among all."""

    settings: Settings
    person: FaceTokens
    origin: Mapping[str, Any] | None = None
    windows: int = 1
    number: int = 0

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for pictures that can be made in one batch."""
        return replace(self.settings, prompt="", negative_prompt="", seed=0), self.person.face.shape, self.windows


class Kinded(Protocol):
    @property
    def kind(self) -> tuple[Any, ...]: ...


J = TypeVar("J", bound=Kinded)


def batches(jobs: Sequence[J], most: int) -> Iterator[list[J]]:
    """The jobs in their order, cut where the kind changes or the batch is full."""
    for _, group in groupby(jobs, key=lambda job: job.kind):
        alike = list(group)
        yield from (alike[i : i + most] for i in range(0, len(alike), most))


def _for_each(settings: Sequence[Settings], given: Any, what: str) -> Sequence[Any]:
    """One for each of the settings, from one for all or from as many."""
    if isinstance(given, (FaceTokens, Mapping)) or given is None:
        return [given] * len(settings)
    if len(given) != len(settings):
        raise UserError(f"{len(given)} {what} for {len(settings)} pictures: give one for all, or one for each")
    return given


def _paint(
    pipe: Any,
    adapter: FaceAdapter,
    jobs: Sequence[Job],
    on_step: Callable[[], None] | None,
    on_preview: OnPreview | None,
) -> Iterator[Portrait]:
    """One call of the pipeline."""
    settings = [job.settings for job in jobs]
    preview = None if on_preview is None else Preview(on_preview, [job.number for job in jobs], settings[0].steps)
    width, height = picture_size(pipe, settings[0])
    arguments = call_arguments(pipe, adapter, rows_of([job.person for job in jobs]), settings)
    looked = contextlib.nullcontext() if preview is None else preview.watching(pipe.scheduler)
    with finite_pictures(pipe), looked:
        result = pipe(
            width=width,
            height=height,
            **_watched(pipe, if_face_arrives(pipe, adapter, settings[0], on_step), preview),
            **control_arguments(pipe, settings[0]),
            **arguments,
        )
    for job, image in zip(jobs, images(result, settings), strict=True):
        recipe = make_recipe(pipe, job.settings, kind="text-to-image", size=(width, height), origin=job.origin)
        yield Portrait(image, recipe)


def _watched(pipe: Any, on_step: Callable[[], None], preview: Preview | None) -> dict[str, Any]:
    """The argument by which a pipeline tells of each step; that of T2I-Adapters is an old one, without previews."""
    if takes(pipe, "callback") and not takes(pipe, "callback_on_step_end"):
        return {"callback": lambda *_: on_step()}
    return {"callback_on_step_end": step_callback(on_step, *([preview] if preview else []))}


def rows_of(people: Sequence[FaceTokens]) -> FaceTokens:
    """A row of tokens for each; one row where all are the same."""
    first = people[0]
    if all(one is first for one in people):
        return first
    return FaceTokens(torch.cat([one.face for one in people]), torch.cat([one.null for one in people]))


def picture_size(pipe: Any, settings: Settings) -> tuple[int, int]:
    """Width and height in pixels."""
    size = (settings.width or native_size(pipe), settings.height or native_size(pipe))
    unit = int(pipe.vae_scale_factor)
    for side in size:
        if side < unit or side % unit:
            raise UserError(f"{side} pixels is no size for this model: take a multiple of {unit}")
    return size


def reads_latents_alone(pipe: Any) -> bool:
    """False for inpainting models, whose U-Net reads a mask and a masked picture besides the latents."""
    channels = pipe.vae.config.latent_channels
    return getattr(pipe.unet.config, "in_channels", channels) == channels  # ControlNet-XS does not say


def call_arguments(
    pipe: Any,
    adapter: FaceAdapter,
    tokens: FaceTokens | Sequence[Region],
    settings: Sequence[Settings],
    *,
    region: torch.Tensor | None = None,
) -> dict[str, Any]:
    """The arguments that text-to-image and inpainting share, for pictures that differ in prompts and seed alone. The
    noise of each is drawn on the CPU, so that every device draws the same, and for itself, so that neighbours do not
    count. region: (h, w), where the face is, for local mode.
    """
    one = settings[0]
    guides = takes(pipe, "negative_prompt")  # the pipeline of latent consistency models does not
    guidance = guides and one.guidance_scale > 1 and pipe.unet.config.time_cond_proj_dim is None
    negative = [each.negative_prompt for each in settings] if guides else None
    local: bool | torch.Tensor = one.local if region is None else region
    condition = adapter.condition(
        tokens, one.scale, guidance and one.face_guidance, start=one.start, end=one.end, local=local
    )
    return {
        **prompts.arguments(pipe, [each.prompt for each in settings], negative),
        "num_inference_steps": one.steps,
        "guidance_scale": one.guidance_scale,
        "generator": [torch.Generator("cpu").manual_seed(each.seed) for each in settings],
        "cross_attention_kwargs": condition,
    }


def control_arguments(pipe: Any, settings: Settings) -> dict[str, Any]:
    """The arguments for a pipeline's ControlNet or T2I-Adapter; none where it has none.

    UserError: a control image is missing or of no use, or there is nothing to read it.
    """
    image, name = settings.control_image, type(pipe).__name__
    part = next((part for part in ("controlnet", "adapter") if getattr(pipe, part, None) is not None), None)
    if part is None:
        if image is not None:
            raise UserError(f"{name} has no ControlNet to read the control image: open one, or leave the image out")
        return {}
    if image is None:
        raise UserError(f"{name} needs a control image: give one in the settings (control_image=)")
    pictures = [image] if isinstance(image, Image.Image) or not isinstance(image, Sequence) else list(image)
    nets = list(getattr(getattr(pipe, part), "nets" if part == "controlnet" else "adapters", [None]))
    for one in pictures:
        if not isinstance(one, Image.Image):
            raise UserError(f"a control image is a {type(one).__name__}: give a PIL image, such as Image.open(file)")
    if len(pictures) != len(nets):
        raise UserError(
            f"{name} reads {len(nets)} control image(s), one for each of its nets: {len(pictures)} are given"
        )
    mode, scale = _control_mode(pipe, settings), settings.control_scale
    given = pictures[0] if len(nets) == 1 else pictures
    if part == "adapter":
        return {"image": given, "adapter_conditioning_scale": scale if len(nets) == 1 else [scale] * len(nets)}
    place = "control_image" if takes(pipe, "control_image") else "image"
    return {place: given, "controlnet_conditioning_scale": scale, **mode}


def _control_mode(pipe: Any, settings: Settings) -> dict[str, Any]:
    """For union nets. UserError: they cannot do without, or have no such mode."""
    mode, name = settings.control_mode, type(pipe).__name__
    if not takes(pipe, "control_mode"):
        if mode is not None:
            raise UserError(f"{name} reads control images of one kind: leave control_mode out")
        return {}
    kinds = getattr(pipe.controlnet.config, "num_control_type", None)
    if mode is None or (kinds is not None and not 0 <= mode < kinds):
        last = "the number of its kinds" if kinds is None else kinds - 1
        raise UserError(f"{name} reads control images of several kinds: say which this is, control_mode=0 to {last}")
    return {"control_mode": mode}


def if_face_arrives(
    pipe: Any, adapter: FaceAdapter, settings: Settings, on_step: Callable[[], None] | None
) -> Callable[[], None]:
    """What is called after every step. UserError, after the first: the pipeline has kept the face from its model."""

    def stepped() -> None:
        if settings.scale > 0 and not adapter.arrived:
            raise UserError(
                f"{type(pipe).__name__} did not hand the face on to the model that holds the adapter (it drops "
                "cross_attention_kwargs, or its model was replaced): use a stock pipeline, or scale 0"
            )
        if on_step is not None:
            on_step()

    return stepped


def takes(pipe: Any, name: str) -> bool:
    """Whether the pipeline's call has a parameter of this name."""
    return name in inspect.signature(type(pipe).__call__).parameters


def step_callback(
    on_step: Callable[[], None] | None,
    edit: Callable[[Any, int, torch.Tensor], torch.Tensor] = lambda pipe, step, latents: latents,
) -> Callable[..., dict[str, Any]]:
    """What diffusers calls after every step: `edit` changes the latents, then `on_step` is told."""

    def callback(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if on_step is not None:
            on_step()
        return tensors | {"latents": edit(pipe, step, tensors["latents"])}

    return callback


def images(result: Any, settings: Sequence[Settings]) -> list[Image.Image]:
    """The pictures of a pipeline's result; says so where the model's own safety checker blacked one out."""
    for one, hidden in zip(settings, getattr(result, "nsfw_content_detected", None) or (), strict=False):
        if hidden:
            log.warning("warning: the model's safety checker blacked out the picture of seed %d", one.seed)
    return result.images


def make_recipe(
    pipe: Any,
    settings: Settings,
    *,
    kind: str,
    size: tuple[int, int],
    origin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that the picture depends on, as JSON values. size: the width and height that the model works at."""
    width, height = size
    return {
        "kind": kind,
        **written(settings),
        "width": width,
        "height": height,
        "scheduler": type(pipe.scheduler).__name__,
        "device": pipe._execution_device.type,  # where it computes: of an offloaded pipeline not where it lies
        "dtype": str(pipe.unet.dtype).removeprefix("torch."),
        "versions": versions(),
        **(origin or {}),
    }


def written(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values; of a control image its hash, and nothing of what was not asked for."""
    image = settings.control_image
    fields = json.loads(json.dumps(asdict(replace(settings, control_image=None))))  # as they are read again
    if image is None:
        return {name: value for name, value in fields.items() if not name.startswith("control_")}
    pictures = [image] if isinstance(image, Image.Image) else image
    hashes = [hashlib.sha256(one.convert("RGB").tobytes()).hexdigest() for one in pictures]
    return fields | {"control_image": hashes}
