"""What only the whole set can tell: duplicates, who does not belong to a person, who the nameless are, and the split.

    briefs of all samples -> without duplicates -> without outliers -> with a person each -> those with enough -> split

Every decision is the same whatever the order of the briefs. Labelled and unlabelled pictures never mix: a picture
without a person does not join a person that somebody named.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from facefact.data import duplicates
from facefact.data.clusters import average_linkage
from facefact.data.prepare_config import DuplicateSettings, PeopleSettings
from facefact.data.recognisers import MENDING, which_recogniser
from facefact.data.records import Brief, Unfit, Verdict
from facefact.types import UserError

log = logging.getLogger(__name__)

FOUND = "person-{:05d}"  # the name of a person that nobody named


def check_people(settings: PeopleSettings, *, labelled: bool, detector_name: str = "") -> None:
    """Before any work: can people be told apart? labelled: whether every picture of the input brings its person.

    UserError: a setting is out of its range; or unlabelled pictures and no recogniser is here. `people.recogniser=none`
    is no error: who says so wants each unlabelled picture to be a person of its own.
    """
    for name, distance in (("outlier", settings.outlier), ("cluster", settings.cluster)):
        if distance is not None and not 0 <= distance <= 2:
            raise UserError(f"settings people.{name}={distance}: distances of unit vectors lie between 0 and 2")
    if not 0 <= settings.validation < 1:
        raise UserError(f"settings people.validation={settings.validation}: a share of the people, from 0 to below 1")
    if settings.min_pictures < 1:
        raise UserError(f"settings people.min_pictures={settings.min_pictures}: at least 1")
    nobody = settings.recogniser == "auto" and which_recogniser(settings, detector_name=detector_name) == "none"
    if nobody and not labelled:
        raise UserError(
            "the pictures name no people, and no face recogniser is here to find them: give a folder for each person, "
            f"or {MENDING} (people.recogniser=none: each picture is a person of its own)"
        )


@dataclass(frozen=True)
class _Someone:
    """A person and all their pictures. key: what the split goes by; of a found person it is the first sample, since
    numbers change when pictures are added."""

    name: str
    key: str
    briefs: Sequence[Brief]


def decide(
    briefs: Iterable[Brief],
    settings: PeopleSettings,
    duplicate_settings: DuplicateSettings,
    *,
    outlier: float | None = None,
    cluster: float | None = None,
) -> Verdict:
    """outlier, cluster: the recogniser's default distances; the settings' own go first. Without either, or without
    embeddings, nobody is compared: labels are believed, and each unlabelled picture is a person of its own.

    Of a person with three or more pictures those far from its largest group (see `unlike`) are unfit, or kept with a
    flag (`people.outliers`). Of two that disagree nobody can say which is wrong: both stay, with the flag.
    """
    ordered = sorted(briefs, key=lambda brief: brief.sample)
    given = {brief.person for brief in ordered if brief.person is not None}
    unfit, flagged = duplicated(ordered, duplicate_settings.distance), set[str]()
    ordered = [brief for brief in ordered if brief.sample not in unfit]
    people = labelled(ordered)
    for someone in people:
        strangers = outliers(someone, outlier if settings.outlier is None else settings.outlier)
        if settings.outliers == "reject" and len(someone.briefs) > 2:
            unfit |= strangers
        else:
            flagged |= strangers.keys()
    people = [replace(one, briefs=[brief for brief in one.briefs if brief.sample not in unfit]) for one in people]
    nameless = [brief for brief in ordered if brief.person is None]
    people += found(nameless, cluster if settings.cluster is None else settings.cluster, taken=given)
    for someone in people:
        unfit |= too_few(someone, settings.min_pictures)
    people = [someone for someone in people if len(someone.briefs) >= settings.min_pictures]
    person = {brief.sample: someone.name for someone in people for brief in someone.briefs}
    keys = {someone.name: someone.key for someone in people}
    return Verdict(
        unfit=dict(sorted(unfit.items())),
        person=dict(sorted(person.items())),
        split=split(keys, share=settings.validation, seed=settings.seed),
        outliers=frozenset(flagged & person.keys()),
    )


# Duplicates


def duplicated(briefs: Sequence[Brief], distance: int | None) -> dict[str, Unfit]:
    """Sample -> why it is left out: a duplicate of a picture that stays.

    Of duplicates one that names its person stays before one that does not, then the best, then the first by name. The
    faces of one picture are no duplicates of each other, and stay or go together.
    """
    faces: dict[str, list[Brief]] = {}
    for brief in briefs:
        faces.setdefault(brief.name or brief.sample, []).append(brief)
    names, first = list(faces), [own[0] for own in faces.values()]
    qualities = [max(brief.quality for brief in own) for own in faces.values()]
    unfit = {}
    for group in duplicates.groups([one.sha256 for one in first], [one.perceptual_hash for one in first], distance):
        stays = duplicates.best([i for i in group if first[i].person is not None] or group, qualities, names)
        for i in (i for i in group if i != stays):
            reason = "same file" if first[i].sha256 == first[stays].sha256 else "looks alike"
            for brief in faces[names[i]]:
                unfit[brief.sample] = Unfit("duplicates", reason, f"of these, {names[stays]} stays")
    return unfit


# People with names


def labelled(briefs: Iterable[Brief]) -> list[_Someone]:
    """Those that bring their person, person by person."""
    people: dict[str, list[Brief]] = {}
    for brief in briefs:
        if brief.person is not None:
            people.setdefault(brief.person, []).append(brief)
    return [_Someone(name, name, people[name]) for name in sorted(people)]


def outliers(someone: _Someone, distance: float | None) -> dict[str, Unfit]:
    """Sample -> why it is not of this person. Pictures without an embedding are believed, all are without distance."""
    seen = [brief for brief in someone.briefs if brief.embedding is not None]
    if distance is None or not seen:
        return {}
    strange = {}
    apart = unlike(np.array([brief.embedding for brief in seen], np.float32), distance)
    for brief, far in zip(seen, apart.tolist(), strict=True):
        detail = f"{far:.2f} from the others of {someone.name}, at most {distance:.2f} is allowed"
        if far == np.inf:
            detail = f"no two of {len(seen)} pictures of {someone.name} agree"
        if far > 0:
            strange[brief.sample] = Unfit("person", "not the same person", detail)
    return strange


def unlike(embeddings: np.ndarray, distance: float) -> np.ndarray:
    """(n, d) unit vectors of pictures that are said to be of one person -> (n,) how far each is from that person: 0
    for those who are, more than `distance` (root mean square) for strangers, inf for all where no two agree.

    The pictures are grouped as unlabelled ones are, and the largest group is the person; of equal ones the closest. So
    it stays right when nearly half of the folder is somebody else.

    Chosen among five ways on 60 people of LFW (dlib), up to six pictures each, with none to five of one other person
    or of several: 14 mixtures, each for every person, at the distance where the way errs least. This one calls 0.1 % of
    a person's own pictures strangers and misses 1.0 % of the strangers; distance to the group that agrees closely: 0.4
    and 0.9 %; mean distance to the nearer half: 3 and 10 % (68 % where one other person has nearly half of the folder);
    median distance: 3 and 11 %; mean distance: 4 and 17 %.
    """
    if len(embeddings) < 2:
        return np.zeros(len(embeddings))
    group = average_linkage(embeddings, distance)
    size = np.bincount(group)
    if size.max() == 1:
        return np.full(len(embeddings), np.inf)
    largest = np.flatnonzero(size == size.max())
    sums = [embeddings[group == one].sum(0, dtype=np.float64) for one in largest]
    closest = int(np.argmax([np.linalg.norm(one) for one in sums]))
    apart = np.sqrt(np.maximum(0, 2 - 2 * (embeddings * (sums[closest] / size.max())).sum(1)))
    return np.where((group == largest[closest]) | (apart <= distance), 0, apart)


# People without names


def found(briefs: Sequence[Brief], distance: float | None, *, taken: Iterable[str] = ()) -> list[_Someone]:
    """The people in unlabelled pictures, the one with most pictures first: "person-00001", ... without the names that
    are taken. A picture without an embedding, or without a distance, is a person of its own."""
    compared = [brief for brief in briefs if brief.embedding is not None and distance is not None]
    together: dict[object, list[Brief]] = {}
    if compared and distance is not None:
        group = average_linkage(np.array([brief.embedding for brief in compared], np.float32), distance)
        for one, brief in zip(group.tolist(), compared, strict=True):
            together.setdefault(one, []).append(brief)
    if len(compared) < len(briefs):
        alone = [brief for brief in briefs if brief.embedding is None or distance is None]
        log.warning("%d pictures name no person and nobody compares them: each is a person of its own", len(alone))
        together |= {brief.sample: [brief] for brief in alone}
    ordered = sorted(together.values(), key=lambda own: (-len(own), own[0].sample))
    names = _free_names(set(taken))
    return [_Someone(next(names), own[0].sample, own) for own in ordered]


def _free_names(taken: set[str]) -> Iterator[str]:
    return (name for name in map(FOUND.format, count(1)) if name not in taken)


# Enough pictures, and the split


def too_few(someone: _Someone, least: int) -> dict[str, Unfit]:
    detail = f"{someone.name} has {len(someone.briefs)}, at least {least} are asked for"
    lost = someone.briefs if len(someone.briefs) < least else ()
    return {brief.sample: Unfit("person", "too few pictures", detail) for brief in lost}


def split(keys: dict[str, str], *, share: float, seed: int) -> dict[str, str]:
    """Person -> "train" or "validation". keys: person -> what decides, with the seed.

    The share of the people (at least one, if it is above 0 and there are two; never all) whose hashes are the smallest
    goes into validation: with more people only those near the boundary change sides.
    """

    def place(name: str) -> str:
        return hashlib.sha256(f"{seed}\n{keys[name]}".encode()).hexdigest()

    number = min(max(1, round(share * len(keys))), len(keys) - 1) if share > 0 and keys else 0
    apart = set(sorted(keys, key=place)[:number])
    return {name: "validation" if name in apart else "train" for name in sorted(keys)}
