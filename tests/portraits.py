"""A small input for the preparation: rendered people in folders, and every kind of file that is no portrait."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
from PIL import Image

from facefact.data.prepare_config import CoverSettings, FaceSettings, PeopleSettings, PrepareConfig
from facefact.data.stages import Tools, open_tools
from facefact.types import Face
from facefact.world import look, person, render

SETTINGS = PrepareConfig(
    chunk=3,
    face=FaceSettings(detector="avatar", min_size=24.0),
    cover=CoverSettings(hands="off", max_covered=1.0),
    people=PeopleSettings(recogniser="none", validation=0.3),
)
KILLER = (255, 0, 254)  # the colour of the picture on which a worker dies


def people(folder: Path, *, count: int = 3, looks: int = 3, size: int = 160) -> Path:
    """A folder per person, as LFW."""
    for number in range(count):
        for shown in range(looks):
            path = folder / f"Person_{number}" / f"Person_{number}_{shown:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(render(person(number), look(100 * number + shown), size=size).image).save(path)
    return folder


def oddities(folder: Path) -> list[str]:
    """Files that cannot become samples, in a folder of their own; their names."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (160, 160, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    Image.fromarray(noise).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(folder / "sixteen.png")
    Image.fromarray(noise).save(folder / "moving.gif", save_all=True, append_images=[Image.fromarray(255 - noise)])
    whole = (folder / "cmyk.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "words.png").write_text("I am no picture")
    (folder / "program.exe").write_bytes(b"MZ" + bytes(100))
    (folder / "strange \u2603\nname.jpg").write_text("x")
    header = bytearray(whole[: len(whole) // 2])
    at = header.find(b"\xff\xc0")
    header[at + 5 : at + 9] = (14000).to_bytes(2, "big") * 2  # 196 megapixels, says the header
    (folder / "huge.jpg").write_bytes(bytes(header))
    return sorted(path.name for path in folder.iterdir())


class Deadly:
    """A detector that dies, as native code may, on one picture."""

    name, licence = "deadly", "of the tests"

    def __init__(self, detector) -> None:
        self.detector = detector

    def detect(self, picture: np.ndarray) -> list[Face]:
        if tuple(picture[0, 0]) == KILLER:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.detector.detect(picture)

    def head_mask(self, picture: np.ndarray, face: Face) -> np.ndarray:
        return self.detector.head_mask(picture, face)


def deadly_tools(settings: PrepareConfig) -> Tools:
    tools = open_tools(settings)
    return Tools(Deadly(tools.detector), tools.covers, tools.recogniser, tools.captioner)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a finished dataset."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
