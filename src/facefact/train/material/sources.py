"""Where training samples come from: the portrait world, a folder of pictures per person, or a prepared dataset."""

from __future__ import annotations

from pathlib import Path

from facefact.data.dataset import INDEX
from facefact.train.material.augmentation import Views
from facefact.train.material.photos import FolderSource
from facefact.train.material.prepared import PreparedSource
from facefact.train.material.regular import RegularSource
from facefact.train.material.samples import Source
from facefact.train.material.world import WorldSource
from facefact.train.settings import Data
from facefact.types import UserError


def open_source(data: Data) -> Source:
    """The source that the settings name. UserError, before anything is computed: there is none, it is empty, or holds
    too few people to keep some for validation."""
    source: Source
    if data.source == "world":
        if data.people < 1 or data.looks < 1:
            raise UserError(f"settings data.people={data.people}, data.looks={data.looks}: both must be at least 1")
        people, source = data.people, WorldSource(data.people, data.looks, data.seed)
    else:
        source = folder = _open_folder(Path(data.source).expanduser())
        people = len(folder.people)
    if people < 2:
        raise UserError(f"{data.source} holds pictures of {people} people: training needs several, a folder for each")
    if people <= held_out(source, data):
        raise UserError(
            f"{data.source} holds {people} people, of whom data.validation_people={data.validation_people} are kept "
            "out of training: none is left; lower it"
        )
    return source


def with_views(source: Source, data: Data, *, multiple: int) -> Source:
    """The source with the views and shapes that the settings want. multiple: pixels that all sides must be multiples
    of. UserError: a size that is none."""
    if data.augment.views == 1 and data.aspect == 1:
        return source
    for _, size in data.sizes():
        if data.aspect > 1 and size % multiple:
            raise UserError(f"data.size={size} with data.aspect above 1: sides must be multiples of {multiple}")
    assert isinstance(source, (FolderSource, PreparedSource)), "Data.check has refused all others"
    return Views(source, data.augment, data.seed, aspect=data.aspect, multiple=multiple)


def open_regular(data: Data, *, multiple: int) -> RegularSource | None:
    """The pictures without a person; None where the settings want none. UserError: there are none."""
    if data.regular.source is None:
        return None
    path = Path(data.regular.source).expanduser()
    if not path.exists():
        raise UserError(f"data.regular.source: there is nothing at {path}; pictures with captions are expected")
    return RegularSource(path, aspect=data.aspect, multiple=multiple)


def as_they_are(source: Source) -> Source:
    """The pictures of a source as squares, each once."""
    return source.source if isinstance(source, Views) else source


def held_out(source: Source, data: Data) -> int:
    """How many people are kept out of training; the last ones of the source. A prepared dataset says it itself."""
    source = as_they_are(source)
    return source.held_out if isinstance(source, PreparedSource) else data.validation_people


def _open_folder(path: Path) -> FolderSource | PreparedSource:
    if not path.is_dir():
        raise UserError(f"data.source: there is no folder {path}; one with a folder per person is expected, or world")
    if (path / INDEX).is_file():
        return PreparedSource(path)
    return FolderSource(path)
