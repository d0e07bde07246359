"""`facefact eval suite`: methods side by side on the world, with every metric, as a report.

All paint the same people, prompts and seeds as the base model does, so that what differs is the method. Fidelity by two
judges of different kinds: an embedding (the recogniser), and the person's numbers read off the pixels
(`causal.reading`). Intervals are over people and galleries (`metrics.resampling`); differences are picture by picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from facefact.checkpoint import content_hash
from facefact.evaluate.causal.generators import Generator, Request, paints_nobody
from facefact.evaluate.causal.reading import Reader, resized
from facefact.evaluate.face_error import face_errors
from facefact.evaluate.judges import Judges
from facefact.evaluate.pictures import Progress
from facefact.evaluate.protocol import Case, Protocol, protocol
from facefact.evaluate.world import Samples, attribute_hits, identity_samples
from facefact.metrics.decoupling import above, copy_paste, leaked, locality
from facefact.metrics.distributions import as_long, kid, spread
from facefact.metrics.resampling import Pictures, by_third, pooled
from facefact.metrics.scores import Figure, change_outside, retrieved
from facefact.metrics.views import to_pixels
from facefact.types import UserError
from facefact.world import CHOICES, IDENTITY, Look, caption, held_out_seed, look, render, visible

ALIKE = 0.4  # cosine to the true picture from which copy-paste is looked at, as WithAnyone's authors do
SPREAD_PEOPLE = 12  # for each gallery, of whom several pictures of one prompt are made
TRUTH = "the world itself"  # true renders in the place of pictures: what the judges would say of a method that is right
LESS = ("rank1", "cos_own", "face_error", "attributes", "outside_change", "copy_paste")  # paired, against the first
WORDS = {
    "rank1": "the right one of the gallery's people, by the recogniser",
    "rank5": "the right one among the first five",
    "auc": "share of the other people that are less like the picture than the right one",
    "cos_other": "mean cosine to the references of the other people",
    "rank1_factors": "the right one, by the person's numbers read off the pixels",
    "factor_error": "distance of the person's numbers (-1 to 1), as read off the pixels, to the true ones",
    "cos_own": "cosine to the reference of the right person",
    "no_face": "share of pictures in which no face is found",
    "face_error": "mean difference (of 255) to the true render's face",
    "attributes": "share of what the prompt names that is seen; and factor by factor",
    "expression": "the expression as the prompt names it",
    "pose": "the pose as the prompt names it",
    "leakage": "share of pictures that show what the reference has and the prompt does not ask for; and by factor",
    "copy_paste": "M_CP of WithAnyone: 1 is the reference picture, -1 another true picture of the person",
    "outside_change": "change (of 255) outside the faces, against the base model's picture of the same noise",
    "locality": "share of all change that lies inside the faces",
    "diversity": "spread of the faces of one person and prompt over seeds, over that of true renders",
    "diversity_base": "the same over that of the base model's faces, which are strangers",
    "kid": "distance to the base model's pictures (KID on the attribute reader's features)",
    "kid_nobody": "the same of pictures that are made with the method in place and nobody's face",
    "by_skin": "fairness: every figure by third of skin tone; apart: the dark third less the light one",
    "less": "less the first method's, paired",
}


@dataclass(frozen=True)
class Gallery:
    """One seed's people. several: the requests for diversity, `faces` of each person, one after the other."""

    plan: Protocol
    requests: tuple[Request, ...]
    several: tuple[Request, ...]
    true_several: np.ndarray

    @classmethod
    def of(cls, seed: int, *, people: int, per_person: int, faces: int) -> Gallery:
        plan = protocol(seed, people=people, per_person=per_person)
        asked = tuple(request_of(plan, case, case.seed) for case in plan.cases)
        rng, several, true = np.random.default_rng((seed, 93)), [], []
        for case in plan.cases[::per_person][:SPREAD_PEOPLE]:
            choices = dict(case.wanted.choices) | {"glasses": "none"}
            wanted = look(held_out_seed(rng), **choices)
            for number in range(faces):
                several.append(request_of(plan, Case(case.own, wanted, caption(wanted), 0), case.seed + 1 + number))
                true.append(render(plan.people[case.own], look(held_out_seed(rng), **choices)).image)
        return cls(plan, asked, tuple(several), np.stack(true))


def request_of(plan: Protocol, case: Case, seed: int) -> Request:
    return Request((plan.references[case.own].image,), case.prompt, seed)


@dataclass(frozen=True)
class Made:
    """What one method made for one gallery: pictures (cases, h, w, 3) uint8, the samples of each, features (cases, d),
    the spread of each person that several pictures were made of, and the features of pictures without a person (none
    where the method cannot make them)."""

    pictures: np.ndarray
    samples: Samples
    features: np.ndarray
    spread: np.ndarray
    nobody: np.ndarray | None = None


@dataclass(frozen=True)
class Suite:
    """made: by method, one of each gallery. true_spread: one of each gallery."""

    galleries: tuple[Gallery, ...]
    made: Mapping[str, tuple[Made, ...]]
    base: tuple[Made, ...]
    true_spread: tuple[np.ndarray, ...]
    network: str


