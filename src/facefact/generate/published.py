"""The published FaceChain-FACT weights, fetched from ModelScope when asked: adapter, encoder and base model.

They become one pipeline directory with the adapter inside, as the demo's: `--model facechain-fact` opens both. Files
come by plain HTTP in `.part` files, which an interrupted fetch goes on with; `sources.json` records where each came
from and its SHA-256.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from facefact.face_adapter import FaceAdapter
from facefact.generate.models import SOURCES, models_dir, wanted
from facefact.generate.recipe import file_hash
from facefact.types import UserError

SITE = "https://www.modelscope.cn"
SITE_VARIABLE = "FACEFACT_MODELSCOPE"
TIMEOUT = 60.0  # seconds without a byte
BLOCK = 1 << 20


@dataclass(frozen=True)
class Repository:
    """One at ModelScope."""

    name: str
    revision: str
    folder: str = ""


@dataclass(frozen=True)
class Publication:
    """What belongs together. adapter, encoder: files of FACT."""

    adapter: str
    encoder: str
    base: Repository


FACT = Repository("yucheng1996/FaceChain-FACT", "v1.0.0")
ENCODER = "ms1mv2_model_TransFace_S.pt"
PUBLICATIONS = {
    "facechain-fact": Publication(
        "adapter_maj_mask_large_new_reg001_faceshuffle_00290001.ckpt",
        ENCODER,
        Repository("MAILAND/majicmixRealistic_v6", "v1.0.0", "realistic"),
    ),
    "facechain-fact-film": Publication(
        "adapter_film_mask_large_new_reg001_faceshuffle_00290001.ckpt",
        ENCODER,
        Repository("ly261666/cv_portrait_model", "v2.0", "film/film"),
    ),
}


@dataclass(frozen=True)
class Source:
    """One file to fetch. path: in the repository. size: bytes. sha256: as the site says, "" if it does not."""

    repository: str
    revision: str
    path: str
    size: int
    sha256: str

    def url(self, site: str) -> str:
        return f"{site}/models/{self.repository}/resolve/{quote(self.revision)}/{quote(self.path)}"


@dataclass(frozen=True)
class Plan:
    """What a fetch would bring. licences: of each repository, as its page says ("" if it does not)."""

    name: str
    sources: tuple[Source, ...]
    licences: dict[str, str]


def site() -> str:
    """$FACEFACT_MODELSCOPE, for a mirror, or ModelScope."""
    return (os.environ.get(SITE_VARIABLE) or SITE).rstrip("/")


def plan(name: str, *, site: str) -> Plan:
    """Asks the site which files there are. UserError: no such publication, no answer, or a file is gone."""
    published = PUBLICATIONS[name]
    both = _listed(FACT, site)
    sources = []
    for file in (published.adapter, published.encoder):
        found = next((one for one in both if one.path == file), None)
        if found is None:
            raise UserError(f"{site} has no {file} in {FACT.name} ({FACT.revision}) any more")
        sources.append(found)
    base = {_inside(one, published.base): one for one in _listed(published.base, site)}
    chosen = wanted([path for path in base if path is not None])
    if "model_index.json" not in chosen:
        raise UserError(f"{site} has no pipeline in {published.base.name}/{published.base.folder} any more")
    sources += [base[path] for path in chosen]
    return Plan(name, tuple(sources), {one.name: _licence(one, site) for one in (FACT, published.base)})


def _inside(source: Source, repository: Repository) -> str | None:
    """The path below the repository's folder, None if it is not there."""
    start = f"{repository.folder}/" if repository.folder else ""
    return source.path[len(start) :] if source.path.startswith(start) else None


