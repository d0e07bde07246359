"""A dataset folder as `facefact prepare` leaves it, small and made by hand: avatars with their ground truth."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from facefact import world
from facefact.data.dataset import IndexRow
from facefact.data.prepare_config import PrepareConfig
from facefact.data.records import Rejection
from facefact.faces import face_quality, pose_from_landmarks
from facefact.types import Face

MODELS = [
    {"stage": "detect", "name": "avatar", "licence": "Apache-2.0"},
    {"stage": "person", "name": "/home/somebody/models/dlib", "licence": "CC0-1.0"},
]


def avatar(who: int, shown: int, *, size: int = 128) -> world.Rendering:
    return world.render(world.person(who), world.look(shown), size=size)


def row(number: int, *, person: str, split: str = "train", licence: str | None = None, size: int = 128) -> IndexRow:
    """What the index would say of `avatar(number // 4, number)`."""
    drawn = avatar(number // 4, number, size=size)
    ys, xs = np.nonzero(drawn.face)
    box = (float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max()))
    face = Face(box=box, landmarks=drawn.landmarks, score=0.9, pose=pose_from_landmarks(drawn.landmarks))
    quality = face_quality(drawn.image, face)
    return IndexRow(
        sample=f"{number:06d}",
        name=f"{person}/{number}.png",
        sha256=f"{number:064x}",
        width=size,
        height=size,
        original_width=size,
        original_height=size,
        faces=1,
        box=box,
        score=0.9,
        detector="avatar",
        landmarks=tuple(map(float, drawn.landmarks.ravel())),
        yaw=face.pose.yaw,
        pitch=face.pose.pitch,
        roll=face.pose.roll,
        face_size=quality.size,
        face_share=float(drawn.face.mean()),
        sharpness=quality.sharpness,
        brightness=quality.brightness / 255,
        clipped=quality.clipped,
        quality=quality.score,
        covered=0.0,
        caption=world.caption(world.look(number)),
        caption_by="words",
        licence=licence,
        person=person,
        split=split,
        shard="00000.tar",
    )


def write_dataset(
    folder: Path,
    rows: Sequence[IndexRow],
    rejected: Sequence[Rejection] = (),
    *,
    inputs: int | None = None,
    shards: bool = True,
    about: dict[str, Any] | None = None,
) -> Path:
    """The folder, without report and card. inputs: as prepare.json says; None: the true number."""
    from facefact.data.tables import columns_of, write_table

    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "index.parquet", columns_of(IndexRow), map(asdict, rows))
    write_table(folder / "rejected.parquet", columns_of(Rejection), map(asdict, rejected))
    names = {one.name for one in (*rows, *rejected)}
    said = {
        "layout": "people",
        "counts": {"inputs": len(names) if inputs is None else inputs},
        "settings": asdict(PrepareConfig()),
        "models": MODELS,
    }
    (folder / "prepare.json").write_text(json.dumps(said | (about or {})))
    if shards:
        (folder / "shards").mkdir(exist_ok=True)
        with tarfile.open(folder / "shards/00000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for one in rows:
                add_sample(tar, one)
    return folder


def add_sample(tar: tarfile.TarFile, one: IndexRow) -> None:
    drawn = avatar(int(one.sample) // 4, int(one.sample), size=one.width)
    for suffix, pixels in {"jpg": drawn.image, "face.png": drawn.face, "head.png": drawn.head}.items():
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG" if suffix == "jpg" else "PNG")
        entry = tarfile.TarInfo(f"{one.sample}.{suffix}")
        entry.size = out.tell()
        tar.addfile(entry, io.BytesIO(out.getvalue()))
