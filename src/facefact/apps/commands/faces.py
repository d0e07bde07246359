"""`facefact faces`: what was found in pictures (boxes, landmarks, pose, quality, head mask), or why nothing was."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facefact.faces import (
    DETECTORS,
    Detector,
    Quality,
    checked_face,
    draw_faces,
    face_crop_from,
    face_quality,
    get_detector,
    open_picture,
    why_unusable,
)
from facefact.faces.files import pictures_below
from facefact.faces.reference import costs
from facefact.types import Face, UserError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "faces",
        help="show the faces that are found in pictures, or why none is",
        description="Show the faces that are found in pictures, or why none is. Exit code 2 if a picture that was "
        "named, or a whole folder, has no face that can be used.",
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a picture, or a folder of pictures")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--draw", metavar="DIR", type=Path, help="write pictures that show what was found")
    parser.add_argument(
        "--avatar",
        metavar="DIR",
        type=Path,
        help="write the avatar that `facefact generate` draws from each photo with the demo model, beside the photo",
    )
    parser.add_argument("--which", type=int, default=0, metavar="N", help="0: the largest (default), 1: the next")
    parser.add_argument(
        "--detector", choices=DETECTORS, default="auto", help="default: the first of these that is there"
    )
    parser.add_argument("--yunet", metavar="FILE", help="YuNet's ONNX file (or name it in FACEFACT_YUNET)")
    parser.add_argument("--offline", action="store_true", help="never download, not even for a detector that is named")
    parser.set_defaults(run=run)


@dataclass
class Report:
    """What one picture gave. ms: detection only, without reading the file. costs: of each face, what makes it a worse
    reference. error: why no face of it can be used. drawn, avatar: files that were written."""

    picture: str
    width: int = 0
    height: int = 0
    ms: float = 0.0
    faces: list[Face] = field(default_factory=list)
    qualities: list[Quality] = field(default_factory=list)
    costs: list[list[str]] = field(default_factory=list)
    error: str | None = None
    drawn: str | None = None
    avatar: str | None = None


def run(args: argparse.Namespace) -> int:
    """Exit code 0, or 2 where a named picture or a whole folder has no usable face."""
    named = args.detector != "auto"  # naming a detector asks for its model; "auto" never downloads
    detector = get_detector(args.detector, model=args.yunet, offline=args.offline or not named)
    groups = [pictures_of(Path(name)) for name in args.pictures]
    into = Folders(*(_folder(path) if path else None for path in (args.draw, args.avatar)))
    reports: list[Report] = []
    failed = False
    for group in groups:
        of_group = []
        for path in group:
            report = inspect_picture(path, detector, args.which, into, number=len(reports))
            of_group.append(report)
            reports.append(report)
            if not args.json:
                print("\n".join(lines(report)), flush=True)
        failed |= all(report.error for report in of_group)
    summary = summarise(reports, detector)
    if args.json:
        print(json.dumps({**summary, "pictures": [as_json(report, args.which) for report in reports]}, indent=2))
    else:
        print("\n".join(summary_lines(summary)))
    if failed:
        raise UserError(_why(reports))
    return 0


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be a folder for the drawings ({error.strerror})") from error
    return path


def _why(reports: list[Report]) -> str:
    unusable = [report for report in reports if report.error]
    if len(unusable) == 1:
        return _with_name(unusable[0])
    count = f"{len(unusable)} of {len(reports)}"
    return f"{count} pictures have no face that can be used; the first: {_with_name(unusable[0])}"


def _with_name(report: Report) -> str:
    """Errors of reading begin with the file's name, those of detection do not."""
    error = str(report.error)
    return error if error.startswith(report.picture) else f"{report.picture}: {error}"


def pictures_of(path: Path) -> list[Path]:
    """The file itself, or all pictures below a folder in a stable order. UserError if a folder has none."""
    if not path.is_dir():
        return [path]
    found = pictures_below(path)
    if not found:
        raise UserError(f"{path}: no pictures in this folder")
    return found


@dataclass(frozen=True)
class Folders:
    """Where pictures go that show what was found, and the avatars; None where none are wanted."""

    drawn: Path | None = None
    avatars: Path | None = None


def inspect_picture(path: Path, detector: Detector, which: int, into: Folders, *, number: int) -> Report:
    """One picture; whatever is wrong with it is in the report."""
    report = Report(os.fspath(path))
    try:
        picture = open_picture(path)
        look_into(report, picture, detector, which)
    except UserError as error:
        report.error = str(error)
    name = f"{number:04d}_{path.stem}.png"
    if into.drawn is not None and report.width:
        report.drawn = os.fspath(_draw(picture, report, detector, which, into.drawn / name))
    if into.avatars is not None and report.error is None and report.faces[which].backend != "avatar":
        report.avatar = os.fspath(_avatar(picture, report.faces[which], detector, into.avatars / name))
    return report


