"""What is said of a photo suite's pictures: faces by recognisers of photos, text by a CLIP, change against the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facefact.data.recognisers import Recogniser, unit
from facefact.data.records import Unfit
from facefact.evaluate.photos.layout import Layout
from facefact.evaluate.photos.paint import Wanted
from facefact.evaluate.photos.text import Clip
from facefact.faces import Detector
from facefact.faces.crop import face_crop_from
from facefact.generate.skin_tone import cheek_colour
from facefact.metrics.decoupling import copy_paste, locality
from facefact.metrics.distributions import as_long, kid, spread
from facefact.metrics.resampling import Pictures, by_third, pooled
from facefact.metrics.scores import Figure, change_outside, retrieved
from facefact.types import Face, UserError

Samples = dict[str, np.ndarray]
FEWEST_PROMPTS = 4  # for a distance of sets
WORDS = {
    "cos_own": "cosine to the reference photo, by each recogniser",
    "rank1": "the reference photo of the right person is the nearest",
    "cos_true": "cosine to the person's other photos; of the photos themselves: their cosine to the reference",
    "copy_paste": "M_CP of WithAnyone: 1 is the reference photo, -1 another photo of the person",
    "no_face": "share of pictures in which no face is found",
    "text": "cosine of prompt and picture, by CLIP",
    "outside_change": "change (of 255) outside the heads, against the base model's picture of the same noise",
    "locality": "share of all change that lies inside the heads",
    "diversity": "spread (1 - cosine) of the faces of one person and prompt over seeds, over that of the photos",
    "kid": "distance to the base model's pictures of other prompts (KID on CLIP's features)",
    "kid_nobody": "the same of prompts without a person",
    "by_skin": "by third of the people's skin, as their photos show it; apart: the dark third less the light one",
    "less": "less the first method's, picture by picture",
}


@dataclass(frozen=True)
class Judge:
    """Who looks. names: of the recognisers, short ones for figures."""

    detector: Detector
    recognisers: Mapping[str, Recogniser]
    clip: Clip | None = None

    def face(self, picture: np.ndarray) -> Face | None:
        try:
            found = self.detector.detect(picture)
        except UserError:  # no avatar, and no detector for photos
            return None
        return found[0] if found else None

    def head(self, picture: np.ndarray, face: Face | None) -> np.ndarray:
        """(h, w) bool."""
        return np.zeros(picture.shape[:2], bool) if face is None else self.detector.head_mask(picture, face)

    def views(self, picture: np.ndarray, face: Face) -> dict[str, np.ndarray]:
        """By recogniser what it reads of a face."""
        head = self.detector.head_mask(picture, face)
        crop = face_crop_from(picture, landmarks=face.landmarks, head=head, face=face).pixels
        return {name: one.view(picture, face, crop=crop) for name, one in self.recognisers.items()}

    def embedded(self, name: str, views: Sequence[np.ndarray | None], *, width: int = 0) -> np.ndarray:
        """(n, d) unit; 0, which is like nobody, where there is no face. width: d, where no picture may have one."""
        there = [i for i, one in enumerate(views) if one is not None]
        if not there:
            return np.zeros((len(views), width))
        seen = self.recognisers[name].embed([one for one in views if one is not None])
        found = np.zeros((len(views), seen.shape[1]))
        for i, one in zip(there, seen, strict=True):
            try:
                found[i] = unit(one)
            except Unfit:
                continue
        return found


@dataclass(frozen=True)
class Known:
    """What the people's photos say, by recogniser: references (people, d), others: of each person (k, d), k from 0.
    tone: (people,) -1 for the lightest, 1 for the darkest."""

    references: Mapping[str, np.ndarray]
    others: Mapping[str, list[np.ndarray]]
    tone: np.ndarray

    @classmethod
    def of(cls, layout: Layout, judge: Judge) -> Known:
        sizes = [len(one.photos) for one in layout.people]
        ends = np.cumsum(sizes)
        references, others = {}, {}
        views = [judge.views(photo.picture, photo.face) for one in layout.people for photo in one.photos]
        for name in judge.recognisers:
            seen = judge.embedded(name, [one[name] for one in views])
            references[name] = seen[ends - sizes]
            others[name] = [seen[end - size + 1 : end] for end, size in zip(ends, sizes, strict=True)]
        return cls(references, others, tones(layout))

    def spread(self, name: str) -> np.ndarray:
        """(people,): of each person's photos; NaN of whom there is one."""
        both = zip(self.references[name], self.others[name], strict=True)
        return np.array([spread(np.vstack([one, more])[None])[0] if len(more) else np.nan for one, more in both])


def tones(layout: Layout) -> np.ndarray:
    """(people,): places by the lightness of the reference's cheeks, evenly from -1 (the lightest) to 1."""
    seen = [cheek_colour(one.photos[0].picture, one.photos[0].face.landmarks) for one in layout.people]
    light = np.array([0.0 if one is None else float(one[0]) for one in seen])
    places = np.argsort(np.argsort(-light, kind="stable"), kind="stable")
    return 2 * places / (len(light) - 1) - 1


