"""The settings of `facefact train` for an adapter (`recipe: adapter`): few dials, each with its reason beside it in
`configs/`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from facefact import checkpoint
from facefact.config import from_tree
from facefact.encoder import ResamplerConfig
from facefact.train.engine.curriculum import Curve, Stairs, check_curve, in_steps
from facefact.train.engine.schedule import WITHOUT_EFFECT, Schedule
from facefact.train.peers.config import PeerConfig
from facefact.types import UserError

CONFIG = "config.yaml"


@dataclass(frozen=True)
class BaseModel:
    """What the adapter is made for; frozen.

    source: "bundle" (the embedded model), a diffusers pipeline's directory or hub id, or "random:sd15" and
    "random:sdxl": full size with random weights, which proves memory and speed without a download. dtype: of its
    weights; auto: as `schedule.precision` is decided.
    """

    source: str = "bundle"
    revision: str | None = None
    variant: str | None = None
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False


@dataclass(frozen=True)
class NewAdapter:
    """encoder: "bundle" (that of the embedded adapter), a FaceAdapter's or TransFace's directory, a published TransFace
    .pt file, or "random:transface-s". resampler: None for the published one. start: an adapter to go on from, "bundle"
    for the embedded one, "bundle_without_fair" for the one that it is compared with; None for a fresh one. gate: where
    a fresh adapter's gates start (0: as the identity). warm_up: steps in which the resampler alone learns to recognise
    people in the cached tokens before the diffusion begins (`identity`); None for none. blocks: those of the base model
    that carry the adapter, by the beginning of diffusers' names (`down_blocks.1`, `mid_block`,
    `up_blocks.1.attentions.2`); None for all. Of an adapter to go on from the others' layers are left out. peer:
    another method in the place of FACT, for comparisons; None for FACT."""

    encoder: str = "bundle"
    resampler: ResamplerConfig | None = None
    start: str | None = None
    gate: float = 0.0
    warm_up: Schedule | None = None
    blocks: tuple[str, ...] | None = None
    peer: PeerConfig | None = None


@dataclass(frozen=True)
class Augment:
    """How a photo's further views differ from it. views: of each photo, each cached as a picture of its own; the first
    is the photo as it is, and 1 has no other. zoom: how many times smaller what is cut from the photo may be. shift:
    how far, as a share of its side, the cut may lie beside the face's middle. (The face stays whole.) flip: chance of
    the mirror image; sides named in the caption are turned along. landmarks: spread of the condition's landmarks, in
    distances of the eyes. blur: greatest of the condition, sigma in pixels of its 112. jpeg: least quality of the
    condition, 100 for none.
    """

    views: int = 1
    zoom: float = 1.0
    shift: float = 0.0
    flip: float = 0.0
    landmarks: float = 0.0
    blur: float = 0.0
    jpeg: int = 100

    def check(self) -> None:
        limits = {"views": (1, 64), "zoom": (1, 4), "shift": (0, 0.5), "flip": (0, 1), "landmarks": (0, 0.2)}
        for name, (low, high) in {**limits, "blur": (0, 8), "jpeg": (1, 100)}.items():
            if not low <= getattr(self, name) <= high:
                raise UserError(f"setting data.augment.{name}: {getattr(self, name)} lies outside {low} to {high}")
        if (self.views > 1) == (self == Augment(views=self.views)):
            raise UserError(
                "data.augment: views=1 is the photo as it is, and more views need something in which they differ "
                "(zoom, shift, flip, landmarks, blur, jpeg)"
            )


@dataclass(frozen=True)
class Regular:
    """Pictures without a person, on which the adapter, given a face, must change nothing: there the target is the base
    model's own prediction. source: a folder, WebDataset tars or Parquet with captions; None for none. share: of the
    pictures of a step."""

    source: str | None = None
    share: float = 0.1

    def check(self) -> None:
        if not 0 < self.share < 1:
            raise UserError(f"setting data.regular.share must be above 0 and below 1, not {self.share}")


@dataclass(frozen=True)
class Data:
    """source: "world" (rendered avatars) or the directory of a dataset. size: pixels of a side, a multiple of the
    autoencoder's factor; or [[step, size], ...]: from that step on. aspect: how many times the longer side of a
    picture may be the shorter one: photos are cut to the nearest of several shapes of about size x size pixels; 1 for
    squares alone. augment: more views of each photo. regular: pictures without a person. people, looks: of the world.
    seed: of the world and of the views. cache: where everything frozen is kept, None for a folder in the run. text:
    "cached" states, or the text model "live" in every step, which leaving out phrases needs. validation_people: kept
    out of training (a prepared dataset brings its own).
    """

    source: str = "world"
    size: Stairs = 128
    people: int = 64
    looks: int = 8
    seed: int = 61
    cache: Path | None = None
    text: Literal["cached", "live"] = "cached"
    validation_people: int = 4
    aspect: float = 1.0
    augment: Augment = Augment()
    regular: Regular = Regular()

    def check(self) -> None:
        self.augment.check()
        self.regular.check()
        if not 1 <= self.aspect <= 4:
            raise UserError(f"setting data.aspect: {self.aspect} lies outside 1 to 4")
        if self.source == "world" and (self.augment.views > 1 or self.aspect > 1):
            raise UserError(
                "data.augment and data.aspect are for photos: of the world's people more looks can be had (data.looks)"
            )

    def sizes(self) -> tuple[tuple[float, int], ...]:
        """(first step, size) in the order of the steps."""
        stairs = ((0, self.size),) if isinstance(self.size, int) else self.size
        return tuple((float(first), size) for first, size in stairs)

    def size_at(self, step: int) -> int:
        return [size for first, size in self.sizes() if first <= max(step, self.sizes()[0][0])][-1]


@dataclass(frozen=True)
class Condition:
    """What stands for the person in a step (docs/method.md, "Training").

    shuffle: chance that the condition is another picture of the person, and the null face where there is none.
    policy: which other one: any, the most different pose, the most different light. pose_gap: degrees of yaw that
    picture and condition may differ by at most. pictures: the greatest number of pictures of a person in one
    condition (each step draws 1..pictures). face_size: the least share of the picture that the face has. face_drop,
    text_drop, both_drop: chances of the null face alone, the empty prompt alone, and both at once. phrase_drop: of
    each optional phrase of a caption, on average (a share of 2 phrase_drop of the captions is shortened, each by a
    rate of its own).
    """

    shuffle: Curve = 1.0
    policy: Literal["any", "pose", "light"] = "any"
    pose_gap: Curve = 180.0
    pictures: int = 1
    face_size: Curve = 0.0
    face_drop: Curve = 0.1
    text_drop: Curve = 0.1
    both_drop: Curve = 0.0
    phrase_drop: Curve = 0.0

    def check(self) -> None:
        for name in ("shuffle", "face_drop", "text_drop", "both_drop", "phrase_drop", "face_size"):
            check_curve(f"condition.{name}", getattr(self, name), high=1.0)
        check_curve("condition.pose_gap", self.pose_gap, high=180.0)
        if not 1 <= self.pictures <= 16:
            raise UserError(f"setting condition.pictures: {self.pictures} pictures of a person; 1 to 16 make sense")


@dataclass(frozen=True)
class Loss:
    """diffusion loss + fair * FAIR + output_fair * output-FAIR + identity * identity loss.

    fair: lambda. increment: what FAIR holds to the face: what the attention alone adds (as published), the whole layer,
    or "ungated", the attention before its gate (as the published figure may be read; a layer's own gates then feel
    nothing). output_fair: weight of the same idea on the model's answer, the difference between the adapted and the
    base model's prediction outside the face (one more pass without gradients): it holds the picture and switches no
    layer off. squared: both ask for the square of the share of change instead of the share, which pulls ever less at
    what is small (docs/evidence/training.md, "Why FAIR holds closed gates closed").
    face_weight, feature_weight: how much more the diffusion loss counts inside the face, and about eyes and mouth.
    weber: above 0, the error in a dark face counts more, in a bright one less: (0.5 / its luminance) ** weber.
    snr_gamma: min-SNR weighting (Hang et al. 2023), None for none. high_noise: above 1, timesteps are drawn towards
    high noise (t = 1 - (1 - u)^high_noise), where a face's identity is decided. identity: weight of the identity loss
    (0: the published method): 1 - cosine between the person whom the face encoder sees in the believed clean picture
    and the person meant, of `identity_pictures` of each batch (each has to be decoded), where the timestep is below
    `identity_below` of the noise schedule (1: everywhere). alignment: weight of the same measure as output-FAIR's over
    the whole picture, face included: the answer is to stay near the base model's, as PuLID asks (Guo et al. 2024, by
    attention features there).
    """

    fair: Curve = 0.01
    increment: Literal["attention", "whole", "ungated"] = "attention"
    output_fair: Curve = 0.0
    squared: bool = False
    face_weight: float = 1.0
    feature_weight: float = 1.0
    weber: float = 0.0
    snr_gamma: float | None = None
    high_noise: float = 1.0
    identity: Curve = 0.0
    identity_below: float = 1.0
    identity_pictures: int = 8
    alignment: Curve = 0.0

    def check(self) -> None:
        check_curve("loss.fair", self.fair)
        check_curve("loss.output_fair", self.output_fair)
        check_curve("loss.identity", self.identity)
        check_curve("loss.alignment", self.alignment)
        if not 0 < self.identity_below <= 1:
            raise UserError(f"setting loss.identity_below must be above 0 and at most 1, not {self.identity_below}")
        if not 0 <= self.weber <= 4:
            raise UserError(f"setting loss.weber must be from 0 to 4, not {self.weber}")
        if self.high_noise < 1:
            raise UserError(f"setting loss.high_noise must be at least 1, not {self.high_noise}")
        if self.snr_gamma is not None and self.snr_gamma <= 0:
            raise UserError(f"setting loss.snr_gamma must be above 0, not {self.snr_gamma}")


@dataclass(frozen=True)
class Validation:
    """every: steps between two; 0: none. people: held-out ones in the contact sheet. loss_people: held-out ones whose
    loss is compared under their own other picture, another person's, the null face, and none; 0 for none. prompts: None
    for three of the source's own captions. sampling as in `facefact generate`."""

    every: int = 500
    people: int = 4
    loss_people: int = 64
    prompts: tuple[str, ...] | None = None
    num_inference_steps: int = 12
    guidance_scale: float = 3.0
    scale: float = 0.7
    seed: int = 0