def look_into(report: Report, picture: np.ndarray, detector: Detector, which: int) -> None:
    """What the picture shows, into its report. UserError, after that: the chosen face cannot be used."""
    report.height, report.width = picture.shape[:2]
    start = time.perf_counter()
    report.faces = detector.detect(picture)
    report.ms = 1000 * (time.perf_counter() - start)
    report.qualities = [face_quality(picture, face) for face in report.faces]
    report.costs = [costs(picture, face) for face in report.faces]
    checked_face(report.faces, which)


def _avatar(picture: np.ndarray, face: Face, detector: Detector, path: Path) -> Path:
    """Photo and avatar side by side."""
    from facefact.world.likeness import likeness, look_at, portrait

    sight = look_at(picture, face, detector)
    avatar = portrait(likeness([sight]), size=len(sight.view)).image
    Image.fromarray(np.concatenate([sight.view, avatar], 1)).save(path)
    return path


def _draw(picture: np.ndarray, report: Report, detector: Detector, which: int, path: Path) -> Path:
    Image.fromarray(drawing(picture, report, detector, which)).save(path)
    return path


def drawing(picture: np.ndarray, report: Report, detector: Detector, which: int) -> np.ndarray:
    """What was found drawn into (h, w, 3) uint8 RGB; of the chosen face the head and what the encoder sees of it."""
    head = crop = None
    if report.error is None:
        face = report.faces[which]
        made = face_crop_from(picture, landmarks=face.landmarks, head=detector.head_mask(picture, face), face=face)
        head, crop = made.head, made.pixels
    return draw_faces(picture, report.faces, which=which, head=head, crop=crop)


def lines(report: Report) -> list[str]:
    """For people: one line for the picture, one for each face."""
    if report.error and not report.faces:
        return [_with_name(report)]
    count = "1 face" if len(report.faces) == 1 else f"{len(report.faces)} faces, the largest first"
    shown = [f"{report.picture}: {count} ({report.width}x{report.height}, {report.ms:.0f} ms)"]
    faces = zip(report.faces, report.qualities, report.costs, strict=True)
    for number, (face, quality, said) in enumerate(faces):
        pose = f"yaw {face.pose.yaw:+.0f} pitch {face.pose.pitch:+.0f} roll {face.pose.roll:+.0f}"
        light = f"sharpness {quality.sharpness:.0f} light {quality.brightness:.0f} quality {quality.score:.2f}"
        wrong = f"; cannot be used: {reason}" if (reason := why_unusable(face)) else ""
        x, y = face.box[:2]
        shown.append(
            f"  {number}: {quality.size:.0f} px at {x:.0f},{y:.0f} score {face.score:.2f} {pose} {light}{wrong}"
        )
        shown += [] if wrong else [f"     {cost}" for cost in said]
    if report.drawn:
        shown.append(f"  drawn: {report.drawn}")
    if report.avatar:
        shown.append(f"  photo and avatar: {report.avatar}")
    return shown


def summarise(reports: list[Report], detector: Detector) -> dict[str, Any]:
    """Counts, the share of pictures with a face, and the time of detection per picture in milliseconds."""
    found = sum(bool(report.faces) for report in reports)
    times = [report.ms for report in reports if report.width]
    return {
        "detector": detector.name,
        "licence": detector.licence,
        "summary": {
            "pictures": len(reports),
            "with_face": found,
            "usable": sum(report.error is None for report in reports),
            "detection_rate": found / len(reports),
            "ms_mean": statistics.fmean(times) if times else None,
            "ms_median": statistics.median(times) if times else None,
        },
    }


def summary_lines(summary: dict[str, Any]) -> list[str]:
    figures = summary["summary"]
    head = f"detector {summary['detector']} ({summary['licence']})"
    if figures["pictures"] == 1:
        return [head]
    rate = f"{figures['with_face']} of {figures['pictures']} pictures have a face ({figures['detection_rate']:.1%})"
    speed = f", {figures['ms_median']:.0f} ms per picture (median)" if figures["ms_median"] is not None else ""
    return [f"{rate}, {figures['usable']} can be used{speed}", head]


def as_json(report: Report, which: int) -> dict[str, Any]:
    """The report in plain types; `which` is the number of the chosen face, null where none can be used."""
    faces = [
        {
            "box": [round(value, 2) for value in face.box],
            "landmarks": np.round(face.landmarks.astype(float), 2).tolist(),
            "score": round(face.score, 4),
            "pose": {axis: round(angle, 2) for axis, angle in asdict(face.pose).items()},
            "quality": {name: round(value, 4) for name, value in asdict(quality).items()},
            "unusable": why_unusable(face),
            "costs": said,
            "backend": face.backend,
        }
        for face, quality, said in zip(report.faces, report.qualities, report.costs, strict=True)
    ]
    return {
        "picture": report.picture,
        "width": report.width,
        "height": report.height,
        "ms": round(report.ms, 2),
        "faces": faces,
        "which": None if report.error else which,
        "error": report.error,
        "drawn": report.drawn,
        "avatar": report.avatar,
    }
