"""`facefact eval inpaint`: people put into templates of whom everything is known, in several ways.

Templates are renders: one person, or three side by side. The people who are put in, those of the templates and all
looks are held out. Every way replaces the same faces by the same people with the same prompts and seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facefact.demo import DEMO
from facefact.evaluate.judges import Judges
from facefact.evaluate.pictures import Progress
from facefact.evaluate.sheet import write_rows
from facefact.face_adapter import FaceAdapter
from facefact.faces import face_crop_from
from facefact.faces.align import similarity
from facefact.faces.square import seen_through
from facefact.generate import InpaintSettings, Studio, Template, load_base
from facefact.generate.pieces import Piece, laid_in
from facefact.generate.regions import region_mask, softened
from facefact.generate.skin_tone import cheek_colour, from_lab, to_lab
from facefact.metrics.scores import figure, retrieved
from facefact.types import Face, FaceTokens
from facefact.world import CHOICES, Look, Person, Rendering, first_held_out, held_out_seed, look, person, render
from facefact.world.caption import EXPRESSION, SUBJECT

CELL = 192  # pixels of one person in a template
GROUP = 3
NEAR = 0.06  # of the eye distance: eyes and mouth are in their places
TURN = 10.0  # degrees of yaw: the pose is the template's
WAYS = ("in_place", "shape", "base", "paste", "before")
NAMES = (
    "placed",
    "rank1",
    "pose_kept",
    "expression_kept",
    "expression_asked",
    "expression_unasked",
    "seam",
    "outside_change",
    "skin_difference",
)


@dataclass(frozen=True)
class Case:
    """own: who is put in, an index. picture: (h, w, 3) uint8. corner: x of the person's cell. true: the render that
    fills it. shown: its look. expression: what is asked for, or the template's where the prompt says nothing. neck:
    (CELL, CELL) bool, its skin outside the face."""

    own: int
    picture: np.ndarray
    corner: int
    true: Rendering
    shown: Look
    expression: str
    prompt: str
    seed: int
    neck: np.ndarray

    @property
    def landmarks(self) -> np.ndarray:
        """(5, 2) in the picture."""
        return self.true.landmarks + (self.corner, 0)

    @property
    def asks(self) -> bool:
        """Whether the prompt names an expression."""
        return self.prompt != SUBJECT

    def cell(self, picture: np.ndarray) -> np.ndarray:
        """(CELL, CELL, 3): the person's part of a picture like the template."""
        return picture[:, self.corner : self.corner + CELL]


@dataclass(frozen=True)
class InpaintProtocol:
    people: tuple[Person, ...]
    references: tuple[Rendering, ...]
    cases: tuple[Case, ...]


def inpaint_protocol(seed: int, *, people: int = 100, templates: int = 4) -> InpaintProtocol:
    """`people` held-out people, each put into so many templates: every second one is a group. Every second prompt names
    an expression. Templates with dark sunglasses are left out: they hide what is to be found again."""
    rng, first = np.random.default_rng((seed, 78)), first_held_out(seed)
    who = tuple(person(first + i) for i in range(people))
    references = tuple(render(one, _look(rng)) for one in who)
    cases = [_case(rng, own, first + people, number) for own in range(people) for number in range(templates)]
    return InpaintProtocol(who, references, tuple(cases))


def _look(rng: np.random.Generator) -> Look:
    shown = look(held_out_seed(rng))
    while shown["glasses"] == "sun":
        shown = look(held_out_seed(rng))
    return shown


