"""RUN/report.html: one page that explains a run, made of what is in its folder; and RUN/environment.json.

The page needs nothing but itself: pictures are inside it, there is no script and no network.
"""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from PIL import Image

import facefact
from facefact.checkpoint import replacing
from facefact.page import escape, fact_list, number, page, picture, section, table, without_paths
from facefact.train.engine.curriculum import Curve, curves, value_at
from facefact.train.report.layers import leak_section
from facefact.train.report.plots import curriculum_panels, curve_panels, drawn, together, validation_panels
from facefact.train.report.run_folder import RunFolder, ValidationRecord

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy")
EARLIER = 3  # contact sheets beside the newest one
SHEET_WIDTH = 1100  # pixels
CURRICULUM = (
    "condition.shuffle",
    "condition.pose_gap",
    "condition.face_size",
    "condition.face_drop",
    "condition.text_drop",
    "condition.both_drop",
    "condition.phrase_drop",
    "loss.fair",
    "loss.identity",
)
LONE = 0.2  # share of samples without another picture, and of people of one picture, above which there is a warning
LONELY = (
    "Where another picture of the person is asked for (condition.shuffle) and there is none, or none within "
    "condition.pose_gap, the training has no face to learn from. Leave people of one picture out (facefact prepare "
    "--set people.min_pictures=2), or shuffle less."
)
CAVEAT = (
    "Similarity is the cosine in the face encoder that the adapter itself is trained through: it shows progress, and "
    "is not an independent judge."
)


def write_report(run: Path) -> Path:
    """Make RUN/report.html and (from the first step on) RUN/curves.png anew from what is in the folder."""
    found = RunFolder.read(Path(run))
    curves_of = [drawn(panel) for panel in curve_panels(found)] if found.metrics else []
    if curves_of:
        with replacing(found.folder / "curves.png") as temporary:
            temporary.write_bytes(together(curves_of))
    sections = [
        what_it_is(found),
        progress(curves_of),
        curriculum(found),
        validations(found),
        sheets(found),
        leak_section(found),
        checkpoints(found),
        environment(found),
        config(found),
    ]
    title = f"{found.folder.resolve().name}: a training of facefact"
    with replacing(found.folder / "report.html") as temporary:
        temporary.write_text(page(title, sections), encoding="utf-8")
    return found.folder / "report.html"


# The sections, each HTML or "" when there is nothing to say


def what_it_is(run: RunFolder) -> str:
    steps = f"{run.steps:,}" + (f" of {run.planned:,}" if run.planned else "")
    facts = {"base model": text_of(run.setting("base.source")), "data": data_of(run), "steps": steps}
    if run.samples_per_step:
        facts["pictures seen"] = f"{run.steps * run.samples_per_step:,}"
    if run.metrics:
        facts["time in steps"] = duration(run.seconds())
        last = run.column("loss")[1][-50:]
        facts["loss"] = (f"{last.mean():.4f}" if len(last) else "?", f"mean of the last {len(last)} records")
    if (pace := run.samples_per_second()) is not None:
        facts["pictures a second"] = (f"{pace:.3g}", "by the median step")
    if (waited := run.waited()) is not None:
        facts["waiting for data"] = (f"{100 * waited:.2g} %", "of the time; under 2 % is the aim")
    about = "" if run.metrics else "<p>No step has been taken yet.</p>"
    if (alone := run.no_other_picture()) is not None:
        facts["no other picture"] = (f"{100 * alone:.2g} %", "of the samples: the null face stood for the person")
        about += f'<p class="warning">{escape(LONELY)}</p>' * (alone > LONE)
    return section("What this is", f"{about}{fact_list(facts)}")


def text_of(value: Any) -> str:
    return "?" if value is None else without_paths(str(value))


def data_of(run: RunFolder) -> Any:
    source = text_of(run.setting("data.source"))
    people, looks = run.setting("data.people"), run.setting("data.looks")
    if source == "world" and people:
        return "portrait world", f"{people:,} people" + (f", {looks} pictures of each" if looks else "")
    return source


def progress(pictures: Sequence[bytes]) -> str:
    return section("Curves", plots(pictures, "a curve over the steps")) if pictures else ""


def curriculum(run: RunFolder) -> str:
    """What changes over the steps as a plot, the rest as a table."""
    if run.settings is None:
        return ""
    changing: dict[str, Curve] = dict(curves(run.settings))
    sizes = run.settings.data.sizes()
    if len(sizes) > 1:
        changing["data.size (pixels)"] = stairs(sizes)
    steps = max(run.planned or 0, run.steps, 1)
    shown = (
        plots(map(drawn, curriculum_panels(changing, steps)), "a setting over the steps")
        if changing
        else ("<p>Nothing changes over the steps: the condition is the same from the first one to the last.</p>")
    )
    now = changing | {name: setting_of(run.settings, name) for name in CURRICULUM if known(run.settings, name)}
    if len(sizes) == 1:
        now["data.size (pixels)"] = float(sizes[0][1])
    rows = [(name, number(value_at(curve, run.steps))) for name, curve in now.items()]
    return section("Curriculum", f'{shown}<p class="pale">At step {run.steps:,}:</p>{table(rows)}')


def known(tree: Any, name: str) -> bool:
    try:
        return isinstance(setting_of(tree, name), (int, float))
    except AttributeError:
        return False


