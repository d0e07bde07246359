"""The benchmark: what a change of one factor of the reference does to every factor of the result.

For each subject a generator makes 33 pictures with one prompt and one seed: of the reference as it is, and of the
reference with one factor changed. The world draws the same changes into the look that the prompt describes: its matrix
is the unit, and says what the reading itself mixes up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from facefact.evaluate.causal.generators import Generator, Request
from facefact.evaluate.causal.interventions import (
    FACTORS,
    STEP,
    Intervention,
    Subject,
    directions,
    interventions,
    new_values,
    subjects,
)
from facefact.evaluate.causal.reading import PEOPLE, READABLE, Reader, Reading
from facefact.evaluate.pictures import Progress
from facefact.metrics.effects import Matrix, differences, matrix, summary, total_variation
from facefact.metrics.scores import Figure
from facefact.types import UserError
from facefact.world import CHOICES, IDENTITY, render

SCHEMA = "facefact.causal/1"
WORLD = "the world itself"
FEWEST = 4


@dataclass(frozen=True)
class Method:
    """effects: (people, causes, factors), see `metrics.effects`; trained several times, with the seeds `trainings`:
    (trainings, people, causes, factors). faceless: share of pictures without a face. seconds: of making the pictures.
    first: the pictures of the first subject."""

    name: str
    effects: np.ndarray
    faceless: float
    seconds: float = 0.0
    first: tuple[np.ndarray, ...] = ()
    trainings: tuple[int, ...] = ()

    def of(self, seeds: Sequence[int]) -> np.ndarray:
        """The effects of these trainings; of a method that has none, all."""
        return self.effects[[self.trainings.index(seed) for seed in seeds]] if self.trainings else self.effects


@dataclass(frozen=True)
class Plan:
    """Who, and what is changed; the references that follow from it, and what the world would draw."""

    seed: int
    subjects: tuple[Subject, ...]
    changes: tuple[tuple[Intervention, ...], ...]

    @classmethod
    def of(cls, seed: int, people: int) -> Plan:
        """UserError: too few people for an interval over them."""
        if people < FEWEST:
            raise UserError(f"{people} people measure nothing: at least {FEWEST}")
        who = subjects(seed, people)
        return cls(seed, who, tuple(interventions(one, seed=seed) for one in who))

    def requests(self, subject: int) -> list[Request]:
        """The untouched reference first, then one for each of `FACTORS`."""
        one = self.subjects[subject]
        shown = [(one.who, one.reference), *((c.who, c.reference) for c in self.changes[subject])]
        return [Request((render(*pair).image,), one.prompt, one.seed) for pair in shown]

    def truths(self, subject: int) -> list[np.ndarray]:
        """The same changes as the world draws them into the wanted look."""
        one = self.subjects[subject]
        shown = [(one.who, one.wanted), *((c.who, c.wanted) for c in self.changes[subject])]
        return [render(*pair).image for pair in shown]


@dataclass(frozen=True)
class Measured:
    """world: the true effects. methods: in the order in which they were given."""

    plan: Plan
    scores: Mapping[str, float]
    world: Method
    methods: tuple[Method, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def readable(self) -> np.ndarray:
        """(factors,) bool: the columns that count."""
        return np.array([self.scores.get(name, 1.0) >= READABLE for name in FACTORS])

    def matrix(self, method: Method) -> Matrix:
        return matrix(method.effects, self.world.effects)

    def summary(self, method: Method) -> dict[str, Figure]:
        return summary(method.effects, self.world.effects, identity=len(IDENTITY), readable=self.readable)

    def less(self, method: Method, other: Method) -> dict[str, Figure]:
        """`method` less `other`, paired; of the trainings that both have. Nothing, where they share none."""
        seeds = shared(method, other)
        if method.trainings and other.trainings and not seeds:
            return {}
        return differences(
            method.of(seeds), other.of(seeds), self.world.effects, identity=len(IDENTITY), readable=self.readable
        )


def shared(one: Method, other: Method) -> tuple[int, ...]:
    """The training seeds that both have; of one that was not trained, the other's."""
    if not (one.trainings and other.trainings):
        return one.trainings or other.trainings
    return tuple(seed for seed in one.trainings if seed in other.trainings)


