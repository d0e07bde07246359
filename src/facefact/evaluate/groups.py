"""`facefact eval groups`: several unseen people in one picture. Is each the right one, and as asked?

A template is a group of other people, drawn side by side, in the looks that are asked for but for expression and
glasses. Its faces are replaced, each with the words of its person: as squares in one batch, one by one, or in one run
over the whole picture. Without a template the same people and words are drawn as portraits laid side by side, in one
batch, or from noise in regions of one run over the whole picture. What groups are compared with is one person in the
same ways, alone in the picture. Each person's square of the picture is judged as a portrait of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facefact.adapter import Region, fast_kernels
from facefact.checkpoint import replacing
from facefact.demo import DEMO
from facefact.evaluate.group_cases import CHANGED, GroupCase, cases_of, true_face
from facefact.evaluate.judges import Judges
from facefact.evaluate.pictures import Painter, Progress, Sampling, person_tokens
from facefact.evaluate.protocol import Protocol, protocol
from facefact.evaluate.world import as_json, attribute_hits
from facefact.face_adapter import FaceAdapter
from facefact.generate import (
    GroupSettings,
    InpaintSettings,
    InTemplate,
    Template,
    paint_group,
    prompts,
)
from facefact.generate.demo_model import settings_for
from facefact.generate.group_squares import BATCH, portraits_joined, squares_in_template
from facefact.generate.groups import STRENGTH, group_arguments, words_in_place
from facefact.generate.places import face_masks, nearest_masks, soft_edge
from facefact.generate.text_to_image import Settings, call_arguments, rows_of
from facefact.metrics.scores import Figure, figure, retrieved
from facefact.types import FaceTokens, UserError
from facefact.world import CHOICES, caption
from facefact.world.group import GroupRendering, render_group

SIZE = 128  # pixels of a person's square
COUNTS = (2, 3, 4)
IN_TEMPLATE = ("squares", "one_by_one", "template")
WAYS = (*IN_TEMPLATE, "portraits", "noise")
GALLERY = 100  # people among whom a face is searched, however many are painted
COST_ROUNDS = 7


@dataclass(frozen=True)
class Made:
    """What the judges say of the faces of all groups of one size, (faces,) each: rank1, mixing, and the group of
    each. hits: by attribute, NaN where it is hidden."""

    rank1: np.ndarray
    mixing: np.ndarray
    hits: dict[str, np.ndarray]
    group: np.ndarray

    def figures(self) -> dict[str, Figure]:
        """Intervals are over groups."""
        asked = np.stack([self.hits[name] for name in CHOICES])
        return {
            "rank1": figure(self.rank1, self.group),
            "mixing": figure(self.mixing, self.group),
            "attributes": figure(asked.ravel(), np.tile(self.group, len(asked))),
            "changed_attributes": figure(
                np.stack([self.hits[name] for name in CHANGED]).ravel(), np.tile(self.group, len(CHANGED))
            ),
        }


@dataclass(frozen=True)
class Bench:
    """Everything that pictures of groups are made and judged with. plan: of everybody that a face is searched among;
    people: how many of them are painted, tokens: theirs. references: (everybody, d) embeddings.
    """

    plan: Protocol
    people: int
    painter: Painter
    adapter: FaceAdapter
    tokens: FaceTokens
    judges: Judges
    references: np.ndarray

    def cases(self, seed: int, count: int) -> list[GroupCase]:
        return cases_of(self.plan, seed, count, people=self.people)

    def region(self, own: int, mask: Tensor) -> Region:
        return Region(mask, FaceTokens(self.tokens.face[own : own + 1], self.tokens.null[own : own + 1]))

    def paint(self, case: GroupCase, way: str, *, alike: bool = False) -> np.ndarray:
        """(SIZE, SIZE * n, 3) uint8. alike: all are the first person, whose face counts wherever somebody is."""
        settings, count = self.settings(case, way), len(case.own)
        masks, place = columns(count), None
        if way in IN_TEMPLATE:
            shown = render_group([who for who, _ in case.before], [one for _, one in case.before], size=SIZE)
            masks, place = self.in_template(shown)
        who = case.own[:1] * count if alike else case.own
        people = [self.region(i, mask) for i, mask in zip(who, masks, strict=True)]
        parts = (self.painter.pipe, self.adapter, people, settings)
        if way == "portraits":
            made = portraits_joined(*parts)
        elif place is None or way == "template":
            made = paint_group(*parts, place=place)
        else:
            square = settings_for(DEMO, InpaintSettings, prompt="")
            batch = 1 if way == "one_by_one" else BATCH
            detector = self.judges.detector
            made = squares_in_template(*parts, place=place, square=square, detector=detector, batch=batch)
        return np.asarray(made.image)

    def settings(self, case: GroupCase, way: str) -> GroupSettings:
        sampling, inside = self.painter.sampling, way in IN_TEMPLATE
        return GroupSettings(
            prompt=caption(case.wanted[0]),
            words=[caption(one) for one in case.wanted],
            seed=case.seed,
            steps=max(2, round(sampling.steps / STRENGTH)) if inside else sampling.steps,
            scale=_one_scale(sampling),
            guidance_scale=sampling.guidance_scale,
            face_guidance=sampling.face_guidance,
            width=SIZE * len(case.own),
            height=SIZE,
        )

    def in_template(self, shown: GroupRendering) -> tuple[list[Tensor], InTemplate]:
        """The masks of the template's faces, and the template."""
        faces = [true_face(shown, i) for i in range(len(shown.lefts))]
        masks = face_masks(faces, shown.image.shape)
        weights = [soft_edge(mask, face) for mask, face in zip(masks, faces, strict=True)]
        reading = nearest_masks(faces, shown.image.shape)
        return masks, InTemplate(Template(shown.image, None, shown.image), np.max(weights, axis=0), reading, faces)

    def judged(self, cases: Sequence[GroupCase], pictures: Sequence[np.ndarray]) -> Made:
        squares = [picture[:, i : i + SIZE] for picture in pictures for i in range(0, picture.shape[1], SIZE)]
        own = np.array([i for case in cases for i in case.own])
        similarity = self.judges.embed(squares) @ self.references.T
        group = np.repeat(np.arange(len(cases)), [len(case.own) for case in cases])
        right = similarity[np.arange(len(own)), own]
        neighbours = [[i for i in case.own if i != one] for case in cases for one in case.own]
        others = [max(row[there], default=-2.0) for row, there in zip(similarity, neighbours, strict=True)]
        wanted = [replace(self.plan.cases[0], wanted=one) for case in cases for one in case.wanted]
        hits = attribute_hits(self.judges.read(squares), wanted)
        return Made(retrieved(similarity, own), (np.array(others) >= right).astype(float), hits, group)