def setting_of(tree: Any, name: str) -> Any:
    for part in name.split("."):
        tree = getattr(tree, part)
    return tree


def stairs(sizes: Iterable[tuple[float, int]]) -> Curve:
    """Sizes that hold from a step on, as corners."""
    corners: list[tuple[float, float]] = []
    for step, size in sizes:
        if corners:
            corners.append((step - 1e-3, corners[-1][1]))
        corners.append((float(step), float(size)))
    return tuple(corners)


def validations(run: RunFolder) -> str:
    panels = validation_panels(run)
    if not panels:
        return ""
    last = run.validations[-1]
    rows = [(name.replace("_", " "), number(value)) for name, value in last.figures.items()]
    return section(
        "Validation on held-out people",
        f'<p class="pale">{escape(CAVEAT)} {escape(counts(last))}</p>'
        f"{plots(map(drawn, panels), 'a figure of the validations over the steps')}"
        f"<details><summary>All figures of step {last.step:,}</summary>{table(rows)}</details>",
    )


def counts(validation: ValidationRecord) -> str:
    """How many samples the figures of a validation stand on."""
    number_of = {name: int(validation.figures[name]) for name in ("pictures", "people") if name in validation.figures}
    if len(number_of) < 2:
        return ""
    found = validation.figures.get("faces_found")
    faces = "" if found is None else f"; a face was found in {int(found)} of them"
    return f"{number_of['pictures']} pictures of {number_of['people']} people{faces}."


def sheets(run: RunFolder) -> str:
    shown = [one for one in run.validations if (one.folder / "sheet.png").is_file()]
    if not shown:
        return ""
    newest, before = shown[-1], spread(shown[:-1], EARLIER)
    earlier = "".join(
        f"<details><summary>Step {one.step:,}</summary>{photo(one.folder / 'sheet.png', one.step)}</details>"
        for one in reversed(before)
    )
    return section(
        f"Contact sheet of step {newest.step:,}",
        '<p class="pale">Top row: the base model alone. Then one row a person: the reference, and what the adapter '
        f"makes of each prompt from the same noise.</p>{photo(newest.folder / 'sheet.png', newest.step)}{earlier}",
    )


def spread(items: list[ValidationRecord], count: int) -> list[ValidationRecord]:
    """At most `count` of the items, evenly spread, the first one among them."""
    if len(items) <= count:
        return items
    return [items[round(i * len(items) / count)] for i in range(count)]


def checkpoints(run: RunFolder) -> str:
    if not run.checkpoints:
        return ""
    rows = [(f"step {step:,}", f"{size / 1e6:,.1f} MB") for step, size in run.checkpoints]
    return section("Checkpoints", table(rows))


def environment(run: RunFolder) -> str:
    if not run.environment:
        return ""
    return section("Environment", table([(name, text_of(value)) for name, value in run.environment.items()]))


def config(run: RunFolder) -> str:
    if not run.config_text:
        return ""
    return section("Settings", f"<pre>{escape(without_paths(run.config_text))}</pre>")


# Pictures


def plots(pictures: Iterable[bytes], words: str) -> str:
    """Each a picture of its own, so that a narrow screen shows them one below the other."""
    return f'<div class="plots">{"".join(picture(one, words) for one in pictures)}</div>'


def photo(path: Path, step: int) -> str:
    """A contact sheet as JPEG, no wider than a page."""
    with Image.open(path) as opened:
        sheet = opened.convert("RGB")
    if sheet.width > SHEET_WIDTH:
        sheet = sheet.resize((SHEET_WIDTH, round(sheet.height * SHEET_WIDTH / sheet.width)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    sheet.save(out, format="JPEG", quality=88)
    return picture(out.getvalue(), f"contact sheet of step {step}", kind="jpeg")


def duration(seconds: float) -> str:
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {int(seconds % 60):02d} s" if minutes else f"{seconds:.1f} s"


# The environment


def write_environment(run: Path, *, processes: int | None = None, precision: str | None = None) -> Path:
    """RUN/environment.json: what the run ran on, without a name of a user or a host, and without a path. precision: in
    which it computes, as it was decided for this device."""
    run.mkdir(parents=True, exist_ok=True)
    found = read_environment(processes) | ({} if precision is None else {"precision": precision})
    with replacing(run / "environment.json") as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return run / "environment.json"


def read_environment(processes: int | None = None) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"facefact": facefact.__version__}
    if (commit := git_commit()) is not None:
        found["facefact commit"] = commit
    found |= {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    if torch.cuda.is_available():
        found |= {"device": torch.cuda.get_device_name(), "devices": torch.cuda.device_count()}
        found["cuda"] = torch.version.cuda or torch.version.hip
    else:
        found["device"] = processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return found | {"cores": cores, "processes": processes or int(os.environ.get("WORLD_SIZE") or 1)}


def processor() -> str:
    """The model of the CPU, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "CPU"


def git_commit() -> str | None:
    """Of the source tree that this package is imported from ("-modified" when it was changed since); None when it is
    installed elsewhere."""
    place = Path(facefact.__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", *words], cwd=place, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit, changes = git("rev-parse", "--short=12", "HEAD"), git("status", "--porcelain", "--", ".")
    return commit and commit + ("-modified" if changes else "")