def measure(
    plan: Plan,
    generators: Sequence[Generator],
    reader: Reader,
    *,
    about: Mapping[str, Any] | None = None,
    keep: Callable[[Measured], None] = lambda measured: None,
    progress: Progress | None = None,
) -> Measured:
    """Every method on the same references, prompts and seeds. about: what else the report says. keep: is given what
    there is after each method. UserError: two have one name."""
    names = [one.name for one in generators]
    if len(set(names)) < len(names) or WORLD in names:
        raise UserError(f"methods need names of their own: {', '.join(names)}")
    steps = range(len(plan.subjects))
    truths = [reader.read(plan.truths(i)) for i in steps]
    world = Method(WORLD, effects_of(truths, plan), faceless(truths), first=tuple(plan.truths(0)))
    found = Measured(plan, reader.scores, world, (), about or {})
    for generator in generators:
        readings: list[Reading] = []
        first: tuple[np.ndarray, ...] = ()
        seconds = 0.0
        for i in steps:
            requests = plan.requests(i)
            began = time.perf_counter()
            made = list(generator(requests))
            seconds += time.perf_counter() - began
            first = first or tuple(made)
            readings.append(reader.read(made))
            if progress:
                progress(generator.name, i + 1, len(plan.subjects))
        method = Method(generator.name, effects_of(readings, plan), faceless(readings), seconds, first)
        found = replace(found, methods=(*found.methods, method))
        keep(found)
    return found


def faceless(readings: Sequence[Reading]) -> float:
    return float(np.mean([one.faceless.mean() for one in readings]))


def effects_of(readings: Sequence[Reading], plan: Plan) -> np.ndarray:
    """(people, causes, factors). Each reading: the untouched reference's picture first, then one of each cause."""
    identity = np.stack([one.identity for one in readings])
    moved = (identity[:, 1:] - identity[:, :1]) * directions(plan.changes)[:, :, None] / STEP
    values = new_values(plan.changes)
    columns = [moved]
    for name in CHOICES:
        said = np.stack([one.look[name] for one in readings])
        effect = total_variation(said[:, 1:], said[:, :1])
        everybody, place = np.arange(len(said)), FACTORS.index(name)
        toward = said[everybody, 1 + place, values[name]] - said[everybody, 0, values[name]]
        effect[:, place] = toward
        columns.append(effect[:, :, None])
    return np.concatenate(columns, 2)


# What is written


def report(measured: Measured) -> dict[str, Any]:
    """JSON values. matrix: rows are causes, columns factors of the result, in the order of `factors`; null: no face."""
    about = {"schema": SCHEMA, "seed": measured.plan.seed, "people": len(measured.plan.subjects), **measured.about}
    first = measured.methods[0] if measured.methods else None
    methods = {
        one.name: written(measured, one)
        | ({} if first is None or one is first else {"less_than_first": as_json(measured.less(one, first))})
        for one in measured.methods
    }
    return about | {
        "factors": list(FACTORS),
        "identity": len(IDENTITY),
        "reading": {
            "fitted_on": measured.about.get("fitted_on", PEOPLE),
            "bar": READABLE,
            "r2": {name: round(score, 3) for name, score in measured.scores.items()},
            "units": dict(zip(FACTORS, rounded(units(measured)), strict=True)),
            "right_way": dict(zip(IDENTITY, rounded(right_way(measured)), strict=True)),
            "counts": [name for name, good in zip(FACTORS, measured.readable, strict=True) if good],
        },
        "world": written(measured, measured.world),
        "methods": methods,
    }


def written(measured: Measured, method: Method) -> dict[str, Any]:
    found = measured.matrix(method)
    trainings = {"trainings": list(method.trainings)} if method.trainings else {}
    cells = {"matrix": rounded(found.value), "low": rounded(found.low), "high": rounded(found.high)}
    return {**as_json(measured.summary(method)), **trainings, "faceless": round(method.faceless, 4), **cells}


def units(measured: Measured) -> np.ndarray:
    """(factors,): how far the reading moves when the world itself makes the change; of a factor that is read
    perfectly, `STEP` (of the look: 1)."""
    return np.nanmean(np.diagonal(measured.world.effects, axis1=1, axis2=2), axis=0)


def right_way(measured: Measured) -> np.ndarray:
    """(identity factors,): for what share of the people the reading moves the way the world moved the factor."""
    return (np.diagonal(measured.world.effects, axis1=1, axis2=2) > 0).mean(0)[: len(IDENTITY)]


def rounded(values: np.ndarray) -> Any:
    """Nested lists; None for NaN."""
    if values.ndim > 1:
        return [rounded(row) for row in values]
    return [round(float(one), 4) if np.isfinite(one) else None for one in values]


def as_json(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {name: one.as_json() for name, one in figures.items()}