def columns(count: int) -> list[Tensor]:
    """Each person's square of a picture of `count` squares."""
    masks = torch.zeros(count, SIZE, SIZE * count)
    for i in range(count):
        masks[i, :, SIZE * i : SIZE * (i + 1)] = 1
    return list(masks)


def evaluate_groups(
    bundle: Path,
    judges_dir: Path,
    *,
    seed: int,
    people: int = 100,
    counts: Sequence[int] = COUNTS,
    ways: Sequence[str] = ("squares",),
    alike: bool = False,
    sampling: Sampling | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
    sheet: Path | None = None,
) -> dict[str, Any]:
    """The figures as JSON values: rank1, mixing, attributes and costs (see `costs`) by the number of people, of the
    first way; `single`: one person in the same way; the other ways' under their names; `small_faces`: what the
    autoencoder leaves of faces when the group has to fit into one square. alike: besides, one person as everybody in
    the group's picture, which tells what the neighbours cost. sheet: where some of the pictures go."""
    if people < 2 * max(counts) or not set(counts) <= set(COUNTS) or not set(ways) <= set(WAYS) or not ways:
        raise UserError(f"groups of {', '.join(map(str, COUNTS))}, made from {' or '.join(WAYS)}, of 8 people or more")
    bench = _open(bundle, judges_dir, seed, people, sampling or Sampling(), device, progress)
    small = small_faces(bench, counts)
    bench.adapter.attach(bench.painter.pipe)
    try:
        drawn: dict[int, list[np.ndarray]] = {count: [] for count in counts}
        made = {way: _of_way(bench, way, seed, drawn, alike=alike) for way in ways}
        cost = [costs(bench, bench.cases(seed, count)[0], ways[0]) for count in counts]
    finally:
        bench.adapter.detach()
    if sheet is not None:
        strips = [_strip(bench, bench.cases(seed, count)[0], pictures) for count, pictures in drawn.items()]
        draw_sheet(strips, sheet)
    first, *others = ways
    about = {"seed": seed, "people": people, "way": first, "sampling": _written(bench.painter.sampling)}
    of_cost = {name: {str(n): each[name] for n, each in zip(counts, cost, strict=True)} for name in cost[0]}
    tree = made[first] | of_cost | {way: made[way] for way in others} | {"small_faces": small}
    return about | as_json(tree)


