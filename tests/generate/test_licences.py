"""What cards and files state of licences, and what that allows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from facefact.faces import get_detector
from facefact.generate import Studio
from facefact.generate.licences import (
    Licence,
    brief,
    commercial_use,
    detector_licences,
    licence_of,
    licences,
    refuse_unfree,
)
from facefact.types import UserError
from tiny import tiny_adapter, tiny_pipeline

CARD = "---\n{}\n---\n# A model\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    pipe = tiny_pipeline()
    pipe.save_pretrained(tmp_path / "model")
    tiny_adapter(pipe).save_pretrained(tmp_path / "model/adapter")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("licence", "commercial"),
    [
        ("apache-2.0", "yes"),
        ("MIT", "yes"),
        ("creativeml-openrail-m", "yes"),
        ("openrail++", "yes"),
        ("cc-by-4.0", "yes"),
        ("apache-2.0, mit", "yes"),
        ("cc-by-nc-4.0", "no"),
        ("cc-by-nc-sa-4.0", "no"),
        ("sai-nc-community", "no"),
        ("flux-1-dev-non-commercial-license", "no"),
        ("apache-2.0, cc-by-nc-4.0", "no"),
        ("apache-2.0, not stated", "unknown"),
        ("other", "unknown"),
        ("mitigated", "unknown"),
        ("", "unknown"),
    ],
)
def test_what_a_licence_allows(licence: str, commercial: str) -> None:
    assert commercial_use(licence) == commercial


@pytest.mark.parametrize(
    ("matter", "licence"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("license: [mit, cc0-1.0]", "mit, cc0-1.0"),
        ("license: other\nlicense_name: sai-nc-community", "sai-nc-community"),
        ("tags: [a]", ""),
        ("license: {", ""),
        ("- a list", ""),
    ],
)
def test_a_cards_front_matter(tmp_path: Path, matter: str, licence: str) -> None:
    (tmp_path / "README.md").write_text(CARD.format(matter))
    assert licence_of("model", "mine", tmp_path).licence == licence


def test_a_licence_in_the_text_of_a_card_is_not_its_statement(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# A model\n\nlicense: mit\n")
    assert licence_of("model", "mine", tmp_path) == Licence("model", "mine", "", "unknown", "not stated")


def test_where_a_model_was_fetched_from_comes_before_its_card(tmp_path: Path) -> None:
    (tmp_path / "sources.json").write_text(json.dumps({"licences": {"a": "apache-2.0", "b": ""}}))
    (tmp_path / "README.md").write_text(CARD.format("license: mit"))
    found = licence_of("model", "mine", tmp_path)
    assert (found.licence, found.commercial, found.source) == ("apache-2.0, not stated", "unknown", "sources.json")


def test_a_loras_header_or_the_card_beside_it(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(1)}
    save_file(tensors, tmp_path / "said.safetensors", {"modelspec.license": "CC-BY-NC-4.0"})
    save_file(tensors, tmp_path / "silent.safetensors")
    assert licence_of("lora", "said", tmp_path / "said.safetensors").commercial == "no"
    assert licence_of("lora", "silent", tmp_path / "silent.safetensors").commercial == "unknown"
    (tmp_path / "silent.md").write_text(CARD.format("license: mit"))
    assert licence_of("lora", "silent", tmp_path / "silent.safetensors").source == "silent.md"


def test_the_embedded_model_is_free_with_its_detectors() -> None:
    found = [*licences(), *detector_licences(get_detector("avatar"))]
    assert [(one.part, one.commercial) for one in found] == [
        ("model", "yes"),
        ("adapter", "yes"),
        ("face detector", "yes"),
    ]
    refuse_unfree(found)
    assert brief(found) == {"model": "apache-2.0", "adapter": "apache-2.0"}


def test_insightfaces_models_are_not() -> None:
    from facefact.faces.insightface import InsightFaceDetector

    class Closed:
        name, licence = InsightFaceDetector.name, InsightFaceDetector.licence

    (found,) = detector_licences(Closed())  # type: ignore[arg-type]
    assert found.commercial == "no"


def test_a_studio_states_them_and_strictly_refuses(model: Path, tmp_path: Path) -> None:
    opened = Studio.open(model=str(model), device="cpu")
    assert opened.origin["licences"] == {"model": "unknown", "adapter": "unknown"}
    message = (
        r"--strict-licences: the model model \(licence not stated\) is not known to allow commercial use; the adapter"
    )
    with pytest.raises(UserError, match=message):
        Studio.open(model=str(model), device="cpu", strict_licences=True)
    (model / "README.md").write_text(CARD.format("license: mit"))
    assert Studio.open(model=str(model), device="cpu", strict_licences=True).origin["licences"]["adapter"] == "mit"
    (model / "adapter/README.md").write_text(CARD.format("license: cc-by-nc-4.0"))
    with pytest.raises(UserError, match=r"licences: the adapter model \(cc-by-nc-4\.0\) forbids commercial use$"):
        Studio.open(model=str(model), device="cpu", strict_licences=True)
