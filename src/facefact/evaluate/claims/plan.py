"""What `facefact eval claims` is asked for: the methods, their trainings, and the claims that rest on their figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from facefact.config import load_config
from facefact.evaluate.causal.run import FEWEST
from facefact.evaluate.pictures import Sampling
from facefact.train.settings import AdapterTraining
from facefact.types import UserError

Way = Literal["trained", "there", "base", "image_to_image"]
# What is compared, and what a reader should know of each.
FIGURES = {
    "rank1": "retrieved first among the references of all people, by an independent recogniser",
    "rank1_factors": "the same by the person's numbers as they are read off the pixels",
    "cos_own": "similarity to the own reference, by that recogniser",
    "factor_error": "distance of the numbers (-1 to 1) that are read to the person's own",
    "face_error": "aligned face against the true render: 0 the autoencoder's, 1 another person's",
    "no_face": "pictures in which no face is found",
    "attributes": "what the prompt asks for, over ten factors",
    "expression": "the expression that was asked for",
    "pose": "the pose that was asked for",
    "leakage": "what the reference has and the prompt does not ask for, over ten factors",
    "copy_paste": "M_CP of WithAnyone: 1 is the reference picture itself, -1 another true picture of the person",
    "outside_change": "change outside the face against the base model's picture, of 255",
    "locality": "share of all change that lies inside the faces",
    "diversity": "spread (1 - cosine) of the faces of one person and prompt over seeds; of strangers: the base model's",
}
OF_SETS = {
    "diversity_true": "the same over that of a person's true renders: 1 is right",
    "kid": "distance (KID) to the base model's pictures of other prompts",
    "kid_nobody": "the same with the null face in the person's place",
}
CAUSAL = {
    "causal_fidelity": "how much of a change of the reference's person arrives in the picture: 1 is right",
    "causal_entanglement": "what such a change does to everything else",
    "causal_leakage": "what a change of the reference's look does to anything: 0 is right",
}
# Of these less is better.
LESS = (
    *("factor_error", "face_error", "leakage", "copy_paste", "outside_change", "no_face"),
    *("causal_entanglement", "causal_leakage"),
)
# In which methods may not differ: the base model, what is learned from, and how many pictures are seen.
COMMON = ("base", "data.source", "data.size", "data.seed", "data.people", "schedule.steps", "schedule.batch")


@dataclass(frozen=True)
class Method:
    """One row of the table. set: overrides of the common training. way: "trained", or what needs no training: an
    `adapter` that is there ("bundle", "bundle_without_fair", or a directory), the base model alone, image-to-image from
    the reference (with `strength`). photos: of the person in one condition. trained_as: the
    method whose training is this one's too. seeds: those of the common ones that it is trained with (default all), for
    rows on which no headline rests. pictures_seen: of what is there. note: what a reader should know of it, such as why
    its size differs."""

    set: tuple[str, ...] = ()
    way: Way = "trained"
    trained_as: str | None = None
    seeds: tuple[int, ...] | None = None
    adapter: str = "bundle"
    pictures_seen: int = 0
    strength: float = 0.6
    photos: int = 1
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """`better` has more of `figure` than `than` (less, where less is wanted: see `LESS`), by at least `by`."""

    claim: str
    figure: str
    better: str
    than: str
    by: float = 0.0


@dataclass(frozen=True)
class Measured:
    """The pictures that are judged: of so many people, of the protocol of `facefact eval world` with this seed. scales:
    of the adapter, one point of a method's curve each; the table is of `scale`, the curve of each method's
    first training. faces: of one person and prompt, for diversity. causal: people of the causal benchmark; 0
    for none. causal_seeds: of which trainings it is made (default all)."""

    people: int = 100
    seed: int = 11
    steps: int = 12
    guidance_scale: float = 3.0
    scale: float = 0.7
    scales: tuple[float, ...] = (0.4, 0.7, 1.0)
    faces: int = 3
    causal: int = 0
    causal_seeds: tuple[int, ...] | None = None

    def sampling(self, scale: float) -> Sampling:
        """Guidance with the null face, as peers are run: without it theirs hardly show the person."""
        return Sampling(steps=self.steps, guidance_scale=self.guidance_scale, scale=scale, face_guidance=True)


@dataclass(frozen=True)
class Claims:
    """base: the settings of an adapter's training, relative to the file. set: overrides for all methods. seeds: every
    trained method that names no fewer is trained once with each."""

    base: str
    methods: dict[str, Method]
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (1,)
    claims: tuple[Claim, ...] = ()
    measured: Measured = field(default_factory=Measured)

    def seeds_of(self, name: str) -> tuple[int, ...]:
        """What needs no training is the same for every seed, and stands beside each."""
        method = self.methods[name]
        return self.seeds if method.seeds is None or method.way != "trained" else method.seeds


@dataclass(frozen=True)
class Run:
    """One training of a method; config None: it needs none. folder: for what is judged. training: where the training
    is, of this method or of the one that it is trained as."""

    method: str
    seed: int
    config: AdapterTraining | None
    folder: Path
    training: Path


@dataclass(frozen=True)
class Plan:
    claims: Claims
    out: Path
    runs: tuple[Run, ...]


def read_plan(path: Path, out: Path, only: Sequence[str] = ()) -> Plan:
    """UserError: an unknown method or figure, settings that are wrong, or methods that could not be compared."""
    claims = load_config(Claims, path)
    if unknown := sorted(set(only) - set(claims.methods)):
        raise UserError(f"{path} has no method {unknown[0]}; it has {', '.join(claims.methods)}")
    check_seeds(claims, path)
    check_claims(claims, path)
    check_measured(claims, path)

    def settings(overrides: Sequence[str]) -> AdapterTraining:
        made = load_config(AdapterTraining, path.parent / claims.base, overrides=[*claims.set, *overrides])
        made.check()
        return replace(made, data=replace(made.data, cache=made.data.cache or out / "cache"))

    common = settings(())
    runs = []
    for seed in claims.seeds:
        for name, method in claims.methods.items():
            if (only and name not in only) or seed not in claims.seeds_of(name):
                continue
            if Path(name).name != name or name in ("cache", "before"):
                raise UserError(f"a method cannot be called {name!r}: its folder is to have this name")
            # What needs no training is judged once.
            folder = out / name / f"seed_{seed if method.way == 'trained' else claims.seeds[0]}"
            if method.way != "trained":
                runs.append(Run(name, seed, None, folder, folder))
                continue
            trained_as = method.trained_as or name
            if trained_as not in claims.methods or (method.trained_as and method.set):
                raise UserError(f"method {name} is to be trained as {trained_as}: name another method, and set nothing")
            config = settings(claims.methods[trained_as].set)
            for key in COMMON:
                if _at(config, key) != _at(common, key):
                    raise UserError(f"method {name} changes {key}, and could not be compared: put it in set")
            config = replace(config, schedule=replace(config.schedule, seed=seed))
            runs.append(Run(name, seed, config, folder, out / trained_as / f"seed_{seed}"))
    return Plan(claims, out, tuple(runs))


def check_seeds(claims: Claims, path: Path) -> None:
    """UserError: the same training twice, or one that the others have not."""
    if not claims.seeds or len(set(claims.seeds)) < len(claims.seeds):
        raise UserError(f"{path}: seeds must be one or more different numbers, not {list(claims.seeds)}")
    for name, method in claims.methods.items():
        known = claims.seeds_of(method.trained_as) if method.trained_as in claims.methods else claims.seeds
        if method.seeds is not None and (not method.seeds or set(method.seeds) - set(known)):
            raise UserError(f"{path}: the seeds of {name} must be some of {list(known)}, not {list(method.seeds)}")


def check_claims(claims: Claims, path: Path) -> None:
    """UserError: a claim about what is not made, or about methods without a training seed in common."""
    for claim in claims.claims:
        if lost := sorted({claim.better, claim.than} - set(claims.methods)):
            raise UserError(f"{path}: the claim {claim.claim!r} names {lost[0]}, which is none of its methods")
        if claim.figure not in FIGURES | CAUSAL:
            known = ", ".join(FIGURES | CAUSAL)
            raise UserError(f"{path}: the claim {claim.claim!r} rests on {claim.figure}; there are {known}")
        if claim.figure in CAUSAL and not claims.measured.causal:
            raise UserError(f"{path}: the claim {claim.claim!r} rests on measured.causal, which asks for no people")
        if claim.figure in CAUSAL and any(claims.methods[name].photos > 1 for name in (claim.better, claim.than)):
            raise UserError(f"{path}: the claim {claim.claim!r} is of several photos; the causal benchmark shows one")
        seeds = set(claims.seeds_of(claim.better)) & set(claims.seeds_of(claim.than))
        if claim.figure in CAUSAL:
            seeds &= set(claims.measured.causal_seeds or claims.seeds)
        if not seeds:
            raise UserError(f"{path}: the claim {claim.claim!r} is of two methods that share no training seed")


def check_measured(claims: Claims, path: Path) -> None:
    """UserError: too little to measure anything, or a table of a scale or matrices of a training that is not made."""
    asked = claims.measured
    of = claims.seeds if asked.causal_seeds is None else asked.causal_seeds
    if not of or set(of) - set(claims.seeds):
        raise UserError(f"{path}: measured.causal_seeds must be some of {list(claims.seeds)}, not {list(of)}")
    if asked.scale not in asked.scales:
        raise UserError(f"{path}: measured.scale {asked.scale} is none of measured.scales")
    if asked.people < 6 or asked.faces < 2 or 0 < asked.causal < FEWEST or asked.causal < 0:
        raise UserError(
            f"{path}: measured needs 6 people, 2 faces of one prompt, and {FEWEST} people (or none) for causal, or more"
        )


def _at(config: object, dotted: str) -> object:
    for name in dotted.split("."):
        config = getattr(config, name)
    return config
