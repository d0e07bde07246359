"""What goes over the line: forms, events, errors."""

from __future__ import annotations

import http.client
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from facefact.types import UserError

Photo = str | os.PathLike[str] | bytes
Photos = Photo | Sequence[Photo]


# What is sent


def form(fields: Mapping[str, Any], files: Mapping[str, Photos | None]) -> tuple[bytes, str]:
    """The body of a multipart form, and its content type. Fields and files that are None are left out; of files only
    the bytes are sent, no names."""
    boundary = secrets.token_hex(16)
    parts = []
    for name, value in fields.items():
        if value is not None:
            text = json.dumps(value) if isinstance(value, bool) else str(value)
            parts.append((f'Content-Disposition: form-data; name="{name}"', text.encode()))
    for name, photos in files.items():
        for photo in [] if photos is None else _several(photos):
            head = (
                f'Content-Disposition: form-data; name="{name}"; filename="0"\r\nContent-Type: application/octet-stream'
            )
            parts.append((head, _content(photo)))
    body = b"".join(f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts)
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _several(photos: Photos) -> Sequence[Photo]:
    return [photos] if isinstance(photos, (str, bytes, os.PathLike)) else photos


def _content(photo: Photo) -> bytes:
    if isinstance(photo, bytes):
        return photo
    try:
        return Path(photo).read_bytes()
    except OSError as error:
        raise UserError(f"{os.fspath(photo)}: cannot be read ({error.strerror})") from error


# What comes back


def events_in(lines: IO[bytes]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Number, name and data of each event. A line that breaks off ends them."""
    said: dict[str, str] = {}
    try:
        for line in lines:
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            if name in ("id", "event", "data"):
                said[name] = value
            elif not name and "data" in said:
                yield int(said.get("id", 0)), said.get("event", ""), json.loads(said["data"])
                said = {}
    except (OSError, http.client.HTTPException):
        return


def seconds(answer: http.client.HTTPResponse) -> float:
    text = answer.headers.get("Retry-After", "5")
    return min(60.0, float(text)) if text.isdecimal() else 5.0


def warned(answer: Any) -> list[str]:
    """What the header X-Warnings says."""
    try:
        return [str(one) for one in json.loads(answer.headers.get("X-Warnings", "[]"))]
    except ValueError:
        return []


def message(answer: http.client.HTTPResponse) -> str:
    """The service's own line."""
    try:
        return str(json.loads(answer.read())["error"]["message"])
    except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
        return f"the service answers {answer.status} {answer.reason}"


def line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
