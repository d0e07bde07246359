"""The model card of a trained adapter: README.md with the hub's front matter, made of what the run's folder says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open

from facefact.checkpoint import WEIGHTS, replacing
from facefact.hub import is_hub_id
from facefact.markdown import markdown_table
from facefact.train.report.layers import warnings
from facefact.train.report.page import CAVEAT, counts, duration, number, setting_of
from facefact.train.report.run_folder import RunFolder, without_paths

NO_LICENCE = {"license": "other", "license_name": "not-stated"}
TAGS = ["facefact", "face-adapter", "identity", "portrait", "diffusers", "text-to-image"]
SETTINGS = (  # those that decide most; as in config.yaml
    "condition.shuffle",
    "condition.policy",
    "condition.pose_gap",
    "condition.pictures",
    "condition.face_drop",
    "condition.text_drop",
    "condition.both_drop",
    "condition.phrase_drop",
    "loss.fair",
    "loss.increment",
    "loss.face_weight",
    "loss.weber",
    "loss.identity",
    "loss.snr_gamma",
    "loss.high_noise",
    "adapter.gate",
    "base.dtype",
    "data.size",
    "schedule.lr",
    "schedule.precision",
    "schedule.ema",
    "schedule.keep",
    "schedule.seed",
)
FIGURES = {
    "similarity_own": "similarity to the own person",
    "similarity_other": "similarity to the other people",
    "similarity_base": "similarity of the base model's pictures to these people",
    "rank1": "share of faces whose nearest reference is the right person",
    "outside_change": "change outside the face against the base model (mean absolute, of 255)",
    "leak_outside_whole": "mean share of change outside the face in the layers",
    "leak_inside_whole": "the same inside the face",
}
LIMITS = """\
- The face is a condition, not a copy: the portrait is like the person, as far as the figures above say, and no more.
- What the base model cannot draw, or draws with a bias, the adapter does not mend. Nor is it equally good for all
  people: it is as good for a group as its training data were.
- It was trained for the base model named above; on others of the same architecture it may work less well.
- Figures of a validation during training are few pictures of few people: they show progress. Before you publish a
  claim, measure it (`facefact eval`).

**Intended use:** portraits of yourself, of people who agreed to it, and of invented characters; research on identity in
image generation.

**Out of scope:** pictures of real people without their consent, and whatever deceives about them: impersonation,
defamation, sexual or degrading pictures, false evidence, getting past identity checks, or telling who somebody is.
Mark what you make as generated; `facefact generate` writes it into every file."""


def write_card(
    run: Path, adapter: Path | None = None, *, counted: Mapping[str, int] | None = None, name: str | None = None
) -> Path:
    """Write RUN/README.md, and the same beside the adapter's weights (a directory of `save_pretrained`); returns the
    first.

    counted: how much of what it was trained on ("people": 64, "pictures": 512). name: of the model. The licence is the
    setting `license` of config.yaml; without one the card says that none is stated.
    """
    found = RunFolder.read(Path(run))
    adapter = Path(adapter) if adapter is not None else found.folder / "adapter"
    title = name or f"{found.folder.resolve().name}: a face adapter"
    parts = [
        front_matter(found),
        f"# {title}",
        introduction(found, adapter),
        usage(found),
        data(found, counted or {}),
        settings(found),
        validation(found),
        f"## Limits, and what it is for\n\n{LIMITS}",
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    folders = [found.folder, *[adapter] * adapter.is_dir()]
    for folder in folders:
        with replacing(folder / "README.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
    return found.folder / "README.md"


def front_matter(run: RunFolder) -> str:
    licence = run.setting("license")
    about: dict[str, Any] = {"license": str(licence)} if licence else dict(NO_LICENCE)
    if hub_base(run) is not None:
        about["base_model"] = hub_base(run)
    about |= {"library_name": "diffusers", "pipeline_tag": "text-to-image", "tags": TAGS}
    return f"---\n{yaml.safe_dump(about, sort_keys=False, default_flow_style=None)}---"


def hub_base(run: RunFolder) -> str | None:
    """The base model where it is one of the hub; a directory and the embedded bundle are none."""
    source = str(run.setting("base.source") or "")
    return source if is_hub_id(source) and not Path(source).exists() else None


def base_name(run: RunFolder) -> str:
    source = run.setting("base.source")
    if source == "bundle":
        return "the small model of drawn avatars that facefact carries"
    return "an unnamed base model" if source is None else code(source)


def code(value: Any) -> str:
    """As code in Markdown, without a path."""
    return f"`{without_paths(str(value)).replace('`', '')}`"


def introduction(run: RunFolder, adapter: Path) -> str:
    weights = parameters(adapter / WEIGHTS)
    size = f", {weights / 1e6:.1f} M parameters with its face encoder" if weights else ""
    return (
        f"A FACT face adapter ([arXiv 2410.12312](https://arxiv.org/abs/2410.12312)) for {base_name(run)}{size}: "
        "photos of a person and a prompt go in, portraits of that person come out. The base model stays as it is; the "
        "adapter sits in its transformer blocks, between self-attention and cross-attention."
    )


def parameters(path: Path) -> int | None:
    try:
        with safe_open(path, "pt") as weights:
            shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError):
        return None
    total = 0
    for shape in shapes:
        count = 1
        for side in shape:
            count *= side
        total += count
    return total


def usage(run: RunFolder) -> str:
    base = hub_base(run) or "BASE_MODEL"
    if run.setting("base.source") == "bundle":
        imports, base = "from facefact.demo import bundle_path\n", "bundle_path()"
    else:
        imports, base = "", f'"{base}"'
    return f"""## Use

