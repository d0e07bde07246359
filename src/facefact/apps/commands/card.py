"""`facefact card`: identity cards, which stand wherever a photo does: make, look at, merge, mix."""

from __future__ import annotations

import argparse
import json
import logging
import re
import stat
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.encoder import Card
    from facefact.metrics.likeness import Calibration

log = logging.getLogger("facefact")

EXAMPLE = 'facefact card make --face me.jpg -o me.safetensors --name Me --consent "portraits of me" --expires 90d'
MOST_DAYS = 36_500
PRIVATE = stat.S_IRWXG | stat.S_IRWXO


def add_parser(subparsers: Any) -> None:
    line = "identity cards: a person in a small file, usable wherever a photo is"
    parser = subparsers.add_parser("card", help=line, description=f"{line.capitalize()}. Example: {EXAMPLE}")
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)
    _add_make(actions.add_parser("make", help="photos of one person -> a card"))
    show = actions.add_parser("show", help="what a card says")
    show.add_argument("cards", nargs="+", type=Path, metavar="CARD")
    show.add_argument("--json", action="store_true", help="print it as JSON, the thumbnail in base64")
    show.add_argument("--thumbnail", type=Path, metavar="FILE.jpg", help="write the thumbnail, where the card has one")
    merge = actions.add_parser("merge", help="cards of the same person -> one card of all their photos")
    merge.add_argument("cards", nargs="+", type=Path, metavar="CARD")
    _add_output(merge)
    mix = actions.add_parser("mix", help="cards of two people -> a card of somebody between them, who does not exist")
    mix.add_argument("one", type=Path, metavar="CARD")
    mix.add_argument("other", type=Path, metavar="CARD")
    mix.add_argument("--weight", type=float, default=0.5, help="of the second, from 0 to 1 (default 0.5)")
    _add_output(mix)
    _add_calibrate(actions.add_parser("calibrate", help="what a likeness means: measured on your own photos"))


def _add_calibrate(calibrate: argparse.ArgumentParser) -> None:
    calibrate.add_argument("photos", nargs="?", type=Path, metavar="DIR", help="a folder of photos for each person")
    calibrate.add_argument("--world", action="store_true", help="the portrait world's people, for the demo model")
    calibrate.add_argument(
        "--recogniser",
        default="auto",
        metavar="auto|dlib|insightface|DIR",
        help="whose similarities; DIR: of an encoder or adapter (default: the first of these that is installed)",
    )
    calibrate.add_argument("--most", type=int, default=0, metavar="N", help="pictures of a person (default: all)")
    calibrate.add_argument("--yunet", type=Path, metavar="FILE.onnx", help="find faces with this YuNet model")
    calibrate.add_argument(
        "-o", "--out", type=Path, metavar="FILE.json", help="where to write it (default: where page and service look)"
    )


def _add_make(make: argparse.ArgumentParser) -> None:
    make.add_argument(
        "--face", type=Path, action="append", required=True, metavar="PICTURE", help="a photo; repeat it for several"
    )
    make.add_argument("--which", type=int, default=0, help="which face of a photo, 0 is the largest (default 0)")
    make.add_argument("--consent", default="", metavar="TEXT", help="what the person agreed to, in one line")
    make.add_argument("--expires", metavar="90d|DATE", help="the last day that it counts, or after how many days")
    make.add_argument("--thumbnail", action="store_true", help="put a small picture of the face in")
    make.add_argument("--model", default="demo", metavar="demo|DIR|HUB_ID", help="who is to read it (default: demo)")
    make.add_argument("--adapter", metavar="DIR|HUB_ID", help="the face adapter (default: the one inside the model)")
    make.add_argument("--yunet", type=Path, metavar="FILE.onnx", help="find faces with this YuNet model")
    make.add_argument("--offline", action="store_true", help="never use the network")
    _add_output(make)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE.safetensors", help="where to write it")
    parser.add_argument("--name", help="what to call the person")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def run(args: argparse.Namespace) -> int:
    return {"make": _make, "show": _show, "merge": _merge, "mix": _mix, "calibrate": _calibrate}[args.action](args)