def _open(
    bundle: Path,
    judges_dir: Path,
    seed: int,
    people: int,
    sampling: Sampling,
    device: str | torch.device,
    progress: Progress | None,
) -> Bench:
    judges, plan = Judges.open(judges_dir, bundle), protocol(seed, people=max(GALLERY, people), per_person=1)
    adapter = FaceAdapter.from_pretrained(bundle / "adapter")
    painter = Painter.open(bundle, sampling, device=device, progress=progress)
    if torch.device(device).type == "cpu":
        fast_kernels(painter.pipe)
    tokens = person_tokens(adapter, plan.references[:people], judges.detector)
    references = judges.embed([one.image for one in plan.references])
    return Bench(plan, people, painter, adapter, tokens, judges, references)


def _written(sampling: Sampling) -> dict[str, Any]:
    return {name: getattr(sampling, name) for name in ("steps", "guidance_scale", "scale", "face_guidance")}


def _of_way(bench: Bench, way: str, seed: int, drawn: dict[int, list[np.ndarray]], *, alike: bool) -> dict[str, Any]:
    """{"rank1": {"2": ..., ...}, ..., "single": {"rank1": ..., ...}, "alike": {"2": ..., ...}}. drawn: by the size of
    the group, gets the first picture."""
    found, same = {}, {}
    for count in (1, *drawn):
        cases = bench.cases(seed, count)
        pictures = _painted(bench, cases, way, f"{way}, groups of {count}")
        found[count] = bench.judged(cases, pictures).figures()
        if count in drawn:
            drawn[count].append(pictures[0])
            if alike:
                others = _painted(bench, cases, way, f"{way}, one person {count} times", alike=True)
                everybody = [replace(case, own=case.own[:1] * count) for case in cases]
                same[str(count)] = bench.judged(everybody, others).figures()["rank1"]
    names = ("rank1", "mixing", "attributes", "changed_attributes")
    tree: dict[str, Any] = {name: {str(count): found[count][name] for count in drawn} for name in names}
    tree["single"] = {name: value for name, value in found[1].items() if name != "mixing"}
    return tree | ({"alike": same} if same else {})


def _painted(
    bench: Bench, cases: Sequence[GroupCase], way: str, title: str, *, alike: bool = False
) -> list[np.ndarray]:
    pictures = []
    for done, case in enumerate(cases, 1):
        pictures.append(bench.paint(case, way, alike=alike))
        bench.painter.progress(title, done, len(cases))
    return pictures