```python
from diffusers import DiffusionPipeline
from facefact import FaceAdapter
{imports}
pipe = DiffusionPipeline.from_pretrained({base})
adapter = FaceAdapter.from_pretrained("THIS_ADAPTER").attach(pipe)  # a directory or a hub id
face = adapter.encode("me.jpg")  # or a list: several photos of one person
image = pipe("in a red coat, smiling", cross_attention_kwargs=adapter.condition(face, scale=0.7)).images[0]
```

`scale` is how much the face counts: 0 is the base model."""


def data(run: RunFolder, counted: Mapping[str, int]) -> str:
    source = run.setting("data.source")
    if source == "world":
        origin = "The controlled portrait world of facefact: drawn avatars, no picture of a real person."
        people, looks = run.setting("data.people"), run.setting("data.looks")
        if not counted and people and looks:
            counted = {"people": people, "pictures": people * looks}
    else:
        origin = f"The data set {code(source)}." if source else "The data are not stated."
    rows = [f"{count:,} {what}" for what, count in counted.items()]
    if run.steps:
        rows.append(f"{run.steps:,} steps" + (f" of {run.planned:,}" if run.planned else ""))
        if run.samples_per_step:
            rows.append(f"{run.samples_per_step} pictures a step: {run.steps * run.samples_per_step:,} pictures seen")
        if seconds := run.seconds():
            rows.append(f"{duration(seconds)} on {code(run.environment.get('device', 'an unknown device'))}")
    listed = "\n".join(f"- {row}" for row in rows)
    return f"## What it was trained on\n\n{origin}\n\n{listed}".strip()


def settings(run: RunFolder) -> str:
    rows = []
    for name in SETTINGS:
        value = run.setting(name)
        if value is None and run.settings is not None:
            try:
                value = setting_of(run.settings, name)
            except AttributeError:
                continue
        if value is not None:
            rows.append((code(name), in_words(value)))
    return f"## Settings that matter\n\n{markdown_table(('setting', 'value'), rows)}" if rows else ""


def in_words(value: Any) -> str:
    """A setting's value; a curve as the corners that it runs through."""
    if isinstance(value, (list, tuple)) and all(isinstance(one, (list, tuple)) and len(one) == 2 for one in value):
        return ", ".join(f"{number(float(corner))} at step {number(float(step))}" for step, corner in value)
    return code(value)


def validation(run: RunFolder) -> str:
    looked = next((one for one in reversed(run.validations) if one.figures), None)
    if looked is None:
        return ""
    rows = [(words, number(looked.figures[name])) for name, words in FIGURES.items() if name in looked.figures]
    table = markdown_table(("figure", "value"), rows)
    text = f"## Validation at step {looked.step:,}\n\n{counts(looked)} {CAVEAT}\n\n{table}".replace("\n\n ", "\n\n")
    return "\n\n".join([text, *(f"**{line}**" for line in warnings(run))])