def _make(args: argparse.Namespace) -> int:
    _check_out(args)
    expires = expiry(args.expires)

    from facefact.face_adapter import FaceAdapter
    from facefact.faces import get_detector
    from facefact.generate.cards import make_card
    from facefact.generate.studio import locate_adapter, public_name

    folder = locate_adapter(model=args.model, adapter=args.adapter, offline=args.offline)
    card = make_card(
        args.face,
        adapter=FaceAdapter.from_pretrained(folder, local_files_only=True),
        adapter_name=public_name(args.adapter or args.model),
        detector=get_detector(model=args.yunet),
        which=args.which,
        model=args.model,
        name=args.name or "",
        consent=args.consent,
        expires=expires,
        thumbnail=args.thumbnail,
    )
    return _write(args, card)


def _merge(args: argparse.Namespace) -> int:
    _check_out(args)
    if len(args.cards) < 2:
        raise UserError("give at least two cards of one person")

    from facefact.encoder import load_card
    from facefact.encoder.blend import check_together, merge_cards
    from facefact.generate.strangers import warn_of_other_people

    cards = [load_card(path) for path in args.cards]
    check_together(cards)
    warn_of_other_people(cards)
    return _write(args, merge_cards(cards, name=args.name))


def _mix(args: argparse.Namespace) -> int:
    _check_out(args)

    from facefact.encoder import load_card
    from facefact.encoder.blend import mix_cards

    one, other = load_card(args.one), load_card(args.other)
    return _write(args, mix_cards(one, other, args.weight, name=args.name))


def _calibrate(args: argparse.Namespace) -> int:
    if bool(args.photos) == args.world:
        raise UserError("say whose pictures: a folder that holds a folder of photos for each person, or --world")

    from facefact.generate.likeness import own_calibrations
    from facefact.metrics.likeness import load_calibrations, save_calibrations

    out = args.out or own_calibrations()
    known = load_calibrations(out) if args.out is None and out.exists() else {}  # (of other recognisers)
    found = _of_world() if args.world else [_of_photos(args)]
    save_calibrations((known | {one.recogniser: one for one in found}).values(), out)
    print(out)
    for one in found:
        said = f"{one.same['50']:.2f} alike (half of them {one.same['25']:.2f} to {one.same['75']:.2f}), strangers"
        print(f"{one.recogniser}, {one.people} people, {one.pictures} pictures: two of one person are {said} ", end="")
        print(f"{one.different['50']:.2f} (19 of 20 below {one.different['95']:.2f})")
    return 0


def _of_photos(args: argparse.Namespace) -> Calibration:
    from facefact.apps.progress import show
    from facefact.evaluate.likeness import calibrate_photos, recogniser_called
    from facefact.faces import get_detector

    recogniser, detector = recogniser_called(args.recogniser), get_detector(model=args.yunet)
    measured = calibrate_photos(args.photos, recogniser, detector=detector, most=args.most, progress=show)
    if measured.skipped:
        log.warning("%d photos were left out, the first: %s", len(measured.skipped), measured.skipped[0])
    return measured.calibration


def _of_world() -> list[Calibration]:
    """Of the bundle's encoder and of the judge's, which is independent of it."""
    from facefact.apps.progress import show
    from facefact.data.recognisers import TransFaceRecogniser
    from facefact.demo import bundle_path, judges_path
    from facefact.evaluate.likeness import calibrate_world
    from facefact.faces import get_detector

    recognisers = [TransFaceRecogniser(path) for path in (bundle_path() / "adapter", judges_path() / "recogniser")]
    return calibrate_world(recognisers, detector=get_detector("avatar"), progress=show)


def _check_out(args: argparse.Namespace) -> None:
    """UserError, before any work: the card cannot go there."""
    if args.out.suffix.lower() != ".safetensors":
        raise UserError(f"{args.out}: a card is a safetensors file: let its name end in .safetensors")
    if args.out.exists() and not args.overwrite:
        raise UserError(f"{args.out} is already there: choose another -o, or say --overwrite")