def _strip(bench: Bench, case: GroupCase, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Of one group, from top to bottom: reference pictures, true renders, the template, what each way made."""
    references = np.concatenate([bench.plan.references[i].image for i in case.own], 1)
    true = render_group([bench.plan.people[i] for i in case.own], case.wanted).image
    before = render_group([who for who, _ in case.before], [one for _, one in case.before]).image
    return np.concatenate([references, true, before, *pictures], 0)


def draw_sheet(strips: Sequence[np.ndarray], path: Path, *, gap: int = 12) -> None:
    """Strips (h, w, 3) uint8 of one height side by side, as a PNG."""
    width = sum(strip.shape[1] for strip in strips) + gap * (len(strips) - 1)
    sheet, left = Image.new("RGB", (width, strips[0].shape[0]), "white"), 0
    for strip in strips:
        sheet.paste(Image.fromarray(strip), (left, 0))
        left += strip.shape[1] + gap
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


@torch.no_grad()
def costs(bench: Bench, case: GroupCase, way: str) -> dict[str, Figure]:
    """CPU time of a call of the model with all people's faces and words. cost_ratio: by that of a call with the first
    one's face alone over the whole of a picture of the same size, as the way makes its calls. Of a batch of squares
    also by_one_person: by the call for one square, and by_turns: by one such call for each."""
    count = len(case.own)
    words = [caption(one) for one in case.wanted]
    whole = [bench.region(case.own[0], torch.ones(SIZE, SIZE * count))]
    everyone = [bench.region(i, mask) for i, mask in zip(case.own, columns(count), strict=True)]
    taken = []
    for _ in range(COST_ROUNDS + 1):
        wide = [_seconds(bench, whole, [], count), _seconds(bench, everyone, words, count)]
        taken.append([*wide, _batch_seconds(bench, everyone[:1], words), _batch_seconds(bench, everyone, words)])
    alone, together, square, squares = np.array(taken[1:]).T
    call = together if way in ("template", "noise") else count * square if way == "one_by_one" else squares
    ratios = {"cost_ratio": call / alone}
    if call is squares:
        ratios |= {"by_one_person": squares / square, "by_turns": squares / (count * square)}
    return {name: figure(each) for name, each in ratios.items()}


def _batch_seconds(bench: Bench, people: Sequence[Region], words: list[str]) -> float:
    """CPU time of one call of the model on a square for each of the people, under guidance."""
    pipe, n = bench.painter.pipe, len(people)
    settings = [Settings(prompt=each, scale=_one_scale(bench.painter.sampling)) for each in words[:n]]
    arguments = call_arguments(pipe, bench.adapter, rows_of([one.tokens for one in people]), settings)
    text = prompts.encode(pipe, words[:n])[0].repeat(2, 1, 1)
    latents = torch.randn(2 * n, pipe.unet.config.in_channels, SIZE // 8, SIZE // 8, device=pipe.unet.device)
    condition = arguments["cross_attention_kwargs"]
    return _timed(lambda: pipe.unet(latents, 500, encoder_hidden_states=text, cross_attention_kwargs=condition))


def _timed(call: Callable[[], Any]) -> float:
    """CPU time of the second of two calls."""
    call()
    start = time.process_time()
    call()
    return time.process_time() - start


def _one_scale(sampling: Sampling) -> float:
    """Of all blocks: groups have one for each person instead."""
    assert not isinstance(sampling.scale, Mapping)
    return sampling.scale


def _seconds(bench: Bench, people: Sequence[Region], words: list[str], count: int) -> float:
    """CPU time of one call of the model on a picture of `count` squares, under guidance."""
    pipe, sampling = bench.painter.pipe, bench.painter.sampling
    settings = GroupSettings(prompt="portrait of a person", words=words, scale=_one_scale(sampling))
    arguments = group_arguments(pipe, bench.adapter, people, settings)
    latents = torch.randn(1, pipe.unet.config.in_channels, SIZE // 8, SIZE * count // 8).repeat(2, 1, 1, 1)
    text = arguments.get("prompt_embeds")
    text = (prompts.encode(pipe, [settings.prompt])[0] if text is None else text).repeat(2, 1, 1)
    latents, condition = latents.to(pipe.unet.device), arguments["cross_attention_kwargs"]
    with words_in_place(pipe, [one.mask for one in people], settings):
        return _timed(lambda: pipe.unet(latents, 500, encoder_hidden_states=text, cross_attention_kwargs=condition))


def small_faces(bench: Bench, counts: Sequence[int]) -> dict[str, Any]:
    """Rank-1 of true renders when `count` people share one square of SIZE pixels, as they are and through the
    autoencoder: what a base model of this size could show of them at best."""
    found: dict[str, Any] = {}
    for count in (1, *counts):
        cases = bench.cases(0, count)
        pictures = []
        for case in cases:
            shown = render_group([bench.plan.people[i] for i in case.own], case.wanted, size=SIZE // count)
            square = np.zeros((SIZE, SIZE, 3), np.uint8)
            top = (SIZE - len(shown.image)) // 2
            square[top : top + len(shown.image), : shown.image.shape[1]] = shown.image
            pictures.append(square)
        found[str(count)] = {
            "pixels": bench.judged(cases, [_enlarged(one, count) for one in pictures]).figures()["rank1"],
            "autoencoder": bench.judged(
                cases, [_enlarged(one, count) for one in bench.painter.reconstruct(pictures)]
            ).figures()["rank1"],
        }
    return found


def _enlarged(square: np.ndarray, count: int) -> np.ndarray:
    """The people of a square, as large as the judges know them: (SIZE, SIZE * count, 3) uint8."""
    height = SIZE // count
    top = (SIZE - height) // 2
    strip = Image.fromarray(square[top : top + height, : height * count])
    return np.asarray(strip.resize((SIZE * count, SIZE), Image.Resampling.BICUBIC))
