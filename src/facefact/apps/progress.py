"""Progress of counted work, as one tqdm bar a title, on stderr."""

from __future__ import annotations

from typing import Any

_bars: dict[str, Any] = {}


def show(title: str, done: int, total: int, *, unit: str = "picture") -> None:
    """Called with growing `done`; the bar of a title closes when all is done. unit: what is counted."""
    from tqdm import tqdm

    bar = _bars.get(title) or _bars.setdefault(title, tqdm(total=total, desc=title, unit=unit))
    bar.update(done - bar.n)
    if done >= total:
        _bars.pop(title).close()


def silence_loading() -> None:
    """The libraries' own progress bars: one per file, gone before they can be read."""
    from diffusers.utils.logging import disable_progress_bar as no_diffusers_bars
    from transformers.utils.logging import disable_progress_bar as no_transformers_bars

    no_diffusers_bars()
    no_transformers_bars()
