"""LoRAs and schedulers, as the API takes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import save

from facefact.apps.service.api.service import Service

LORA = save({"unet.a.lora_A.weight": torch.zeros(2, 4), "unet.a.lora_B.weight": torch.zeros(4, 2)})


def asked(client: TestClient, photo: bytes, sent: bytes | None = None, **fields: str) -> Any:
    files = {"face": photo} | ({} if sent is None else {"lora_file": sent})
    return client.post("/v1/portraits", data={"prompt": "smiling"} | fields, files=files)


def test_a_lora_is_kept_with_the_photos_and_batches_apart(client: TestClient, service: Service, photo: bytes) -> None:
    answer = asked(client, photo, LORA, lora_weight="0.5", scheduler="UniPCMultistep")
    assert answer.status_code == 202, answer.text
    job, plain = (service.jobs.get(one.json()["id"]) for one in (answer, asked(client, photo)))
    assert job is not None
    assert plain is not None
    (key,) = job.inputs["lora_file"]
    assert service.store.get(key) == LORA
    assert (job.settings["scheduler"], job.settings["lora_weight"]) == ("UniPCMultistep", 0.5)
    assert len({job.alike, plain.alike, service.jobs.get(asked(client, photo, LORA).json()["id"]).alike}) == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("lora", "fields", "param", "said"),
    [
        (b"\x80\x02}q\x00.", {}, "lora_file", "a pickle, which is not opened"),
        (LORA[:-5], {}, "lora_file", "not a whole"),
        (save({"weight": torch.zeros(2)}), {}, "lora_file", "no LoRA"),
        (None, {"lora": "none.safetensors"}, "lora", "put the file into"),
        (None, {"lora": "../../etc/a.safetensors"}, "lora", ""),
        (None, {"lora_weight": "1"}, "lora_weight", "of which LoRA"),
        (LORA, {"lora": "a.safetensors"}, "lora", "choose one"),
        (None, {"scheduler": "Eulr"}, "scheduler", "EulerDiscrete"),
    ],
)
def test_what_is_none_is_refused(
    client: TestClient,
    service: Service,
    photo: bytes,
    lora: bytes | None,
    fields: dict[str, str],
    param: str,
    said: str,
) -> None:
    answer = asked(client, photo, lora, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert said in answer.json()["error"]["message"]
    assert service.jobs.list() == []


def test_the_list_has_no_paths(client: TestClient) -> None:
    assert all("/" not in one["name"] for one in client.get("/v1/loras").json()["data"])