@dataclass(frozen=True)
class AdapterTraining:
    """The whole of `recipe: adapter`. trackers: names that Accelerate knows; None for TensorBoard where it works.
    license: for the card. Places of curves given as shares of the run ("85%") are steps from here on, and are recorded
    so."""

    schedule: Schedule
    recipe: Literal["adapter"] = "adapter"
    base: BaseModel = BaseModel()
    adapter: NewAdapter = NewAdapter()
    data: Data = Data()
    condition: Condition = Condition()
    loss: Loss = Loss()
    validation: Validation = Validation()
    trackers: tuple[str, ...] | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        for name in ("data", "condition", "loss"):
            resolved = in_steps(getattr(self, name), self.schedule.steps, where=f"{name}.")
            object.__setattr__(self, name, resolved)

    def check(self) -> None:
        """UserError: what is wrong before the first step."""
        self.schedule.check()
        self.data.check()
        self.condition.check()
        self.loss.check()
        self.check_peer()
        if self.data.text == "cached" and self.condition.phrase_drop != 0.0:
            raise UserError("leaving out phrases needs the text model in every step: set data.text=live")

    def check_peer(self) -> None:
        """UserError: FACT's own settings with another method."""
        if (peer := self.adapter.peer) is None:
            return
        peer.check()
        if self.loss.fair != 0.0 and not peer.is_fact:
            raise UserError(
                f"loss.fair is for FACT's increments, and {peer.kind} has none: set it to 0 (output_fair is for all)"
            )
        if self.adapter.blocks is not None or (self.adapter.gate != 0.0 and not peer.is_fact):
            raise UserError(f"adapter.blocks and adapter.gate are FACT's: {peer.kind} has neither")
        if peer.kind != "ip_adapter" and self.adapter.warm_up is not None:
            raise UserError(f"adapter.warm_up is the resampler's, and {peer.kind} has none: set it to null")


