"""`facefact bench unet`: what a call of the U-Net costs with a face in it, as ratios to the stock call in one run.

    base                   diffusers' U-Net as it is
    base_fast              the same with `fast_kernels`: exact, and computed in the ways that are fastest here
    exact                  base_fast and the adapter; the face keys are in the condition, made once for each portrait
    local                  the same in local mode, the face's place known: an ellipse over a given share of the picture
    ip_adapter             diffusers' IP-Adapter-plus (16 tokens) on the stock base, with its resampler, which diffusers
                           runs in every call
    controlnet_ip_adapter  and a ControlNet, which is what InstantID does in every call

All share one U-Net's random weights. What a variant needs is put on and taken off between the calls, untimed. A ratio
is taken within a round to the stock call of that round; the order of the variants turns with the rounds; one round
before them counts nothing.

Peak memory: a fresh process for each variant, which holds its weights and no others', and makes one call: the greatest
resident set in the call (Linux), or what the GPU allocated; and how much of it the call added.

CUDA (events, warm-up, the allocator's peak) is written, and has not been run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor

from facefact.adapter import Local, Region, fast_kernels
from facefact.adapter.local import Tracker
from facefact.adapter.tokens import TokenSubset
from facefact.bench.memory import free_bytes, memory_of
from facefact.bench.random_models import (
    IMAGE_TOKENS,
    IMAGE_WIDTH,
    QUERIES,
    ImagePrompt,
    new_adapter,
    new_controlnet,
    new_unet,
    on_meta,
    random_model,
    shape_of,
    weight_bytes,
)
from facefact.bench.timing import Times, interleaved, machine, ratio, spread
from facefact.bench.unet_operations import Part, counted
from facefact.device import choose_device, choose_dtype, choose_precision
from facefact.types import FaceTokens, UserError

VARIANTS = ("base", "base_fast", "exact", "local", "ip_adapter", "controlnet_ip_adapter")
NEEDS: dict[str, tuple[str, ...]] = {
    "exact": ("adapter",),
    "local": ("adapter",),
    "ip_adapter": ("ip_adapter",),
    "controlnet_ip_adapter": ("ip_adapter", "controlnet"),
}  # besides the U-Net
SPARE = 0.8  # of the memory that is free may be weights
SCALE, TIMESTEP, TEXT_TOKENS = 0.7, 500, 77
FACE_SHARE = 0.2
TALL = 1.25  # a face's height by its width


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is called. size: pixels. batch: pictures, of which guidance makes two rows each. photos: of each person, 16
    tokens each. people: how many the pictures show, one each. group: how many each picture shows, side by side, each in
    a region of their own. face_share: of the picture, for local mode. dtype: "auto"
    becomes bf16 where the device multiplies it natively, else fp32."""

    shape: str = "sd15"
    size: int = 512
    batch: int = 1
    guidance: bool = True
    photos: int = 1
    people: int = 1
    group: int = 1
    face_share: float = FACE_SHARE
    device: str = "cpu"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        for name in ("batch", "photos", "people", "group"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is a number from 1 on, not {getattr(self, name)}")
        if self.batch % self.people:
            raise UserError(f"{self.batch} pictures cannot show {self.people} people equally often")
        step = shape_of(self.shape).step
        if self.size < step or self.size % step:
            raise UserError(f"the size is a multiple of {step} px for {self.shape}, not {self.size}")
        if not 0 < self.face_share < 0.6:
            raise UserError(f"the face's share of the picture lies between 0 and 0.6, and is not {self.face_share:g}")
        if self.dtype == "auto":  # decided once, for every variant's process
            object.__setattr__(self, "dtype", choose_precision(self.where))

    @property
    def rows(self) -> int:
        return self.batch * (2 if self.guidance else 1)

    @property
    def where(self) -> torch.device:
        return choose_device(self.device)

    @property
    def type(self) -> torch.dtype:
        return choose_dtype(self.where, self.dtype)


class Workbench:
    """One U-Net, and what the variants put on it. call: what is called; another one of the same shape, device and
    dtype may be set."""

    def __init__(self, call: Call, variants: Sequence[str]) -> None:
        self.call, self.device = call, call.where
        shape, parts = shape_of(call.shape), parts_of(variants)
        new = partial(random_model, device=self.device, dtype=call.type)
        self.unet: Any = new(lambda: new_unet(shape))
        self.adapter: Any = new(lambda: new_adapter(self.unet)) if "adapter" in parts else None
        if self.adapter is not None:
            self.adapter.attach(self.unet).detach()  # (the layers learn the number of heads)
        self.image_prompt = (
            new(lambda: ImagePrompt(self.unet, shape.image_resampler)) if "ip_adapter" in parts else None
        )
        self.controlnet: Any = new(lambda: new_controlnet(self.unet)) if "controlnet" in parts else None

    @contextlib.contextmanager
    def with_variant(self, variant: str) -> Iterator[None]:
        """Inside, the U-Net is that variant's."""
        with contextlib.ExitStack() as off:
            if variant in ("base_fast", "exact", "local"):
                fast_kernels(self.unet)
                off.callback(fast_kernels, self.unet, enable=False)
            if "adapter" in NEEDS.get(variant, ()):
                self.adapter.attach(self.unet)
                off.callback(self.adapter.detach)
            if "ip_adapter" in NEEDS.get(variant, ()):
                assert self.image_prompt is not None
                off.callback(self.image_prompt.put_on(self.unet))
            yield

    @torch.no_grad()
    def work(self, variant: str) -> Callable[[], Tensor]:
        """One call of the variant, to be made inside `with_variant`; the face keys are made here."""
        given: dict[str, Any] = {"encoder_hidden_states": self.random(TEXT_TOKENS, self.text_width)}
        added: dict[str, Any] = {}
        if self.unet.config.addition_embed_type == "text_time":
            added = {"text_embeds": self.random(1280), "time_ids": self.random(6)}
        control = dict(given, added_cond_kwargs=added)
        if "adapter" in NEEDS.get(variant, ()):
            given["cross_attention_kwargs"] = self.condition(local=variant == "local")
        if "ip_adapter" in NEEDS.get(variant, ()):
            added = added | {"image_embeds": [self.random(1, IMAGE_TOKENS, IMAGE_WIDTH)]}
        given["added_cond_kwargs"] = added
        sample = self.random(self.unet.config.in_channels, self.call.size // 8, self.call.size // 8)
        if variant == "controlnet_ip_adapter":
            control["controlnet_cond"] = self.random(3, self.call.size, self.call.size)
            return partial(self._controlled, sample, control, given)
        return partial(self._plain, sample, given)

    @torch.no_grad()
    def _plain(self, sample: Tensor, given: dict[str, Any]) -> Tensor:
        """sample: (rows, channels, size / 8, size / 8), and so is the result."""
        return self.unet(sample, TIMESTEP, **given).sample

    @torch.no_grad()
    def _controlled(self, sample: Tensor, control: dict[str, Any], given: dict[str, Any]) -> Tensor:
        """As `_plain`, with the ControlNet before it."""
        down, mid = self.controlnet(sample, TIMESTEP, return_dict=False, **control)
        extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        return self.unet(sample, TIMESTEP, **given, **extra).sample

    @torch.no_grad()
    def condition(self, *, local: bool = False) -> dict[str, Any]:
        """Random people's, with their face keys."""
        call = self.call
        people = [self._person(i) for i in range(call.group)]
        who = people[0] if call.group == 1 else list(map(Region, side_by_side(call.group), people))
        where = face_ellipse(call.size // 8, call.face_share).to(self.device) if local else False
        return self.adapter.condition(who, SCALE, call.guidance, local=where)

    def _person(self, number: int) -> FaceTokens:
        """Or one for each picture, of those whose number in a group this is."""
        size = self.call.photos * QUERIES, self.text_width
        face, null = (self.random(*size, rows=self.call.people, seed=2 * number + i) for i in (1, 2))
        return FaceTokens(face, null)

    def random(self, *size: int, rows: int | None = None, seed: int = 0) -> Tensor:
        """(rows, *size), the same numbers on every device."""
        generator = torch.Generator().manual_seed(seed)
        made = torch.randn((rows or self.call.rows, *size), generator=generator)
        return made.to(self.device, self.call.type)

    @property
    def text_width(self) -> int:
        return self.unet.config.cross_attention_dim


def face_ellipse(side: int, share: float) -> Tensor:
    """(8 side, 8 side) bool: an upright ellipse in the middle that covers this share."""
    at = (torch.arange(8 * side) + 0.5) / (8 * side) - 0.5
    radius = (share / torch.pi) ** 0.5
    return (at[:, None] / TALL**0.5) ** 2 + (at[None, :] * TALL**0.5) ** 2 <= radius**2


def side_by_side(count: int) -> Tensor:
    """(count, 1, 8 count) float: the masks of columns of equal width."""
    return torch.eye(count).repeat_interleave(8, 1)[:, None]


def parts_of(variants: Sequence[str]) -> set[str]:
    return {part for variant in variants for part in NEEDS.get(variant, ())}


# Memory


def affordable(call: Call, variants: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The variants whose weights fit into memory together, and why the others are left out. UserError: not even the
    U-Net does."""
    free, shape = free_bytes(call.where), shape_of(call.shape)
    unet = on_meta(lambda: new_unet(shape))
    make: dict[str, Callable[[], torch.nn.Module]] = {
        "adapter": lambda: new_adapter(unet),
        "ip_adapter": lambda: ImagePrompt(unet, shape.image_resampler),
        "controlnet": lambda: new_controlnet(unet),
    }
    size = {part: weight_bytes(on_meta(make[part]), call.type) for part in parts_of(variants)}
    whole, room = weight_bytes(unet, call.type), SPARE * (free or float("inf"))
    if whole > room:
        raise UserError(f"{call.shape}'s weights are {gib(whole)}, and {gib(free or 0)} of memory are free")
    kept: list[str] = []
    left_out: dict[str, str] = {}
    for variant in variants:
        together = whole + sum(size[part] for part in parts_of([*kept, variant]))
        if together > room:
            left_out[variant] = f"the weights would be {gib(together)}, and {gib(free or 0)} of memory are free"
        else:
            kept.append(variant)
    return kept, left_out


def gib(number: float) -> str:
    return f"{number / 2**30:.1f} GiB"


def peak_of(call: Call, variant: str) -> dict[str, int | None]:
    """In this process: only fresh ones tell what one variant needs."""
    bench = Workbench(call, (variant,))
    with bench.with_variant(variant):
        return memory_of(bench.work(variant), bench.device)


def peaks(
    call: Call, variants: Sequence[str], *, progress: Callable[[], Any] | None = None
) -> dict[str, dict[str, int | None]]:
    """By variant, each in a process of its own, one after the other."""
    found = {}
    for variant in variants:
        with get_context("spawn").Pool(1) as pool:
            found[variant] = pool.apply(peak_of, (call, variant))
        if progress is not None:
            progress()
    return found


# Time


def measure(
    bench: Workbench, variants: Sequence[str], *, rounds: int, progress: Callable[[], Any] | None = None
) -> Times:
    """Seconds of each variant's calls, interleaved; any other name: of making the face keys."""
    works = {name: bench.work(name) if name in VARIANTS else bench.condition for name in variants}
    return interleaved(works, rounds=rounds, device=bench.device, progress=progress, around=bench.with_variant)


# All of it


def bench_call(
    call: Call,
    variants: Sequence[str] = VARIANTS,
    *,
    rounds: int = 5,
    memory: bool = True,
    progress: Callable[[], Any] | None = None,
) -> dict[str, Any]:
    """The figures of one call; see the top of this file. progress: called after each round and each peak."""
    if unknown := set(variants) - set(VARIANTS):
        raise UserError(f"unknown variant {min(unknown)!r}: choose from {', '.join(VARIANTS)}")
    ordered = [name for name in VARIANTS if name in variants or name == "base"]
    kept, left_out = affordable(call, ordered)
    peak = peaks(call, kept, progress=progress) if memory else {}
    times = measure(Workbench(call, kept), kept, rounds=rounds, progress=progress)
    return {
        "variants": {name: figures_of(name, times, peak.get(name, {})) for name in kept},
        "left_out": left_out,
        **about(call),
        "local_tokens": {str(n): part._asdict() for n, part in local_parts(call).items()} if "local" in kept else {},
        "machine": machine(),
    }


def figures_of(variant: str, times: Times, memory: dict[str, int | None]) -> dict[str, Any]:
    """One variant's. ratio, seconds: of wall time. cpu_ratio, cpu_seconds: of CPU time, which a busy machine hardly
    spoils. Ratios are to the stock base in the same round."""
    to_base, own = ratio(times[variant], times["base"]), times[variant]
    wall, seconds = to_base["wall"], spread(own[:, 0])
    found = {
        "ratio": wall["median"],
        "ratio_low": wall["low"],
        "ratio_high": wall["high"],
        "seconds": seconds["median"],
        "seconds_low": seconds["low"],
        "seconds_high": seconds["high"],
        "cpu_ratio": to_base["cpu"],
        "cpu_seconds": spread(own[:, 1]),
        "peak_bytes": memory.get("peak_bytes"),
        "added_bytes": memory.get("added_bytes"),
        "n": len(own),
    }
    if "base_fast" in times and variant in ("exact", "local"):
        to_fast = ratio(own, times["base_fast"])
        found |= {"ratio_to_base_fast": to_fast["wall"], "cpu_ratio_to_base_fast": to_fast["cpu"]}
    return found


def about(call: Call) -> dict[str, Any]:
    """The call, in JSON values."""
    return asdict(call) | {"device": str(call.where), "dtype": str(call.type).removeprefix("torch."), "rows": call.rows}


def local_parts(call: Call) -> dict[int, Part]:
    """By the number of tokens of a layer: for how many of them local mode works, and how many it sees."""
    side, mask = call.size // 8, face_ellipse(call.size // 8, call.face_share)
    tracker = Tracker.of(Local(mask), copies=1).for_known_mask((1, 4, side, side))
    numbers = sorted({n for _, n in counted(call.shape, call.size, rows=1).layers.values()})
    return {n: part_of(n, tracker.tokens(n)) for n in numbers}


def part_of(n: int, subset: TokenSubset | None) -> Part:
    if subset is None:
        return Part(n, n)
    return Part(subset.count, n if subset.cell == 1 else subset.count + n // subset.cell**2)
