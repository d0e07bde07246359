"""What each layer of the adapter does, by the leak meter of a run's last validation: as a table, and as a warning where
one does nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from facefact.page import escape, picture, section, table
from facefact.train.losses.fair import ALIVE
from facefact.train.report.run_folder import RunFolder, ValidationRecord, is_number


@dataclass(frozen=True)
class Share:
    """Of change, with the ends of its 95 % interval over people (both the value where there is one person)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Layer:
    """One layer with its feed-forward, over all timesteps. block: the base model's name for its place. name: the same
    for people, with the resolution. outside, inside: the face."""

    block: str
    name: str
    outside: Share
    inside: Share

    @property
    def alive(self) -> bool:
        return self.inside.value >= ALIVE


def last_measured(run: RunFolder) -> ValidationRecord | None:
    """The newest validation whose leak meter says what each layer does."""
    return next((one for one in reversed(run.validations) if layers_of(one)), None)


def layers_of(validation: ValidationRecord) -> list[Layer]:
    """Empty where it was not measured, or is not to be read."""
    rows = validation.leak.get("by_layer")
    try:
        return [
            Layer(str(row["block"]), str(row["name"]), _share(row["outside"]), _share(row["inside"]))
            for row in rows or ()
        ]
    except (KeyError, TypeError):
        return []


def _share(tree: Mapping[str, Any]) -> Share:
    """TypeError: it is none."""
    value = tree["value"]
    ends = [tree.get(name, value) for name in ("low", "high")]
    if not all(map(is_number, (value, *ends))):
        raise TypeError("no number")
    return Share(value, *ends)


def warnings(run: RunFolder) -> list[str]:
    """One sentence for each layer that adds nothing inside the face and, once the training is finished, what can be
    done about them; empty where all do something."""
    measured = last_measured(run)
    if measured is None:
        return []
    layers = layers_of(measured)
    dead = [one for one in layers if not one.alive]
    if len(dead) == len(layers):
        return [
            f"no layer adds anything inside the face at step {measured.step:,} (all below {percent(ALIVE)} of what "
            "enters them): the gates are still closed"
        ]
    found = [
        f"{one.name}: this layer adds nothing inside the face ({percent(one.inside.value)} of what enters it, below "
        f"{percent(ALIVE)}), and {percent(one.outside.value)} outside it"
        for one in dead
    ]
    finished = run.planned is None or run.steps >= run.planned
    return [*found, *[remedy(dead)] * (finished and bool(dead))]


def remedy(dead: Sequence[Layer]) -> str:
    return (
        "Such a layer costs time and memory in every step; nothing is taken out unasked. Without it: facefact models "
        f"prune ADAPTER --layers {' '.join(one.block for one in dead)} --out PRUNED"
    )


def leak_section(run: RunFolder) -> str:
    """The heat map, what each layer does, and the warnings; "" where nothing was measured."""
    measured = next((one for one in reversed(run.validations) if has_map(one) or layers_of(one)), None)
    if measured is None:
        return ""
    content = "".join(f'<p class="warning">{escape(line)}</p>' for line in warnings(run))
    if has_map(measured):
        drawn = picture((measured.folder / "leak.png").read_bytes(), "change by layer and timestep")
        content += f'<div class="wide">{drawn}</div>'
    return section(f"Leak meter at step {measured.step:,}", content + layer_table(measured))


def has_map(validation: ValidationRecord) -> bool:
    return (validation.folder / "leak.png").is_file()


def layer_table(validation: ValidationRecord) -> str:
    """Each layer's share of change outside and inside the face, with its interval; "" where it is not known."""
    rows = [(one.name, words(one.outside), words(one.inside)) for one in layers_of(validation)]
    if not rows:
        return ""
    return (
        f'<p class="pale">Change of the whole layer, in % of what enters it [95 % interval over people]: '
        f"{validation.leak.get('samples', '?')} pictures of {validation.leak.get('people', '?')} held-out people.</p>"
        f"{table(rows, head=('layer', 'outside the face', 'inside'), counts=2)}"
    )


def words(share: Share) -> str:
    interval = f" [{100 * share.low:.2f}, {100 * share.high:.2f}]" if share.low < share.high else ""
    return f"{100 * share.value:.2f}{interval}"


def percent(share: float) -> str:
    return f"{100 * share:.2g} %"