def no_dark_glasses(seed: int) -> Look:
    """A random look in which the eyes are seen."""
    shown = look(seed)
    return look(seed, glasses="none") if shown["glasses"] == "sun" else shown


def run_suite(
    generators: Sequence[Generator],
    base: Generator,
    judges: Judges,
    reader: Reader,
    *,
    seed: int = 1,
    seeds: int = 1,
    people: int = 60,
    per_person: int = 2,
    faces: int = 3,
    progress: Progress | None = None,
) -> Suite:
    """Every method's pictures, judged. reader: fitted on `no_dark_glasses`. base: what change and preservation are
    measured against; may be one of the generators. UserError: too little to measure anything."""
    if people < 6 or per_person < 2 or faces < 2 or seeds < 1:
        raise UserError("a suite needs 6 people, 2 pictures of each, 2 faces of one prompt and 1 seed, or more")
    galleries = tuple(
        Gallery.of(one, people=people, per_person=per_person, faces=faces) for one in range(seed, seed + seeds)
    )

    def paint(generator: Generator, gallery: Gallery, beside: np.ndarray | None) -> Made:
        title = f"{generator.name}, seed {gallery.plan.cases[0].seed % 1000}"
        pictures = asked(generator, gallery.requests, title, progress)
        several = asked(generator, gallery.several, f"{title}, over seeds", progress)
        samples = judged(pictures, gallery.plan, judges, reader)
        if beside is not None:
            inside = judges.faces(beside) | judges.faces(pictures)
            samples |= {
                "outside_change": change_outside(pictures, beside, inside),
                "locality": locality(pictures, beside, inside),
            }
        nobody = None
        if paints_nobody(generator):
            without = [replace(one, references=()) for one in gallery.requests]
            nobody = features(judges, asked(generator, without, f"{title}, nobody", progress))
        return Made(pictures, samples, features(judges, pictures), spread_of(judges, several, faces), nobody)

    bases = tuple(paint(base, gallery, None) for gallery in galleries)
    made = {
        one.name: bases
        if one is base
        else tuple(paint(one, gallery, b.pictures) for gallery, b in zip(galleries, bases, strict=True))
        for one in generators
    }
    made[TRUTH] = tuple(truth(gallery, judges, reader, faces) for gallery in galleries)
    true = tuple(one.spread for one in made[TRUTH])
    return Suite(galleries, made, bases, true, f"AttributeReader {content_hash(judges.reader.state_dict())[:12]}")


def truth(gallery: Gallery, judges: Judges, reader: Reader, faces: int) -> Made:
    """The renders of the people in the looks that the prompts name."""
    plan = gallery.plan
    pictures = np.stack([render(plan.people[case.own], case.wanted).image for case in plan.cases])
    samples = judged(pictures, plan, judges, reader)
    return Made(pictures, samples, features(judges, pictures), spread_of(judges, gallery.true_several, faces))


def asked(
    generator: Generator, requests: Sequence[Request], title: str, progress: Progress | None, *, at_once: int = 20
) -> np.ndarray:
    """(n, h, w, 3) uint8."""
    made: list[np.ndarray] = []
    for i in range(0, len(requests), at_once):
        made += list(generator(requests[i : i + at_once]))
        if progress:
            progress(title, len(made), len(requests))
    return np.stack(made)


# What the judges say of each picture


def judged(pictures: np.ndarray, plan: Protocol, judges: Judges, reader: Reader) -> Samples:
    """By name (cases,)."""
    views = np.stack([judges.view(picture) for picture in pictures])
    found, embeddings = views.any((1, 2, 3)), judges.embed_views(views)
    references = judges.embed([one.image for one in plan.references])
    true = judges.embed([render(plan.people[case.own], case.wanted).image for case in plan.cases])
    read = judges.read(pictures)
    hits = attribute_hits(read, plan.cases)
    with np.errstate(invalid="ignore"):
        attributes = np.nanmean(np.stack([hits[name] for name in CHOICES]), axis=0)
    copied = copy_paste(embeddings, references[plan.own], true)
    numbers = reader.read(list(pictures)).identity
    return (
        identity_samples(embeddings, references, plan.own)
        | {
            "rank1_factors": retrieved(nearness(reader, numbers, plan), plan.own),
            "factor_error": factor_error(reader, numbers, plan),
            "no_face": (~found).astype(float),
            "face_error": face_errors(pictures, plan.cases, plan.people, judges),
            "attributes": attributes,
            "expression": hits["expression"],
            "pose": hits["pose"],
            "copy_paste": np.where(found, above(copied, (embeddings * true).sum(1), ALIKE), np.nan),
        }
        | {f"attributes.{name}": hits[name] for name in CHOICES}
        | {f"leakage.{name}": values for name, values in all_leaks(read, plan).items()}
    )


def factor_error(reader: Reader, numbers: np.ndarray, plan: Protocol) -> np.ndarray:
    """(cases,): the mean distance of what is read, (cases, identity factors), to the person's own numbers, of those
    that can be read; where no face is found, as of one who always says the farther end."""
    true = np.stack([plan.people[own].factors for own in plan.own])
    apart = np.where(np.isnan(numbers), 1 + np.abs(true), np.abs(np.clip(numbers, -1, 1) - true))
    return np.asarray(apart[:, reader.readable].mean(1))