def _listed(repository: Repository, site: str) -> list[Source]:
    query = urlencode({"Revision": repository.revision, "Recursive": "true"})
    answer = _json(f"{site}/api/v1/models/{repository.name}/repo/files?{query}")
    try:
        return [
            Source(repository.name, repository.revision, _safe(one["Path"]), int(one["Size"]), one.get("Sha256") or "")
            for one in answer["Data"]["Files"]
            if one.get("Type") != "tree"
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{site} answered something else than the list of files of {repository.name}") from error


def _safe(path: str) -> str:
    if path.startswith("/") or ".." in Path(path).parts:
        raise ValueError(path)
    return path


def _licence(repository: Repository, site: str) -> str:
    answer = _json(f"{site}/api/v1/models/{repository.name}?{urlencode({'Revision': repository.revision})}")
    data = answer.get("Data") if isinstance(answer, dict) else None
    return str((data or {}).get("License") or "")


def _json(url: str) -> Any:
    try:
        with urlopen(Request(url, headers={"User-Agent": "facefact"}), timeout=TIMEOUT) as answer:
            return json.load(answer)
    except (OSError, ValueError) as error:
        raise UserError(f"{url} gave no answer: {_reason(error)}") from error


def fetch(plan: Plan, *, site: str, progress: Callable[[str, int, int], None] = lambda *_: None) -> Path:
    """Fetches what is missing, converts the adapter, and puts all of it into the models directory under the plan's
    name. Interrupted, it goes on where it was. progress: called with a file's name, its bytes so far, and all.

    UserError: the site does not answer, or gives other bytes than it said.
    """
    goal = models_dir() / plan.name
    work = goal.with_name(f"{plan.name}.partial")
    published = PUBLICATIONS[plan.name]
    needed = sum(one.size for one in plan.sources)
    work.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work).free + sum(file.stat().st_size for file in work.rglob("*") if file.is_file())
    if free < needed:
        raise UserError(f"{work.parent} has {free / 1e9:.1f} GB of room, {needed / 1e9:.1f} GB are needed")
    record = {}
    for source in plan.sources:
        inside = _inside(source, published.base) if source.repository == published.base.name else None
        path = work / inside if inside else work / "published" / source.path
        record[source.path] = asdict(source) | {"sha256": fetch_file(source, path, site=site, progress=progress)}
    convert = [work / "published" / name for name in (published.adapter, published.encoder)]
    FaceAdapter.from_facechain(*convert).save_pretrained(work / "adapter")
    sources = {"licences": plan.licences, "files": list(record.values())}
    (work / SOURCES).write_text(json.dumps(sources, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(work / "published")  # 1.2 GB that the adapter directory holds again
    work.rename(goal)
    return goal


def fetch_file(
    source: Source, path: Path, *, site: str, progress: Callable[[str, int, int], None] = lambda *_: None
) -> str:
    """One file, by ranges into PATH.part, which takes its name when it is whole; its SHA-256.

    UserError: no answer, or other bytes than the site's list says; those are thrown away.
    """
    if path.is_file() and path.stat().st_size == source.size:
        return _checked(source, path)
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _append(source, part, site=site, progress=progress)
    except OSError as error:
        raise UserError(f"{source.path} came only in part ({_reason(error)}): the same command goes on") from error
    digest = _checked(source, part)
    part.rename(path)
    return digest


def _append(source: Source, part: Path, *, site: str, progress: Callable[[str, int, int], None]) -> None:
    """OSError: the connection broke, or ended early."""
    have = part.stat().st_size if part.is_file() else 0
    if have >= source.size > 0:
        return
    request = Request(source.url(site), headers={"User-Agent": "facefact", "Range": f"bytes={have}-"})
    with urlopen(request, timeout=TIMEOUT) as answer, part.open("ab") as file:
        if answer.status != 206:  # it sends all, whatever was asked for
            file.truncate(0)
            have = 0
        while block := answer.read(BLOCK):
            file.write(block)
            have += len(block)
            if have > source.size:
                break  # _checked says so
            progress(source.path, have, source.size)
    if have < source.size:
        raise ConnectionError(f"{have} of {source.size} bytes")


def _checked(source: Source, path: Path) -> str:
    digest = file_hash(path)
    if path.stat().st_size != source.size or (source.sha256 and digest != source.sha256.lower()):
        path.unlink()
        raise UserError(f"{source.path} is not what the site's list says (size or SHA-256): run the command again")
    return digest


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code}"
    reason = error.reason if isinstance(error, URLError) else error
    return " ".join(str(reason).split()) or type(error).__name__
