"""Models of transformers that the user named, by directory or hub id: opening them, and what their cards say."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from facefact.types import UserError


@contextlib.contextmanager
def opened(name: str, kind: str) -> Iterator[None]:
    """Around the opening of a model: silent, and whatever goes wrong becomes one line. kind: what it should be."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    level = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the hub client's, safetensors' and the models' own errors alike
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{name} cannot be opened as a {kind}: {reason}") from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def place_of(name: str) -> str:
    """The directory, if there is one; else the name, for the hub. UserError: only a directory can be meant."""
    directory = Path(name).expanduser()
    if directory.is_dir():
        return str(directory)
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise UserError(f"there is no directory {directory}: give a model's directory or its hub id (owner/name)")
    return name


def licence_of(name: str) -> str:
    """What the model card in its directory says, else where to look."""
    card = Path(name).expanduser() / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    found = re.search(r"^license:\s*(\S.*)$", text, flags=re.MULTILINE)
    return found.group(1).strip() if found else f"as the card of {name} says"
