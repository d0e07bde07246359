"""`facefact bench unet --only scaling`: what a call costs against resolution, batch, number of photos, of people and
of people in one picture, measured, and as operations (`unet_operations`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from facefact.bench.random_models import QUERIES, shape_of
from facefact.bench.timing import machine, ratio, seconds_of
from facefact.bench.unet import Call, Workbench, about, affordable, local_parts, measure
from facefact.bench.unet_operations import counted

LARGEST = 1024  # px
KEYS = "keys"  # making the face keys, once for each portrait


@dataclass(frozen=True)
class Point:
    """One call of an axis, and which variants are measured there."""

    axis: str
    call: Call
    variants: Sequence[str] = ("base", "exact", KEYS)


def points(call: Call) -> Iterator[Point]:
    """From a half to one and a half of the size that the model is made for; the rest at half of it."""
    made_for = shape_of(call.shape).size
    for size in (made_for // 2, made_for * 3 // 4, made_for, made_for * 3 // 2):
        if size <= LARGEST:
            yield Point("resolution", replace(call, size=size), ("base", "base_fast", "exact", "local"))
    small = replace(call, size=made_for // 2)
    for batch in (1, 2, 4):
        yield Point("batch", replace(small, batch=batch))
    for photos in (1, 2, 5):
        yield Point("photos", replace(small, photos=photos))
    for people in (1, 4):
        yield Point("people", replace(small, batch=4, people=people))
    yield from group_points(small)


def group_points(call: Call) -> Iterator[Point]:
    """People in one picture: 1 to 8."""
    for group in (1, 2, 4, 8):
        yield Point("group", replace(call, group=group))


def bench_scaling(
    call: Call,
    wanted: Sequence[Point] | None = None,
    *,
    rounds: int = 3,
    progress: Callable[[], Any] | None = None,
) -> dict[str, Any]:
    """The figures. call: shape, guidance, device and dtype count. wanted: of it; None: all `points`. progress: called
    after each round."""
    affordable(call, ())
    bench, rows = Workbench(call, ("base", "base_fast", "exact", "local")), []
    for point in wanted or list(points(call)):
        bench.call = point.call
        rows.append(measured(bench, point, rounds=rounds, progress=progress))
    what = {name: about(call)[name] for name in ("shape", "device", "dtype", "guidance", "face_share")}
    return {"points": rows, **what, "machine": machine()}


def measured(
    bench: Workbench, point: Point, *, rounds: int, progress: Callable[[], Any] | None = None
) -> dict[str, Any]:
    """Seconds of each variant and ratios to the base within the round, beside the counted operations."""
    call, face = point.call, QUERIES * point.call.photos * point.call.group
    times = measure(bench, point.variants, rounds=rounds, progress=progress)
    count = counted(call.shape, call.size, rows=call.rows, face=face)
    return {
        "axis": point.axis,
        **{name: getattr(call, name) for name in ("size", "batch", "photos", "people", "group", "rows")},
        "tokens": max(n for _, n in count.layers.values()),
        "operations": {
            "base": count.base,
            "exact": count.formula(rows=call.rows, face=face),
            "local": count.formula(rows=call.rows, face=face, parts=local_parts(call)),
            "ratio": count.exact / count.base,
            "keys": count.keys * call.people // call.batch,
        },
        "seconds": {name: seconds_of(one) for name, one in times.items()},
        "ratios": {name: ratio(one, times["base"]) for name, one in times.items() if name not in ("base", KEYS)},
    }