@dataclass(frozen=True)
class Seen:
    """One method's pictures. faces: of each, or None. samples: of each, (n,), see `WORDS`; a recogniser's figures end
    in its name. embeddings: by recogniser (n, d). features: (n, d) of CLIP, or none."""

    faces: list[Face | None]
    samples: Samples
    embeddings: Mapping[str, np.ndarray]
    features: np.ndarray | None


def seen_of(shown: Sequence[np.ndarray], asked: Sequence[Wanted], layout: Layout, known: Known, judge: Judge) -> Seen:
    faces: list[Face | None] = []
    views: list[dict[str, np.ndarray] | None] = []
    for picture in shown:  # each is looked at once: thousands of them do not lie in memory
        face = judge.face(picture)
        faces.append(face)
        views.append(None if face is None else judge.views(picture, face))
    own = np.array([one.person for one in asked])
    found: Samples = {"no_face": np.array([float(face is None) for face in faces])}
    embeddings = {}
    for name in judge.recognisers:
        mine = [None if one is None else one[name] for one in views]
        seen = embeddings[name] = judge.embedded(name, mine, width=known.references[name].shape[1])
        found |= of_recogniser(name, seen, own, known)
    features = None
    if judge.clip is not None:
        features = judge.clip.pictures(shown)
        found["text"] = (features * judge.clip.prompts(layout.prompts)[[one.prompt for one in asked]]).sum(1)
    return Seen(faces, found, embeddings, features)


def of_recogniser(name: str, seen: np.ndarray, own: np.ndarray, known: Known) -> Samples:
    """seen: (n, d), 0 where there is no face: like nobody. NaN where a person has no other photo."""
    references, others = known.references[name], known.others[name]
    nothing = np.full(seen.shape[1], np.nan)
    true = np.stack([more.mean(0) if len(more) else nothing for more in others])[own]
    another = np.stack([more[0] if len(more) else nothing for more in others])[own]
    with np.errstate(invalid="ignore"):
        copied = copy_paste(seen, references[own], another)
    return {
        f"cos_own.{name}": (seen * references[own]).sum(1),
        f"rank1.{name}": retrieved(seen @ references.T, own),
        f"cos_true.{name}": (seen * true).sum(1),
        f"copy_paste.{name}": np.where(seen.any(1), copied, np.nan),
    }


def photos_themselves(known: Known) -> dict[str, Figure]:
    """What the figures of a method would be whose pictures are the people's other photos."""
    found: dict[str, Figure] = {}
    for name, references in known.references.items():
        own = np.repeat(np.arange(len(references)), [len(more) for more in known.others[name]])
        if len(own):
            photos = np.concatenate(known.others[name])
            of = Pictures(own)
            found[f"cos_own.{name}"] = pooled((photos * references[own]).sum(1), of)
            found[f"rank1.{name}"] = pooled(retrieved(photos @ references.T, own), of)
    return found


# Figures of a method


def figures(seen: Seen, asked: Sequence[Wanted], known: Known) -> dict[str, Figure]:
    """With intervals over people; every figure by third of their skin too."""
    own = np.array([one.person for one in asked])
    of, tone = Pictures(own), known.tone[own]
    made: dict[str, Figure] = {}
    sheet: dict[str, Figure] = {}
    for name, values in seen.samples.items():
        if np.isfinite(values).any():
            made[name] = pooled(values, of)
            sheet |= {f"by_skin.{name}.{third}": one for third, one in by_third(values, tone, of).items()}
    for name, embeddings in seen.embeddings.items():
        values, whose = spreads(embeddings, asked)
        true = known.spread(name)[whose]
        if np.isfinite(values * true).any():
            made[f"diversity.{name}"] = pooled(values, Pictures(whose), over=true)
    return made | sheet


def spreads(embeddings: np.ndarray, asked: Sequence[Wanted]) -> tuple[np.ndarray, np.ndarray]:
    """The spread of the faces of each person and prompt, NaN where one shows none or there is one alone; and whose."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i, one in enumerate(asked):
        groups.setdefault((one.person, one.prompt), []).append(i)
    values = [
        spread(embeddings[rows][None])[0] if len(rows) > 1 and embeddings[rows].any(1).all() else np.nan
        for rows in groups.values()
    ]
    return np.array(values), np.array([person for person, _ in groups])


def preserved(mine: np.ndarray, base: np.ndarray, asked: Sequence[Wanted]) -> Figure | None:
    """KID of the features of every second prompt's pictures to the base model's of the other prompts, with an interval
    over prompts; None where there are too few."""
    prompt = np.array([one.prompt for one in asked])
    even = prompt % 2 == 0
    if len(set(prompt.tolist())) < FEWEST_PROMPTS or min(even.sum(), (~even).sum()) < 3:
        return None
    return kid(as_long(mine)[even], as_long(base)[~even], prompt[even], prompt[~even])


def changes(
    shown: Sequence[np.ndarray], seen: Seen, base: Sequence[np.ndarray], base_seen: Seen, judge: Judge
) -> Samples:
    """Against the base model's pictures of the same noise."""
    outside, local = [], []
    for one, face, before, before_face in zip(shown, seen.faces, base, base_seen.faces, strict=True):
        inside = (judge.head(one, face) | judge.head(before, before_face))[None]
        outside.append(change_outside(one[None], before[None], inside)[0])
        local.append(locality(one[None], before[None], inside)[0])
    return {"outside_change": np.array(outside), "locality": np.array(local)}
