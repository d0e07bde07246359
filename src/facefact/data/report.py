"""DATASET/report.html: what became of the pictures, on one page that needs nothing but itself."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import yaml

from facefact.checkpoint import replacing
from facefact.data.records import Rejection, Row
from facefact.data.summary import FACES_FROM, STAGES, UNKNOWN, Summary, counted, group
from facefact.faces.draw import CHOSEN, FINE, POINTS, corners, fine, scaled
from facefact.page import Bar, bars, escape, fact_list, gallery, histogram, page, section, table, without_paths

FACE, HEAD = (64, 196, 255), (255, 110, 200)  # RGB of the masks' outlines
AROUND = 3.0  # side of what is shown about a face, in units of its box's longer side
LEAST = 32  # pixels of it
PEOPLE = 15  # rows of the table

K = TypeVar("K", bound=Row)


@dataclass(frozen=True)
class Example:
    """One picture to look at. name: of the input. stage: that rejected it, None when it was kept. reason, detail: as in
    `records.Rejection`; of a kept one, detail is what to write below it. picture: what `drawn` made, None for one that
    cannot be opened."""

    name: str
    stage: str | None
    reason: str = ""
    detail: str = ""
    picture: np.ndarray | None = None


def write_report(dataset: Path, examples: Sequence[Example] = ()) -> Path:
    """Make DATASET/report.html from the index, the rejected and prepare.json (see `summary`). UserError: the folder is
    no finished dataset."""
    dataset = Path(dataset)
    found = Summary.read(dataset)
    sections = [
        what_it_is(found),
        funnel(found),
        kept_examples(examples),
        rejected_examples(found, examples),
        measured(found),
        people(found),
        settings(found),
    ]
    with replacing(dataset / "report.html") as temporary:
        temporary.write_text(page(f"A dataset of facefact: {found.title}", sections), encoding="utf-8")
    return dataset / "report.html"


# Which pictures to show


def choose(
    rows: Iterable[K], rejected: Iterable[Rejection], *, per_reason: int = 6, kept: int = 18
) -> tuple[list[K], list[Rejection]]:
    """At most `kept` of the samples and `per_reason` of the rejections of each stage and reason, in the order of the
    stages. Which ones does not depend on the order they come in, and names that follow each other (one folder, one
    burst) are no likelier to be chosen together. Memory: a few times what is returned."""
    chosen = heapq.nsmallest(kept, rows, key=lambda row: shuffle_key(row.sample))
    groups: dict[tuple[str, str], list[Rejection]] = {}
    for one in rejected:
        found = groups.setdefault((one.stage, one.reason), [])
        found.append(one)
        if len(found) > 8 * per_reason + 8:
            found[:] = heapq.nsmallest(per_reason, found, key=shuffle_key_of)
    place = {stage: i for i, stage in enumerate(STAGES)}
    order = sorted(groups, key=lambda key: (place.get(key[0], len(place)), *key))
    return chosen, [one for key in order for one in heapq.nsmallest(per_reason, groups[key], key=shuffle_key_of)]


def shuffle_key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def shuffle_key_of(one: Rejection) -> bytes:
    return shuffle_key(f"{one.name}\n{one.detail}\n{one.box}")


# What is drawn over them


def drawn(
    pixels: np.ndarray,
    *,
    box: Sequence[float] | None = None,
    landmarks: Sequence[float] | np.ndarray | None = None,
    face: np.ndarray | None = None,
    head: np.ndarray | None = None,
    size: int = 192,
) -> np.ndarray:
    """(h, w, 3) uint8 RGB -> a thumbnail, its longer side `size` pixels, with what was found in lines over it.

    box: x0, y0, x1, y1; with one, a small face is shown with what is about it, and not the whole picture. landmarks:
    (5, 2), or the ten numbers in a row. face, head: (h, w) bool."""
    left, top, right, bottom = window(pixels.shape, box)
    view = pixels[top:bottom, left:right]
    scale = size / max(view.shape[:2])
    width, height = (max(1, round(side * scale)) for side in (right - left, bottom - top))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = np.ascontiguousarray(cv2.resize(view, (width, height), interpolation=how))

    def placed(points: Sequence[float] | np.ndarray) -> np.ndarray:
        return scaled(np.asarray(points, np.float64).reshape(-1, 2) - (left, top), scale)

    for mask, colour in ((head, HEAD), (face, FACE)):
        if mask is not None:
            found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            lines = [fine(placed(one)) for one in found]
            cv2.polylines(canvas, lines, True, colour, 1, cv2.LINE_AA, FINE)
    if box is not None:
        corners(canvas, placed(box), CHOSEN, 2)
    if landmarks is not None:
        for point, colour in zip(placed(landmarks), POINTS, strict=True):
            for radius, shade in ((3, (0, 0, 0)), (2, colour)):
                cv2.circle(canvas, fine(point).tolist(), radius << FINE, shade, -1, cv2.LINE_AA, FINE)
    return canvas


def window(shape: tuple[int, ...], box: Sequence[float] | None) -> tuple[int, int, int, int]:
    """left, top, right, bottom of what is shown: the whole picture, or a square about a face that is small in it."""
    height, width = shape[:2]
    if box is None or not np.isfinite(box).all():
        return 0, 0, width, height
    x0, y0, x1, y1 = box
    side = max(LEAST, round(AROUND * max(x1 - x0, y1 - y0)))
    wide, high = min(width, side), min(height, side)
    left = int(np.clip((x0 + x1 - wide) / 2, 0, width - wide))
    top = int(np.clip((y0 + y1 - high) / 2, 0, height - high))
    return left, top, left + wide, top + high


# The sections, each HTML or "" when there is nothing to say


def what_it_is(found: Summary) -> str:
    inputs = found.inputs if found.listed is None else found.listed
    facts: dict[str, object] = {
        "pictures looked at": f"{inputs:,}",
        "kept": (f"{found.kept:,}", share(found.kept, found.kept + found.lost)),
        "rejected": (f"{found.lost:,}", share(found.lost, found.kept + found.lost)),
        "people": f"{len(found.people):,}",
    }
    for split, name in (("train", "for training"), ("validation", "for validation")):
        pictures, who = found.of_split(split)
        facts[name] = (counted(pictures, "picture"), f"of {counted(who, 'person', 'people')}")
    if found.outliers:
        facts["flagged as outliers"] = (f"{found.outliers:,}", "unlike the rest of their person, kept")
    if found.shards:
        facts["shards"] = (f"{len(found.shards):,}", f"{sum(found.shards.values()) / 1e6:,.1f} MB of tar files")
    return section("What this is", f"{fact_list(facts)}{adds_up(found)}{origins(found)}")


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def adds_up(found: Summary) -> str:
    """Every input is a sample or a rejection, or the page says that it is not so."""
    extra = f" + {counted(found.further, 'further face')} of the same pictures" if found.further else ""
    left = f"{counted(found.inputs, 'picture')}{extra}"
    line = f'<p class="pale">How it adds up: {left} = {found.kept:,} kept + {found.lost:,} rejected.</p>'
    if found.missing:
        line += (
            f'<p class="warning">The input has {found.listed:,} pictures, but {found.inputs:,} are in the index or '
            "among the rejected. Run the same command again; if that does not mend it, it is a fault of facefact.</p>"
        )
    return line


def origins(found: Summary) -> str:
    """Models and licences."""
    models = found.models()
    content = "<h3>Models</h3>" + table(models, head=("stage", "model", "licence")) if models else ""
    licences = [(name, f"{count:,}") for name, count in found.texts["licence"].items()]
    if licences:
        content += "<h3>Licences of the kept pictures, as the input states them</h3>"
        content += table(licences, head=("licence", "pictures"), counts=1)
        if UNKNOWN in found.texts["licence"]:
            content += '<p class="pale">Unknown: nobody said what may be done with these pictures. Find out first.</p>'
    captions = ", ".join(f"{count:,} by {name}" for name, count in found.texts["caption_by"].items())
    return content + (f'<p class="pale">Captions: {escape(captions)}.</p>' if captions else "")


def funnel(found: Summary) -> str:
    steps = found.steps()
    rows, reasons = [], []
    for step in steps:
        lost = f", {step.lost:,} rejected" if step.lost else ""
        rows.append(Bar(step.stage, step.out, step.lost, f"{step.out:,} of {step.into:,}{lost}"))
        reasons += [Bar(f"{step.stage}: {reason}", 0, count, f"{count:,}") for reason, count in step.reasons.items()]
    first = bars("What each stage let through", rows, key=("let through", "rejected"))
    second = bars("Why pictures were rejected", reasons, about="by stage and reason") if reasons else ""
    cells = []
    for step in steps:
        if step.stage == FACES_FROM and found.further:
            cells.append(("further faces", f"+ {found.further:,}", "", "", "of the same pictures"))
        why = ", ".join(f"{reason} {count:,}" for reason, count in step.reasons.items())
        cells.append((step.stage, f"{step.into:,}", f"{step.out:,}", f"{step.lost:,}", why))
    listed = table(cells, head=("stage", "in", "out", "rejected", "why"), counts=3)
    does = table((stage, STAGES[stage].does) for stage in STAGES)
    return section(
        "Where the pictures went",
        f'<div class="charts">{first}{second}</div><div class="wide">{listed}</div>'
        f"<details><summary>What the stages do</summary>{does}</details>",
    )


def kept_examples(examples: Sequence[Example]) -> str:
    kept = [one for one in examples if one.stage is None]
    if not kept:
        return ""
    legend = (
        '<p class="pale">Chosen by lot. Brackets: the box of the face; dots: eyes, nose, corners of the mouth; lines:'
        f"{swatch(HEAD)}the head with hair, {swatch(FACE)}the face.</p>"
    )
    tiles = [(one.picture, one.name, one.detail) for one in kept]
    return section("Kept", legend + gallery(tiles))


def swatch(colour: tuple[int, int, int]) -> str:
    return f'<span class="key" style="background: rgb{colour}"></span>'


def rejected_examples(found: Summary, examples: Sequence[Example]) -> str:
    groups = []
    for step in found.steps():
        for reason, count in step.reasons.items():
            tiles = [
                (one.picture, one.name, one.detail)
                for one in examples
                if (one.stage, one.reason) == (step.stage, reason)
            ]
            if tiles:
                how_many = f"{len(tiles):,} of {count:,}" if len(tiles) < count else f"{count:,}"
                title = f"{escape(step.stage)}: {escape(reason)} <small>{how_many}</small>"
                groups.append(f"<h3>{title}</h3>{gallery(tiles)}")
    return section("Rejected", "".join(groups)) if groups else ""


def measured(found: Summary) -> str:
    if not found.kept:
        return ""

    def limits(words: str, *names: str) -> str:
        """What the settings let through, where they are known."""
        values = [found.setting(name) for name in names]
        return "" if None in values else "let through: " + words.format(*(f"{value:g}" for value in values))

    of = found.measures
    charts = [
        histogram(
            "Yaw", of["yaw"], axis="degrees, right of the picture is positive", about=limits("up to {}", "face.max_yaw")
        ),
        histogram("Pitch", of["pitch"], axis="degrees, up is positive", about=limits("up to {}", "face.max_pitch")),
        histogram("Roll", of["roll"], axis="degrees, clockwise is positive", about=limits("up to {}", "face.max_roll")),
        histogram(
            "Face size",
            of["face_size"],
            axis="pixels, root of the box's area",
            about=limits("from {}", "face.min_size"),
        ),
        histogram(
            "Sharpness",
            of["sharpness"],
            axis="RMS of the Laplacian, grey levels",
            about=limits("from {}", "quality.min_sharpness"),
        ),
        histogram(
            "Brightness",
            of["brightness"],
            axis="mean of the face, 1 is white",
            within=(0, 1),
            about=limits("{} to {} of 255", "quality.dark", "quality.bright"),
        ),
        histogram(
            "Quality",
            of["quality"],
            axis="of size, sharpness and light; 1 is best",
            within=(0, 1),
            about=limits("from {}", "quality.min_quality"),
        ),
    ]
    return section("What the kept faces are like", f'<div class="charts">{"".join(charts)}</div>')


def people(found: Summary) -> str:
    if not found.people:
        return ""
    per_person = np.array([one.pictures for one in found.people.values()])
    chart = histogram("Pictures per person", per_person, axis="pictures", what="people", whole=True, tail=0.95)
    alone = int((per_person == 1).sum())
    middle = f"Median {np.median(per_person):g}, mean {per_person.mean():.3g}"
    words = f"{middle}; {counted(alone, 'person', 'people')} with one."
    first = list(found.people.items())[:PEOPLE]
    rows = [(name, f"{one.pictures:,}", one.split) for name, one in first]
    title = "Most pictures" if len(found.people) > PEOPLE else "All people"
    listed = f"<h3>{title}</h3>{table(rows, head=('person', 'pictures', 'split'), counts=1)}"
    return section("People", f'<p class="pale">{words}</p><div class="charts">{chart}<div>{listed}</div></div>')


def settings(found: Summary) -> str:
    tree = group(found.about, "settings")
    if not tree:
        return ""
    text = without_paths(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    return section("Settings", f"<details><summary>All of them</summary><pre>{escape(text)}</pre></details>")
