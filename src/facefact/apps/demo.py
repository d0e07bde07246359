"""`facefact demo`: the embedded bundle makes portraits of people that it has never seen, beside the base model's."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np


def add_parser(subparsers: Any) -> None:
    line = "see it work: portraits of people the bundled model has never seen"
    parser = subparsers.add_parser("demo", help=line, description=line)
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the pictures go (default out/)")
    parser.add_argument("--seed", type=int, default=0, help="other people, other noise (default 0)")
    parser.add_argument("--people", type=int, default=6, help="rows of the contact sheet (default 6)")
    parser.add_argument("--steps", type=int, default=20, help="denoising steps (default 20)")
    parser.add_argument("--scale", type=float, default=1.0, help="how much the face counts, 0 is the base model (default 1)")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    from diffusers import StableDiffusionPipeline

    from facefact.apps.progress import show
    from facefact.demo import bundle_path, judges_path, scores
    from facefact.device import choose_device
    from facefact.evaluate.sheet import contact_sheet, sheet_protocol, side_by_side
    from facefact.evaluate.world import Judges, Sampling, as_json, identity_scores, make_pictures, person_tokens
    from facefact.face_adapter import FaceAdapter

    plan, judges = sheet_protocol(args.seed, people=args.people), Judges.open(judges_path(), bundle_path())
    sampling = Sampling(steps=args.steps, scale=args.scale)
    pipe = StableDiffusionPipeline.from_pretrained(bundle_path(), local_files_only=True).to(choose_device(args.device))
    pipe.set_progress_bar_config(disable=True)
    base = make_pictures(pipe, plan.cases, sampling, progress=show, title="base model")
    adapter = FaceAdapter.from_pretrained(bundle_path() / "adapter").attach(pipe)
    people = person_tokens(adapter, plan.references, judges.detector)
    made = make_pictures(pipe, plan.cases, sampling, adapter=adapter, people=people, progress=show, title="with the face adapter")

    references = [reference.image for reference in plan.references]
    adapted = contact_sheet("facefact: the prompt of the column, the person of the row", references, made)
    plain = contact_sheet("the base model alone: same prompts, same seeds", references, base)
    args.out.mkdir(parents=True, exist_ok=True)
    side_by_side(adapted, plain).save(args.out / "contact_sheet.png")
    embedded = judges.embed(np.stack(references))
    here = {
        "people": args.people,
        "images": len(plan.cases),
        "adapter": as_json(identity_scores(judges.embed(made), embedded, plan.own)),
        "base": as_json(identity_scores(judges.embed(base), embedded, plan.own)),
    }
    figures = {"this_sheet": here, "bundle": scores(), "seconds": round(time.monotonic() - began, 1)}
    (args.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2) if args.json else summary(figures, args))
    return 0


def summary(figures: dict[str, Any], args: argparse.Namespace) -> str:
    here, bundle = figures["this_sheet"], figures["bundle"]
    lines = [f"{args.out / 'contact_sheet.png'}: {here['people']} people, {here['images']} portraits, beside the base model's"]
    lines.append(
        f"on this sheet an independent recogniser names the right one of {here['people']} people for "
        f"{here['adapter']['rank1']['value']:.0%} of the portraits (base model {here['base']['rank1']['value']:.0%}, chance {1 / here['people']:.0%})"
    )
    if bundle:
        adapter, base = bundle["adapter"], bundle["base"]
        said = lambda one, digits=2: f"{one['value']:.{digits}f} ({one['low']:.{digits}f} to {one['high']:.{digits}f})"  # noqa: E731
        lines += [
            f"measured when the bundle was built ({bundle['people']} unseen people, {bundle['images']} pictures, seed {bundle['seed']}):",
            f"  right person first of {bundle['people']}: {said(adapter['rank1'])}, among the first five: {said(adapter['rank5'])}; "
            f"base model {said(base['rank1'])}",
            f"  attributes as the prompt asks: {said(adapter['attributes'])}; base model {said(base['attributes'])}",
        ]
    lines.append(f"{figures['seconds']:.0f} s")
    return "\n".join(lines)