def _case(rng: np.random.Generator, own: int, strangers: int, number: int) -> Case:
    count = GROUP if (own + number) % 2 else 1
    looks = [_look(rng) for _ in range(count)]
    there = [person(strangers + int(rng.integers(500_000))) for _ in looks]
    made = [render(who, shown, size=CELL) for who, shown in zip(there, looks, strict=True)]
    chosen = int(rng.integers(count))
    expression, named = looks[chosen]["expression"], (own // 2 + number) % 2 == 0
    if named:
        expression = str(rng.choice(CHOICES["expression"]))
    return Case(
        own=own,
        picture=np.concatenate([one.image for one in made], axis=1),
        corner=CELL * chosen,
        true=made[chosen],
        shown=looks[chosen],
        expression=expression,
        prompt=f"{SUBJECT}, {EXPRESSION[expression]}" if named else SUBJECT,
        seed=int(rng.integers(2**31)),
        neck=neck_mask(there[chosen], looks[chosen], made[chosen]),
    )


def neck_mask(who: Person, shown: Look, rendering: Rendering) -> np.ndarray:
    """(h, w) bool: skin outside the face: what another skin would colour otherwise."""
    factors = who.factors.copy()
    factors[0] = -1.0 if factors[0] > 0 else 1.0
    other = render(Person(who.seed, factors), shown, size=rendering.image.shape[0])
    differs = np.abs(other.image.astype(int) - rendering.image).max(2) > 24
    return differs & ~cv2.dilate(rendering.face.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)


@dataclass(frozen=True)
class Painting:
    """What the ways work with."""

    studio: Studio
    tokens: tuple[FaceTokens, ...]
    references: tuple[Rendering, ...]
    steps: int


Way = Callable[[Painting, Case, Face], tuple[np.ndarray, Sequence[Sequence[int]]]]


def _painted(painting: Painting, case: Case, face: Face, **ways: Any) -> tuple[np.ndarray, Sequence[Sequence[int]]]:
    settings = painting.studio.settings(
        InpaintSettings, prompt=case.prompt, seed=case.seed, steps=painting.steps, **ways
    )
    template = Template(case.picture, None, case.picture)
    made = painting.studio.inpaint(painting.tokens[case.own], settings, template=template, face=face)
    return np.asarray(made.image), made.recipe["windows"]


def in_place(painting: Painting, case: Case, face: Face) -> tuple[np.ndarray, Sequence[Sequence[int]]]:
    return _painted(painting, case, face, shape="template")


def shape(painting: Painting, case: Case, face: Face) -> tuple[np.ndarray, Sequence[Sequence[int]]]:
    return _painted(painting, case, face, shape="person")


def base(painting: Painting, case: Case, face: Face) -> tuple[np.ndarray, Sequence[Sequence[int]]]:
    """The base model's inpainting, without a face."""
    return _painted(painting, case, face, shape="template", scale=0.0)


def before(painting: Painting, case: Case, face: Face) -> tuple[np.ndarray, Sequence[Sequence[int]]]:
    """One pass in a wide square about the box, as it came out: no framing, nothing moved, the old skin, no word of the
    template."""
    open_now = painting.studio
    studio = Studio(open_now.pipe, open_now.adapter, model=open_now.model, detector=NoDetector())
    return _painted(
        replace(painting, studio=studio),
        case,
        face,
        shape="template",
        skin=False,
        keep_expression=False,
        context=InpaintSettings.context,
        centre=InpaintSettings.centre,
    )


class NoDetector:
    """Finds nothing."""

    name = licence = "none"

    def detect(self, picture: np.ndarray) -> list[Face]:
        return []

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        return np.zeros(picture.shape[:2], bool)


def paste(painting: Painting, case: Case, face: Face) -> tuple[np.ndarray, Sequence[Sequence[int]]]:
    """No model: see `pasted`."""
    reference = painting.references[case.own]
    piece = pasted(case.picture, face, reference.image, reference.landmarks)
    rows, columns = np.nonzero(piece.weight)
    box = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
    return laid_in(case.picture, [piece]), [box]


def pasted(picture: np.ndarray, face: Face, other: np.ndarray, landmarks: np.ndarray) -> Piece:
    """The face of another (h, w, 3) uint8 picture, with the (5, 2) landmarks, laid onto a face's landmarks, in the
    colours (mean, spread) that were there."""
    height, width = picture.shape[:2]
    matrix = similarity(landmarks, face.landmarks)
    laid = seen_through(other, matrix, (width, height), how=cv2.INTER_CUBIC)
    region = region_mask(face, picture)
    lab, wanted = to_lab(laid), to_lab(picture)[region]
    mine = lab[region]
    lab = (lab - mine.mean(0)) / np.maximum(mine.std(0), 1e-3) * wanted.std(0) + wanted.mean(0)
    return Piece((0, 0, width, height), from_lab(lab), softened(region, face.longer_side))


BY_NAME: Mapping[str, Way] = {"in_place": in_place, "shape": shape, "base": base, "paste": paste, "before": before}


def evaluate_inpaint(
    bundle: Path,
    judges_at: Path,
    *,
    seed: int = 1,
    people: int = 100,
    templates: int = 4,
    steps: int = 12,
    device: str = "cpu",
    ways: Sequence[str] = WAYS,
    sheet: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The figures of each way by its name, of the untouched templates ("template"), and what they were measured on.

    sheet: a picture with the first templates and what every way made of them.
    """
    plan = inpaint_protocol(seed, people=people, templates=templates)
    judges = Judges.open(judges_at, bundle)
    painting = _painting(bundle, plan, judges, steps=steps, device=device)
    found = [(case, face) for case in plan.cases if (face := _found(judges, case)) is not None]
    gallery = judges.embed([one.image for one in plan.references])
    figures: dict[str, Any] = {
        "seed": seed,
        "people": people,
        "templates": len(plan.cases),
        "found": len(found),
        "steps": steps,
        "template": _figures(
            [Measured.of(judges, case, case.picture, [], yaw=face.pose.yaw) for case, face in found], None, gallery
        ),
    }
    shown = []
    for name in ways:
        made = []
        for number, (case, face) in enumerate(found):
            picture, windows = BY_NAME[name](painting, case, face)
            made.append((picture, windows))
            if progress:
                progress(name, number + 1, len(found))
        measured = [
            Measured.of(judges, case, picture, windows, yaw=face.pose.yaw)
            for (case, face), (picture, windows) in zip(found, made, strict=True)
        ]
        embedded = judges.embed([case.cell(picture) for (case, _), (picture, _) in zip(found, made, strict=True)])
        figures[name] = _figures(measured, embedded, gallery)
        shown.append([case.cell(picture) for (case, _), (picture, _) in zip(found, made, strict=True)])
    if sheet is not None:
        write_sheet(sheet, plan, [case for case, _ in found], dict(zip(ways, shown, strict=True)))
    return figures


def _painting(bundle: Path, plan: InpaintProtocol, judges: Judges, *, steps: int, device: str) -> Painting:
    pipe = load_base(bundle, device=device)
    adapter = FaceAdapter.from_pretrained(bundle / "adapter").attach(pipe)
    studio = Studio(pipe, adapter, model=DEMO, detector=judges.detector)
    crops = [face_crop_from(one.image, landmarks=one.landmarks, head=one.head) for one in plan.references]
    return Painting(studio, tuple(adapter.encode([crop]) for crop in crops), plan.references, steps)


def _found(judges: Judges, case: Case) -> Face | None:
    """The face that is to be replaced, as a detector sees it; None where it does not."""
    faces = judges.detector.detect(case.picture)
    distance = float(np.linalg.norm(case.landmarks[1] - case.landmarks[0]))
    near = [face for face in faces if np.linalg.norm(face.landmarks - case.landmarks, axis=1).mean() < distance / 2]
    return near[0] if near else None


@dataclass(frozen=True)
class Measured:
    """One picture: see `NAMES`; NaN where nothing can be said. expression_kept: as asked for or, where the prompt names
    none, the template's; the two after it are these two kinds apart."""

    own: int
    placed: float
    pose_kept: float
    expression_kept: float
    expression_asked: float
    expression_unasked: float
    seam: float
    outside_change: float
    skin_difference: float

    @classmethod
    def of(
        cls, judges: Judges, case: Case, picture: np.ndarray, windows: Sequence[Sequence[int]], *, yaw: float
    ) -> Measured:
        """picture: like the template. windows: x0, y0, x1, y1 of all that may have changed. yaw: degrees, of the
        template's face, as the same detector sees it."""
        cell = case.cell(picture)
        faces = judges.detector.detect(cell)
        said = judges.read([cv2.resize(cell, (128, 128), interpolation=cv2.INTER_AREA)])[0]
        right = float(said["expression"] == case.expression)
        return cls(
            own=case.own,
            placed=float(bool(faces) and placed(faces[0].landmarks, case.true.landmarks)),
            pose_kept=float(bool(faces) and abs(faces[0].pose.yaw - yaw) <= TURN),
            expression_kept=right,
            expression_asked=right if case.asks else float("nan"),
            expression_unasked=float("nan") if case.asks else right,
            seam=seam(case.picture, picture),
            outside_change=outside_change(case.picture, picture, windows),
            skin_difference=_skin_difference(cell, faces, case.neck),
        )


def placed(points: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether the middle of the eyes and that of the mouth lie where they are wanted; both (5, 2)."""
    distance = float(np.linalg.norm(wanted[1] - wanted[0]))
    pairs = ((points[:2].mean(0), wanted[:2].mean(0)), (points[3:].mean(0), wanted[3:].mean(0)))
    return all(float(np.linalg.norm(a - b)) <= NEAR * distance for a, b in pairs)


def seam(old: np.ndarray, new: np.ndarray) -> float:
    """How much steeper the picture is along the edge of what has changed than the template is there: the ratio of mean
    gradients in a band of 5 pixels; NaN where nothing has changed."""
    changed = (np.abs(new.astype(int) - old).max(2) > 3).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    changed = cv2.morphologyEx(cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((9, 9))), cv2.MORPH_OPEN, kernel)
    band = cv2.dilate(changed, kernel) > cv2.erode(changed, kernel)
    if not band.any():
        return float("nan")
    return float(_steepness(new)[band].mean() / max(_steepness(old)[band].mean(), 1e-6))


def _steepness(picture: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))


def outside_change(old: np.ndarray, new: np.ndarray, windows: Sequence[Sequence[int]]) -> float:
    """The largest change (0..255) outside all windows; NaN where they cover everything."""
    outside = np.ones(old.shape[:2], bool)
    for x0, y0, x1, y1 in windows:
        outside[y0:y1, x0:x1] = False
    return float(np.abs(new.astype(int) - old)[outside].max()) if outside.any() else float("nan")


def _skin_difference(cell: np.ndarray, faces: Sequence[Face], neck: np.ndarray) -> float:
    """CIELAB distance of cheeks and neck; NaN where one of them is not seen."""
    cheeks = cheek_colour(cell, faces[0].landmarks) if faces else None
    if cheeks is None or neck.sum() < 20:
        return float("nan")
    return float(np.linalg.norm(np.median(to_lab(cell)[neck], axis=0) - cheeks))


def _figures(measured: Sequence[Measured], embedded: np.ndarray | None, gallery: np.ndarray) -> dict[str, Any]:
    own = np.array([one.own for one in measured])
    samples = {name: np.array([getattr(one, name) for one in measured]) for name in NAMES if name != "rank1"}
    if embedded is not None:
        samples["rank1"] = retrieved(embedded @ gallery.T, own)
    told = [name for name in NAMES if name in samples and not np.isnan(samples[name]).all()]
    return {name: figure(samples[name], own).as_json() for name in told}


def write_sheet(
    path: Path, plan: InpaintProtocol, cases: Sequence[Case], made: Mapping[str, Sequence[np.ndarray]], *, rows: int = 8
) -> None:
    """A row for each of the first cases: the person, the template, what every way made of it."""
    shown = [
        [plan.references[case.own].image, case.cell(case.picture), *(pictures[row] for pictures in made.values())]
        for row, case in enumerate(cases[:rows])
    ]
    write_rows(path, ["person", "template", *made], shown, cell=CELL)
