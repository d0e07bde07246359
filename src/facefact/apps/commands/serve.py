"""`facefact serve`: the API, its page where there is one, and the workers, on this machine."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefact.apps.options import add_provenance, at_least_one
from facefact.types import UserError

if TYPE_CHECKING:
    from facefact.apps.service.serving import Plan, Workers

LOOPBACK = ("127.0.0.1", "localhost", "::1")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
MISSING = "`facefact serve` needs more packages: pip install 'facefact[serve]' ({} is not here)"


def add_parser(subparsers: Any) -> None:
    line = "the service: portraits as jobs over HTTP, which survive a restart"
    parser = subparsers.add_parser(
        "serve", help=line, description=f"{line.capitalize()}. Without options: this machine alone, the embedded model."
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those that `facefact ui` has too."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, default=8188, help="port, 0 for a free one (default 8188)")
    _add_model(parser)
    _add_places(parser)
    _add_workers(parser)
    _add_callers(parser)
    add_provenance(parser)


def _add_model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("the model")
    model.add_argument("--model", default="demo", metavar="demo|DIR|FILE|HUB_ID", help="the base model (default: demo)")
    model.add_argument("--adapter", metavar="DIR|HUB_ID", help="the face adapter (default: the one inside the model)")
    model.add_argument("--yunet", type=Path, metavar="FILE.onnx", help="find faces with this YuNet model")
    model.add_argument("--device", help="cuda, cuda:1, mps or cpu (default: the best there is)")
    model.add_argument("--dtype", help="fp32, fp16 or bf16 (default: what the device does well)")
    model.add_argument("--offline", action="store_true", help="never use the network")


def _add_places(parser: argparse.ArgumentParser) -> None:
    places = parser.add_argument_group("where and how long")
    places.add_argument(
        "--data", type=Path, metavar="DIR", help="everything that is kept (default: ~/.local/share/facefact)"
    )
    places.add_argument(
        "--database", metavar="URL", help="postgresql+psycopg://USER@HOST/NAME (default: SQLite in --data)"
    )
    places.add_argument("--store", metavar="URL", help="pictures: a folder or a URL of fsspec (default: in --data)")
    places.add_argument(
        "--keep", type=seconds, default="7d", metavar="7d", help="how long results are kept (default 7d)"
    )
    places.add_argument(
        "--keep-photos",
        type=seconds,
        metavar="0|7d",
        help="how long after a job what was sent with it is kept; 0: not at all (default: as long as the results)",
    )
    places.add_argument("--store-limit", type=size, metavar="2GB", help="delete the oldest results beyond this size")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    workers = parser.add_argument_group("the workers")
    workers.add_argument(
        "--workers",
        type=worker_range,
        default="1",
        metavar="N|MIN:MAX",
        help="processes with the model in memory; 0: others work on this database (default 1)",
    )
    workers.add_argument("--engine", choices=("local", "ray"), default="local", help="where they run (default: local)")
    workers.add_argument("--ray-address", metavar="HOST:PORT", help="the Ray cluster (default: one on this machine)")
    workers.add_argument("--batch", type=at_least_one, default=4, help="portraits made at a time (default 4)")
    workers.add_argument("--queue-limit", type=at_least_one, default=1000, help="jobs that may wait (default 1000)")


def _add_callers(parser: argparse.ArgumentParser) -> None:
    callers = parser.add_argument_group("who may call")
    callers.add_argument(
        "--api-keys", type=Path, metavar="FILE", help="only who has one of these keys; each sees their own"
    )
    callers.add_argument("--new-key", metavar="NAME", help="add a key to --api-keys, print it once, and end")
    callers.add_argument("--open", action="store_true", help="let anybody in who can reach the address, without keys")
    callers.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="a page of this address may call from a browser (default: only the service's own)",
    )


def run(args: argparse.Namespace) -> int:
    if args.new_key is not None:
        return _new_key(args)
    check(args)
    try:
        from facefact.apps.service.serving import serve
    except ModuleNotFoundError as error:
        raise UserError(MISSING.format(error.name)) from error
    plan = plan_of(args)
    return serve(plan, pool_of(args, plan))


def plan_of(args: argparse.Namespace) -> Plan:
    from facefact.apps.service.api.service import Limits
    from facefact.apps.service.serving import Plan
    from facefact.generate.watermark import LEAST_SIDE

    return Plan(
        host=args.host,
        port=args.port,
        data=data_folder(args),
        model=args.model,
        adapter=args.adapter,
        yunet=str(args.yunet) if args.yunet else None,
        offline=args.offline,
        database=args.database,
        store=args.store,
        keys=args.api_keys,
        open=args.open,
        origins=args.allow_origin,
        keep=args.keep,
        keep_photos=args.keep_photos,
        store_limit=args.store_limit,
        signs=args.c2pa_key is not None or args.workers[1] == 0,  # (others' workers may)
        limits=Limits(queue=args.queue_limit, least_side=LEAST_SIDE if args.watermark else 1),
    )


def pool_of(args: argparse.Namespace, plan: Plan) -> Workers | None:
    """The workers, not begun; None where others run them."""
    from facefact.apps.service.worker_options import WorkerOptions

    few, many = args.workers
    if many == 0:
        return None
    names = ("model", "adapter", "device", "dtype", "offline", "strict_licences")
    options = WorkerOptions(
        database=plan.database_url,
        store=plan.store_place,
        studio={name: getattr(args, name) for name in names} | {"yunet": plan.yunet},
        batch=args.batch,
        keep_photos=args.keep_photos != 0,
        c2pa_key=str(args.c2pa_key.resolve()) if args.c2pa_key else None,
        c2pa_cert=str(args.c2pa_cert.resolve()) if args.c2pa_cert else None,
        watermark=args.watermark,
    )
    if args.engine == "ray":
        from facefact.apps.service.ray_pool import RayPool

        return RayPool(options, minimum=few, maximum=many, address=args.ray_address)
    if few != many:
        raise UserError(f"--workers {few}:{many}: a pool that grows and shrinks is for --engine ray; say one number")
    from facefact.apps.service.pool import LocalPool

    return LocalPool(options, workers=many)


def _new_key(args: argparse.Namespace) -> int:
    from facefact.apps.service.api.keys import new_key

    if args.api_keys is None:
        raise UserError("say which file the key goes into: --api-keys FILE")
    print(new_key(args.api_keys, args.new_key))
    return 0


def check(args: argparse.Namespace) -> None:
    """UserError: options that do not go together, or an address that strangers reach without a key."""
    if args.host not in LOOPBACK and args.api_keys is None and not args.open:
        raise UserError(
            f"at {args.host} anybody who reaches it could use it: give keys with --api-keys FILE (make one with "
            "--new-key NAME --api-keys FILE), or say --open if that is meant"
        )
    if args.open and args.api_keys is not None:
        raise UserError("--open lets anybody in, --api-keys asks for a key: choose one")
    if (args.c2pa_key is None) != (args.c2pa_cert is None):
        raise UserError("--c2pa-key and --c2pa-cert belong together: `facefact sign init` makes both files")
    if args.ray_address and args.engine != "ray":
        raise UserError("--ray-address is for --engine ray")
    if args.workers[1] == 0 and (args.c2pa_key or args.watermark or args.strict_licences):
        raise UserError("signing, marks and --strict-licences are of the workers, and with --workers 0 here are none")
    if not 0 <= args.port < 65536:
        raise UserError(f"--port {args.port}: a port is 0 to 65535")
    for origin in args.allow_origin:
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            raise UserError(f"--allow-origin {origin}: as a browser sends it, for instance https://example.org")


def data_folder(args: argparse.Namespace) -> Path:
    if args.data is not None:
        return Path(args.data)
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "facefact"


# What the options are written as


def seconds(text: str) -> float:
    """7d, 12h, 30m, 45s, 2w, or 0."""
    found = re.fullmatch(r"(\d{1,6})([smhdw]?)", text)
    if not found or (not found[2] and int(found[1])):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 7d, 12h, 30m or 0")
    return float(int(found[1]) * UNITS.get(found[2], 1))


def size(text: str) -> int:
    """2GB, 500MB: bytes."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*([KMGT]?)i?B?", text, re.IGNORECASE)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 2GB or 500MB")
    return int(float(found[1]) * SIZES[found[2].upper()])


def worker_range(text: str) -> tuple[int, int]:
    """N, or MIN:MAX: how many at least and at most."""
    low, colon, high = text.partition(":")
    if not low.isdecimal() or (colon and not high.isdecimal()) or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers: write 2, or 1:4")
    few, many = int(low), int(high if colon else low)
    if few > many or (colon and many < 1):
        raise argparse.ArgumentTypeError(f"{text!r}: the most workers are fewer than the least")
    return few, many