# What a run's folder keeps of them, and what compares them


def tree_of(config: AdapterTraining) -> dict[str, Any]:
    """The settings as plain values, as YAML has them."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        return str(value) if isinstance(value, Path) else value

    return plain(asdict(config))


def without_folders(tree: Any) -> Any:
    """The settings with absolute paths cut to their last part: weights travel, and where things lay is nobody's
    business."""
    if isinstance(tree, dict):
        return {key: without_folders(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [without_folders(value) for value in tree]
    return Path(tree).name if isinstance(tree, str) and Path(tree).expanduser().is_absolute() else tree


def note_settings(config: AdapterTraining, out: Path) -> None:
    """Write config.yaml. UserError: the folder was begun with settings that give another result."""
    path = out / CONFIG
    if path.is_file():
        old = from_tree(AdapterTraining, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        if changed := sorted(differing(decisive(tree_of(old)), decisive(tree_of(config)))):
            raise UserError(
                f"{out} was begun with other settings ({', '.join(changed[:3])}): give another folder, or remove it"
            )
    out.mkdir(parents=True, exist_ok=True)
    with checkpoint.replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(tree_of(config), sort_keys=False), encoding="utf-8")


def decisive(tree: dict[str, Any]) -> dict[str, Any]:
    """Without what changes no result (how often it saves, where the cache lies, who is told)."""
    kept = {name: value for name, value in tree.items() if name not in ("validation", "trackers", "license")}
    for group in (kept["schedule"], kept["adapter"]["warm_up"] or {}):
        for name in WITHOUT_EFFECT:
            group.pop(name, None)
    kept["data"].pop("cache")
    kept["base"].pop("compile")
    return kept


def differing(a: Any, b: Any, where: str = "") -> set[str]:
    """Dotted keys of two trees whose values differ."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return set() if a == b else {where}
    return {
        key
        for name in a.keys() | b.keys()
        for key in differing(a.get(name), b.get(name), f"{where}.{name}".lstrip("."))
    }
