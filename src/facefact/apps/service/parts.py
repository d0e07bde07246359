"""The scheduler and the LoRAs that a job asks for, in a worker's Studio for as long as its pictures are painted."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from facefact.apps.service.records import Job
from facefact.apps.service.store import Store, StoreGone
from facefact.generate import Studio
from facefact.generate.borrowed import named_lora
from facefact.generate.parts import Lora
from facefact.generate.styles import find_style, lora_of
from facefact.types import UserError

FILE = "lora_file"  # the role of a LoRA that was sent along; as a setting, the first digits of its SHA-256


@contextlib.contextmanager
def parts_for(studio: Studio, job: Job, store: Store) -> Iterator[None]:
    """Inside, the Studio has them; jobs of one batch ask for the same. UserError: there are none such, or they do not
    fit this model. StoreGone: there is no room for the LoRA."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="facefact-")
    except OSError as error:
        raise StoreGone(f"no room for a LoRA: {error.strerror}") from error
    with folder as name, contextlib.ExitStack() as stack:
        loras = _loras(job, store, Path(name))
        if loras or job.settings.get("scheduler"):
            try:
                stack.enter_context(studio.with_parts(scheduler=job.settings.get("scheduler"), loras=loras))
            except UserError as error:
                raise UserError(_without_folders(str(error), loras)) from error
        yield


def _loras(job: Job, store: Store, folder: Path) -> list[Lora]:
    given = job.settings
    weight = given.get("lora_weight")
    weight = 1.0 if weight is None else float(weight)
    found = []
    if given.get("style_lora") and (of_style := lora_of(find_style(given["style_lora"]))) is not None:
        found.append(Lora.parse(of_style))
    if given.get("lora"):
        found.append(Lora(named_lora(given["lora"]), weight))
    for key in job.inputs.get(FILE, []):
        file = folder / f"lora-{given.get(FILE) or 'sent'}.safetensors"
        try:
            file.write_bytes(store.get(key))
        except KeyError:
            raise UserError("the LoRA of this job is gone: send it again") from None
        except OSError as error:
            raise StoreGone(f"no room for a LoRA: {error.strerror}") from error
        found.append(Lora(file, weight))
    return found


def _without_folders(text: str, loras: list[Lora]) -> str:
    for lora in loras:
        text = text.replace(f"{lora.file.parent}/", "")
    return " ".join(text.split())
