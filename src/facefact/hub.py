"""The directory of a model: one that is there, or the hub's copy (owner/name), fetched only when it is asked for."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from facefact.types import UserError

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def is_hub_id(source: str | Path) -> bool:
    """Whether this is a name such as owner/name. (A Path never is one, nor is ./name.)"""
    return isinstance(source, str) and HUB_ID.fullmatch(source) is not None


def directory(
    source: str | Path,
    *,
    allow_patterns: Sequence[str],
    ignore_patterns: Sequence[str] | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    where: str = "",
) -> Path:
    """The directory `source`, or the one into which the hub's files of that id were fetched.

    allow_patterns, ignore_patterns: of the hub's files those to fetch, and of these those to leave out, as
    `huggingface_hub.snapshot_download` reads them. revision: branch, tag or commit; None: the main branch.
    local_files_only: what was fetched before, and no network. where: what errors begin with.

    UserError: neither a directory nor a hub id; or the hub did not give it.
    """
    path = Path(os.path.expanduser(source))  # (which leaves ~nobody as it is; pathlib's own raises)
    if source and path.is_dir():
        return path
    if not is_hub_id(source):
        raise UserError(f"{where}{source} is neither a directory nor a hub id such as owner/name")
    with errors(f"{where}{source} is no directory here, and the hub did not give it"):
        from huggingface_hub import snapshot_download

        fetched = snapshot_download(
            str(source),
            revision=revision,
            local_files_only=local_files_only,
            allow_patterns=list(allow_patterns),
            ignore_patterns=None if ignore_patterns is None else list(ignore_patterns),
        )
    return Path(fetched)


@contextlib.contextmanager
def errors(what: str) -> Iterator[None]:
    """Whatever the hub's client raises inside, as a UserError of one line that begins with `what`."""
    try:
        yield
    except Exception as error:  # besides its own errors, those of whatever HTTP library this version of the client uses
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{what}: {reason}") from error