def nearness(reader: Reader, numbers: np.ndarray, plan: Protocol) -> np.ndarray:
    """(cases, people): how near what is read off a picture, (cases, identity factors), is to each person's own numbers,
    each number as heavy as it can be read; of a picture without a face, equally near to all."""
    read = np.nan_to_num(numbers)
    r2 = np.clip([reader.scores[name] for name in IDENTITY], 0, 0.99)
    people = np.stack([who.factors for who in plan.people])
    return -(((read[:, None] - people) ** 2) * (r2 / (1 - r2))).sum(-1)


def all_leaks(read: Sequence[Mapping[str, str]], plan: Protocol) -> Samples:
    """`leaked` for each of the ten factors of the look."""

    def codes(looks: Sequence[Mapping[str, str]], name: str, *, nothing: bool = False) -> np.ndarray:
        found = [CHOICES[name].index(one[name]) if name in one else -1 for one in looks]
        return np.array([-1 if nothing and i >= 0 and CHOICES[name][i] == "none" else i for i in found])

    worn = [visible(plan.looks[case.own]) for case in plan.cases]
    wanted = [visible(case.wanted) for case in plan.cases]
    return {name: leaked(codes(read, name), codes(worn, name, nothing=True), codes(wanted, name)) for name in CHOICES}


@torch.no_grad()
def features(judges: Judges, pictures: np.ndarray) -> np.ndarray:
    """(n, d): what the attribute reader makes of whole pictures, before its heads; each of one length (`as_long`)."""
    size = judges.reader.config.size
    pixels = torch.stack([to_pixels(one if one.shape[0] == size else resized(one, size)) for one in pictures])
    found = [judges.reader.hidden(judges.reader.body(part)) for part in pixels.split(64)]
    return as_long(torch.cat(found).double().numpy())


def spread_of(judges: Judges, pictures: np.ndarray, faces: int) -> np.ndarray:
    """(people,): the spread of the faces of each; NaN where one was not found."""
    views = np.stack([judges.view(picture) for picture in pictures])
    embeddings = judges.embed_views(views)
    found = np.asarray(views.any((1, 2, 3))).reshape(-1, faces)
    return np.where(found.all(1), spread(embeddings.reshape(*found.shape, -1)), np.nan)


# Figures


def figures(suite: Suite, name: str) -> dict[str, Figure]:
    """Of one method, by dotted name."""
    made, first = suite.made[name], next(iter(suite.made))
    own, of, tone = pool(made), places(suite), tones(suite)
    found: dict[str, Figure] = {}
    for key, values in own.items():
        if np.isfinite(values).any():
            found[key] = pooled(values, of)
    mine, beside = (np.concatenate([one.spread for one in part]) for part in (made, suite.base))
    if np.isfinite(mine).any():
        where = spread_places(suite)
        found["diversity"] = pooled(mine, where, over=np.concatenate(suite.true_spread))
        found["diversity_base"] = pooled(mine, where, over=beside)
    found["kid"] = preservation(suite, [one.features for one in made])
    without = [one.nobody for one in made if one.nobody is not None]
    if without:
        found["kid_nobody"] = preservation(suite, without)
    for key in own:
        if "." not in key:
            found |= {f"by_skin.{key}.{third}": one for third, one in by_third(own[key], tone, of).items()}
    if name not in (first, TRUTH):
        other = pool(suite.made[first])
        for key in LESS:
            if key in own and key in other and np.isfinite(own[key] - other[key]).any():
                found[f"less.{key}"] = pooled(own[key] - other[key], of)
    return found


def pool(made: Sequence[Made]) -> Samples:
    return {key: np.concatenate([one.samples[key] for one in made]) for key in made[0].samples}


def places(suite: Suite) -> Pictures:
    sizes = [len(one.plan.cases) for one in suite.galleries]
    people = np.concatenate([one.plan.own for one in suite.galleries])
    return Pictures(people, np.repeat(np.arange(len(sizes)), sizes))


def spread_places(suite: Suite) -> Pictures:
    sizes = [len(one) for one in suite.true_spread]
    return Pictures(np.concatenate([np.arange(n) for n in sizes]), np.repeat(np.arange(len(sizes)), sizes))


def tones(suite: Suite) -> np.ndarray:
    return np.array([one.plan.people[case.own]["skin_tone"] for one in suite.galleries for case in one.plan.cases])


def preservation(suite: Suite, features: Sequence[np.ndarray]) -> Figure:
    """KID of every second picture of the method to the base model's other ones: neither prompt nor noise is shared, so
    that the base model's own distance to itself is 0 on average. features: of one gallery each."""
    mine = np.concatenate(list(features))
    base = np.concatenate([one.features for one in suite.base])
    of = places(suite)
    person = of.people + 1_000_000 * (0 if of.galleries is None else of.galleries)
    even = np.arange(len(mine)) % 2 == 0
    return kid(mine[even], base[~even], person[even], person[~even])
