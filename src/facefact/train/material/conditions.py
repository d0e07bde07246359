"""Which pictures a step learns from, and what stands for the person in it: shuffle, several pictures, drops.

Everything is drawn from (seed, step) alone, for all processes together; each takes its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facefact.train.engine.curriculum import value_at
from facefact.train.engine.loop import Batches
from facefact.train.material.cache import Cache
from facefact.train.material.people import People
from facefact.train.material.samples import Phrase
from facefact.train.settings import Condition
from facefact.types import UserError

CacheAt = Callable[[int], Cache]  # step -> the cache of the size that the step trains at
Tokenize = Callable[[Sequence[str]], Tensor]  # captions -> (n, length) token ids


@dataclass(frozen=True)
class Chosen:
    """target: (b,) pictures to learn. condition: (b, n) pictures that stand for their people. no_other_picture: (b,)
    bool, where another picture was to stand for the person and there is none. face_dropped, text_dropped: (b,) bool;
    the face is dropped there too."""

    target: np.ndarray
    condition: np.ndarray
    no_other_picture: np.ndarray
    face_dropped: np.ndarray
    text_dropped: np.ndarray

    def rows(self, part: slice) -> Chosen:
        """Some of them: those of one process."""
        return Chosen(**{name: value[part] for name, value in vars(self).items()})


def others(people: People, picture: int, settings: Condition, *, gap: float) -> np.ndarray:
    """(k,) the other pictures of the same person, no views of this one, whose yaw differs by at most `gap` degrees, in
    the policy's order: the first is the one to take (for "any" the order says nothing)."""
    same = people.pictures_of(people.persons[picture])
    same = same[people.photos[same] != people.photos[picture]]
    same = same[np.abs(people.yaw[same] - people.yaw[picture]) <= gap]
    measure = {"any": None, "pose": people.yaw, "light": people.light}[settings.policy]
    if measure is not None:
        same = same[np.argsort(-np.abs(measure[same] - measure[picture]), kind="stable")]
    return same


def choose_condition(
    people: People, picture: int, settings: Condition, *, step: int, pictures: int, rng: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """(pictures,) that stand for the person of `picture`: with probability `shuffle` other ones, else itself first;
    where a person has too few, they repeat. And whether other ones were asked for and there is none: then nothing may
    stand for the person, for what `shuffle` is there to prevent is that the picture is copied from itself."""
    found = others(people, picture, settings, gap=value_at(settings.pose_gap, step))
    if settings.policy == "any":
        found = rng.permutation(found)
    shuffled = rng.random() < value_at(settings.shuffle, step)
    row = found if shuffled and len(found) else np.concatenate([[picture], found])
    return np.resize(row, pictures), shuffled and not len(found)


def choose(people: People, settings: Condition, *, step: int, batch: int, rng: np.random.Generator) -> Chosen:
    """A step's pictures. `batch` of them, all with equally many condition pictures. Each person who has a picture with
    a face that is large enough comes as often as any other, however many pictures there are of the person. UserError:
    there is no such picture."""
    least = value_at(settings.face_size, step)
    try:
        target = people.draw(batch, rng, least_face=least)
    except ValueError as error:
        raise UserError(
            f"{error} (condition.face_size at step {step}); the largest has {people.largest_face:.2f}"
        ) from error
    pictures = int(rng.integers(1, settings.pictures + 1))
    rows = [choose_condition(people, int(i), settings, step=step, pictures=pictures, rng=rng) for i in target]
    alone = np.array([none for _, none in rows])
    face, text, both = (rng.random(batch) for _ in range(3))
    together = both < value_at(settings.both_drop, step)
    return Chosen(
        target=target,
        condition=np.stack([row for row, _ in rows]),
        no_other_picture=alone,
        face_dropped=alone | together | (face < value_at(settings.face_drop, step)),
        text_dropped=together | (text < value_at(settings.text_drop, step)),
    )


def drop_rate(mean: float, rng: np.random.Generator) -> float:
    """One caption's chance of losing a phrase: for most captions 0, for the others anything up to 1, `mean` on average.

    One rate for all would make nearly every caption lack a phrase or two and hardly any lack most of them; people
    write both whole prompts and three words.
    """
    if rng.random() >= 2 * mean:
        return 0.0
    return float(rng.uniform(max(0.0, 2 * mean - 1), 1))


def shortened(phrases: Sequence[Phrase], probability: float, rng: np.random.Generator) -> str:
    """The caption, each optional phrase left out with the given probability."""
    return ", ".join(one.text for one in phrases if not (one.optional and rng.random() < probability))


def captions_of(cache: Cache, chosen: Chosen, *, phrase_drop: float, rng: np.random.Generator) -> list[str]:
    """b captions as the step reads them: empty where the text is dropped, else without some of their phrases."""
    return [
        "" if empty else shortened(cache.phrases(int(i)), drop_rate(phrase_drop, rng), rng)
        for i, empty in zip(chosen.target, chosen.text_dropped, strict=True)
    ]


def gathered(cache: Cache, chosen: Chosen, ids: Tensor | None = None) -> dict[str, Tensor]:
    """The batch of the chosen pictures, without its step: see `batches`. ids: (b, length) of their captions, in the
    place of the cached text states."""
    words = cache.text_of(chosen.target, dropped=chosen.text_dropped) if ids is None else {"ids": ids}
    tokens = cache.tokens_of(chosen.condition.reshape(-1)).unflatten(0, chosen.condition.shape)
    return {
        **cache.gather(chosen.target),
        **words,
        "tokens": tokens,
        "face_dropped": torch.from_numpy(chosen.face_dropped),
        "no_other_picture": torch.from_numpy(chosen.no_other_picture),
        "person": torch.from_numpy(cache.persons[chosen.target]),
    }


def batches(
    cache_at: CacheAt,
    settings: Condition,
    *,
    batch: int,
    seed: int,
    accumulate: int = 1,
    tokenize: Tokenize | None = None,
    rank: int = 0,
    processes: int = 1,
) -> Batches:
    """number -> iterator of batches from there on, `accumulate` of them for each step, `batch` pictures per process.

    A batch is what one training step reads, a dict of tensors on the CPU (float32 unless said otherwise):
    latents (b, c, h, w), face (b, h, w), head_mask, head_to_picture, time_ids, light: as `Cache.gather` says.
    tokens (b, n, t, width): the face encoder's for n pictures of each person.
    face_dropped (b,) bool: the null face stands in the place of the tokens; no_other_picture (b,) bool: it does so
    because another picture of the person was asked for and there is none.
    text (b, length, width), with SDXL pooled (b, width): states of the text model; with `tokenize`, for a text model
    that runs in every step, ids (b, length) int64 in their place.
    person (b,) int64: index into `Cache.person_names`. step () int64.
    """

    def batches_from(number: int) -> Iterator[dict[str, Any]]:
        while True:
            step = number // accumulate
            cache, rng = cache_at(step), np.random.default_rng((seed, number))
            chosen = choose(cache.people, settings, step=step, batch=batch * processes, rng=rng)
            captions = captions_of(cache, chosen, phrase_drop=value_at(settings.phrase_drop, step), rng=rng)
            own = slice(rank * batch, (rank + 1) * batch)
            ids = None if tokenize is None else tokenize(captions[own])
            yield gathered(cache, chosen.rows(own), ids) | {"step": torch.tensor(step)}
            number += 1

    return batches_from
