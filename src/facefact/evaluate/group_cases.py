"""Which groups are painted: who is in them, how they are to look, and whose places they take."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from facefact.evaluate.protocol import Protocol
from facefact.faces import pose_from_landmarks
from facefact.types import Face
from facefact.world import Look, Person, first_held_out, held_out_seed, look, person
from facefact.world.group import GroupRendering, together

CHANGED = ("expression", "glasses")  # what is asked for and the template has not


@dataclass(frozen=True)
class GroupCase:
    """One picture to be made. own: which people of the protocol, from left to right. wanted: their looks. before: the
    people and looks of the template."""

    own: tuple[int, ...]
    wanted: tuple[Look, ...]
    before: tuple[tuple[Person, Look], ...]
    seed: int


def cases_of(plan: Protocol, seed: int, count: int, *, people: int) -> list[GroupCase]:
    """Each of the first `people` of the protocol once, in groups of `count`; who is left over is left out. A person's
    look and template are the same in groups of every size, but for scene and light, which the first one brings."""
    rng, first = np.random.default_rng((seed, 78)), first_held_out(seed) + 700_000
    before = []
    for i, case in enumerate(plan.cases):
        drawn = look(held_out_seed(rng))
        before.append((person(first + i), replace(case.wanted, choices=case.wanted.choices | _changed(drawn))))
    groups = []
    for start in range(0, people - count + 1, count):
        own = tuple(range(start, start + count))
        wanted = tuple(together([plan.cases[i].wanted for i in own]))
        templates = together([before[i][1] for i in own])
        shown = tuple((before[i][0], one) for i, one in zip(own, templates, strict=True))
        groups.append(GroupCase(own, wanted, shown, plan.cases[start].seed))
    return groups


def _changed(drawn: Look) -> dict[str, str]:
    return {name: drawn[name] for name in CHANGED}


def true_face(shown: GroupRendering, i: int) -> Face:
    """As a detector that errs in nothing would find it: the outline of the true mask."""
    outline = max(
        cv2.findContours(shown.faces[i].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0],
        key=cv2.contourArea,
    )[:, 0].astype(np.float32)
    box = (*outline.min(0).tolist(), *outline.max(0).tolist())
    return Face(box, shown.landmarks[i], 1.0, pose_from_landmarks(shown.landmarks[i]), oval=outline)