def _write(args: argparse.Namespace, card: Card) -> int:
    from facefact.encoder import load_card, save_card

    save_card(card, args.out)
    print("\n".join(lines(load_card(args.out, even_expired=True), args.out)))
    return 0


def expiry(text: str | None) -> date | None:
    """90d or 2027-01-31 -> the day. UserError: neither, or it is over."""
    if text is None:
        return None

    from facefact.encoder.card import today

    if re.fullmatch(r"[0-9]{1,6}d", text) and int(text[:-1]) <= MOST_DAYS:
        return today() + timedelta(days=int(text[:-1]))
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UserError(f"--expires {text}: say after how many days (90d), or the day (2027-01-31)") from None
    if day < today():
        raise UserError(f"--expires {text}: that day is over")
    return day


# What a card says


def _show(args: argparse.Namespace) -> int:
    from facefact.encoder import load_card

    if args.thumbnail and len(args.cards) > 1:
        raise UserError("--thumbnail writes one picture: show one card")
    cards = [load_card(path, even_expired=True) for path in args.cards]
    if args.thumbnail:
        _write_thumbnail(cards[0], args.thumbnail)
    if args.json:
        print(json.dumps([as_json(card, path) for card, path in zip(cards, args.cards, strict=True)], indent=2))
    else:
        print("\n".join(line for card, path in zip(cards, args.cards, strict=True) for line in lines(card, path)))
    return 0


def _write_thumbnail(card: Card, path: Path) -> None:
    """The bytes as they are, if they are a picture. UserError: there is none."""
    from facefact.faces import open_picture
    from facefact.files import replacing

    if card.thumbnail is None:
        raise UserError(f"{card.called} has no thumbnail (`facefact card make --thumbnail` puts one in)")
    open_picture(card.thumbnail, name=f"the thumbnail of {card.called}", max_pixels=1 << 20)
    try:
        with replacing(path, private=True) as temporary:
            temporary.write_bytes(card.thumbnail)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def lines(card: Card, path: Path) -> list[str]:
    """For people."""
    from facefact.encoder.card import today

    kinds = {"photo": "photo", "avatar": "avatar", "drawn": "avatar drawn from photos", "invented": "invented person"}
    shown = [f"{path}: {card.name or 'no name'} ({path.stat().st_size / 1e3:.0f} kB)"]
    for one in card.sources:
        turned = f"yaw {one.pose.yaw:+.0f} pitch {one.pose.pitch:+.0f} roll {one.pose.roll:+.0f}"
        shown.append(f"  {kinds[one.kind]}: quality {one.quality:.2f}, {turned}")
    shown.append(f"  made {card.made} with {card.adapter or 'an adapter without a name'}, encoder {card.encoder[:10]}")
    if card.expires is None:
        shown.append("  does not expire")
    else:
        left = (card.expires - today()).days
        shown.append(
            f"  EXPIRED on {card.expires}" if left < 0 else f"  expires after {card.expires} ({left} days left)"
        )
    shown.append(f"  consent: {card.consent or 'nothing is noted'}")
    if card.thumbnail is not None:
        shown.append(f"  thumbnail: {len(card.thumbnail) / 1e3:.1f} kB (--thumbnail FILE.jpg writes it)")
    if others_read(path):
        shown.append(f"  OTHERS ON THIS MACHINE CAN READ IT: chmod 600 {path}")
    return shown


def others_read(path: Path) -> bool:
    """Whether the file's mode lets anybody else in."""
    return bool(stat.S_IMODE(path.stat().st_mode) & PRIVATE)


def as_json(card: Card, path: Path) -> dict[str, Any]:
    """In plain types."""
    from facefact.generate import file_hash

    return {
        "file": str(path),
        "sha256": file_hash(path),
        "bytes": path.stat().st_size,
        "others_read": others_read(path),
        "encoder": card.encoder,
        "tokens": list(card.tokens.face.shape),
        **card.said(),
    }
