"""The figures of `facefact eval world` as a table: what, value with its interval, and the bar it was asked to reach."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facefact.markdown import markdown_table, put_between

# what, where in the figures, digits, bar
ROWS: tuple[tuple[str, str, int, str], ...] = (
    ("recogniser, rank-1 on unseen renders", "recogniser.rank1", 3, ">= 0.97"),
    ("attribute reader on unseen renders", "reader.attributes", 3, ">= 0.95"),
    ("autoencoder, dB", "autoencoder.psnr_db", 1, ">= 31"),
    ("autoencoder, rank-1 of reconstructions", "autoencoder.rank1", 3, ">= 0.88"),
    ("base model, attributes as asked", "base.attributes", 3, ">= 0.85"),
    ("base model, expression as asked", "expression.base", 3, ">= 0.85"),
    ("base model, rank-1 (chance 0.01)", "base.rank1", 3, ""),
    ("adapter, rank-1 among 100 unseen people", "adapter.rank1", 3, ">= 0.85"),
    ("... of the lightest, the middle and the darkest third of skins", "by_skin.*.rank1", 2, "within 0.05"),
    ("adapter, rank-5", "adapter.rank5", 3, ""),
    ("adapter, cosine to the right person", "adapter.cos_own", 3, ""),
    ("adapter, cosine to the others", "adapter.cos_other", 3, ""),
    ("face error (0: the autoencoder's, 1: another person's face)", "face_error.relative", 2, "<= 0.35"),
    ("... of the lightest, the middle and the darkest third of skins", "by_skin.*.face_error", 2, "within 1.15 x"),
    ("error of the skin read off the pictures, over that on renders", "identity_factors.skin", 2, "<= 2"),
    ("... of the eyes' colour", "identity_factors.eye_colour", 2, "<= 2"),
    ("... of the face's shape", "identity_factors.shape", 2, "<= 2"),
    ("adapter, attributes as asked", "adapter.attributes", 3, ""),
    ("adapter, expression as asked", "expression.adapter", 3, ""),
    ("... the expression that is followed least", "expression.worst", 3, ">= 0.70"),
    ("... adapter - base, paired", "expression.difference", 3, ">= -0.03"),
    ("the factor that loses most, adapter - base, paired", "adapter.worst_factor", 3, ">= -0.02"),
    ("change outside the face, with FAIR (of 255)", "adapter.outside_change", 2, ""),
    ("change outside the face, without FAIR", "adapter_without_fair.outside_change", 2, ""),
    ("ratio of the two, paired", "outside_ratio", 2, "<= 0.60"),
    ("layers that act inside the face", "layers_alive", 2, "1"),
    ("without FAIR: rank-1", "adapter_without_fair.rank1", 3, ""),
)
LEAKS = ("glasses", "hat", "hair_colour", "pose", "expression", "light")


def figures_table(figures: Mapping[str, Any]) -> str:
    """The table in Markdown; figures: as `evaluate_world` returns them. What they lack is left out."""
    rows = [[what, text, bar] for what, where, digits, bar in ROWS if (text := _text(figures, where, digits))]
    for name in LEAKS:
        base, adapter = (figures["leakage"][who].get(name) for who in ("base", "adapter"))
        if base and adapter:
            what = f"leakage of the reference's {name.replace('_', ' ')}: base / adapter"
            rows.append([what, f"{base['value']:.3f} / {_figure(adapter, 3)}", "base + 0.03"])
    return markdown_table(["what", "value [95 % interval]", "bar"], rows)


def _text(figures: Mapping[str, Any], where: str, digits: int) -> str:
    head, star, tail = where.partition(".*.")
    if star:
        thirds = [figures.get(head, {}).get(skin, {}).get(tail) for skin in ("light", "mid", "dark")]
        return " / ".join(f"{one['value']:.{digits}f}" for one in thirds if one)
    found: Any = figures
    for name in where.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return _figure(found, digits) if found else ""


def _figure(one: Mapping[str, float], digits: int) -> str:
    value, low, high = (f"{one[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}] (n = {one['n']})"


def write_table(page: Path, figures: Mapping[str, Any]) -> None:
    """Put the table between the page's marks `<!-- FIGURES ... -->` and `<!-- /FIGURES -->`. UserError: it has none."""
    put_between(page, "FIGURES", figures_table(figures))
