"""`facefact demo`: the embedded bundle makes portraits of people that it has never seen, beside the base model's."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from facefact.apps.parser import at_least
from facefact.apps.progress import show, silence_loading
from facefact.demo import SCALE
from facefact.types import UserError


def add_parser(subparsers: Any) -> None:
    line = "see it work: portraits of people the bundled model has never seen"
    parser = subparsers.add_parser("demo", help=line, description=line)
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the pictures go (default out/)")
    parser.add_argument("--seed", type=int, default=0, help="other people, other noise (default 0)")
    parser.add_argument("--people", type=at_least(2), default=6, help="rows of the contact sheet (default 6)")
    parser.add_argument("--steps", type=at_least(1), default=12, help="denoising steps (default 12)")
    parser.add_argument(
        "--scale", type=float, default=SCALE, help=f"how much the face counts, 0 is the base model (default {SCALE})"
    )
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> int:
    began = time.monotonic()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{args.out}: cannot be a folder for the pictures ({error.strerror})") from error
    from PIL import Image

    from facefact.demo import bundle_path, judges_path, scores
    from facefact.device import choose_device
    from facefact.evaluate.judges import Judges
    from facefact.evaluate.pictures import Painter, Sampling, person_tokens
    from facefact.evaluate.sheet import contact_sheet, sheet_protocol, side_by_side
    from facefact.evaluate.world import as_json, score_identity
    from facefact.face_adapter import FaceAdapter

    silence_loading()
    plan, judges = sheet_protocol(args.seed, people=args.people), Judges.open(judges_path(), bundle_path())
    sampling = Sampling(steps=args.steps, scale=args.scale)
    painter = Painter.open(bundle_path(), sampling, device=choose_device(args.device), progress=show)
    adapter = FaceAdapter.from_pretrained(bundle_path() / "adapter")
    people = person_tokens(adapter, plan.references, judges.detector)
    base = painter.base(plan.cases)
    made = painter.adapted(plan.cases, adapter, people, title="with the face adapter")

    references = [reference.image for reference in plan.references]
    adapted = contact_sheet("facefact: the prompt of the column, the person of the row", references, made)
    plain = contact_sheet("the base model alone: same prompts, same seeds", references, base)
    side_by_side(adapted, plain).save(args.out / "contact_sheet.png")
    for i, reference in enumerate(references):  # something to give to `facefact generate --face`
        Image.fromarray(reference).save(args.out / f"person-{i + 1}.png")
    known = judges.embed(references)
    here = {
        "people": args.people,
        "images": len(plan.cases),
        "adapter": as_json(score_identity(judges.embed(made), known, plan.own)),
        "base": as_json(score_identity(judges.embed(base), known, plan.own)),
    }
    figures = {"this_sheet": here, "bundle": scores(), "seconds": round(time.monotonic() - began, 1)}
    (args.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2) if args.json else summary(figures, args.out / "contact_sheet.png"))
    return 0


def summary(figures: dict[str, Any], sheet: Path) -> str:
    """What a person wants to know, in a few lines."""
    from facefact.generate.demo_model import EXAMPLE_CAPTION

    here, bundle = figures["this_sheet"], figures["bundle"]
    right, base = here["adapter"]["rank1"]["value"], here["base"]["rank1"]["value"]
    lines = [
        f"{sheet}: {here['people']} people, {here['images']} portraits, beside the base model's",
        f"an independent recogniser picks the right one of {here['people']} people for {right:.0%} of the portraits "
        f"(base model {base:.0%}, chance {1 / here['people']:.0%})",
    ]
    if bundle:
        lines += [
            f"measured with this bundle on {bundle.get('seeds', 1)} x {bundle['people']} unseen people, "
            f"{bundle['images']} pictures (95 % intervals):",
            f"  right person first: {with_interval(bundle['adapter']['rank1'])}, among the first five: "
            f"{with_interval(bundle['adapter']['rank5'])}; base model {with_interval(bundle['base']['rank1'])}",
            f"  attributes as the prompt asks: {with_interval(bundle['adapter']['attributes'])}; base model "
            f"{with_interval(bundle['base']['attributes'])}",
        ]
    lines.append(f"try one: facefact generate --face {sheet.with_name('person-1.png')} --prompt {EXAMPLE_CAPTION!r}")
    return "\n".join([*lines, f"{figures['seconds']:.0f} s"])


def with_interval(one: dict[str, float]) -> str:
    return f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
