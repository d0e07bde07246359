"""The model card: front matter that the hub reads, counts and caveats beside the figures, no path of anybody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from live import LiveStage

from facefact.train.report.card import in_words, parameters, write_card

CONFIG = {
    "recipe": "adapter",
    "schedule": {"steps": 10, "batch": 4, "lr": 0.002},
    "base": {"source": "some-owner/some-model"},
    "data": {"source": "/home/jane-doe/faces"},
    "condition": {"shuffle": [[0, 0.0], [3, 1.0]]},
}


def run_folder(tmp_path: Path, **changes) -> Path:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG | changes))
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "loss": 1.0, "seconds": 2.0}\n')
    looked = tmp_path / "validation/step-10"
    looked.mkdir(parents=True)
    figures = {"people": 2.0, "pictures": 6.0, "faces_found": 5.0, "similarity_own": 0.4321, "rank1": 0.5}
    (looked / "figures.json").write_text(json.dumps(figures))
    return tmp_path


def front(text: str) -> dict[str, object]:
    _, matter, _ = text.split("---\n", 2)
    return yaml.safe_load(matter)


def test_the_front_matter_is_the_hubs(tmp_path) -> None:
    text = write_card(run_folder(tmp_path)).read_text()
    matter = front(text)
    assert matter["base_model"] == "some-owner/some-model"
    assert matter["library_name"] == "diffusers"
    assert matter["license"] == "other"
    assert {"facefact", "face-adapter"} <= set(matter["tags"])


def test_the_licence_is_the_configs(tmp_path) -> None:
    assert front(write_card(run_folder(tmp_path, license="cc-by-4.0")).read_text())["license"] == "cc-by-4.0"


def test_figures_come_with_their_counts_and_the_caveat(tmp_path) -> None:
    text = write_card(run_folder(tmp_path), counted={"people": 1234, "pictures": 5678}).read_text()
    for words in (
        "| similarity to the own person | 0.4321 |",
        "6 pictures of 2 people; a face was found in 5 of them",
        "not an independent judge",
        "1,234 people",
        "5,678 pictures",
        "40 pictures seen",
        "without their consent",
        "0 at step 0, 1 at step 3",
        "FaceAdapter.from_pretrained",
    ):
        assert words in text, words


def test_no_path_is_told(tmp_path) -> None:
    base = {"source": "/srv/models/my-base"}
    text = write_card(run_folder(tmp_path, base=base)).read_text()
    assert "base_model" not in front(text)
    for private in ("/srv", "/home", "jane-doe", str(tmp_path)):
        assert private not in text
    assert "my-base" in text


def test_the_code_of_the_card_runs_and_the_weights_are_counted(tmp_path) -> None:
    adapter = LiveStage().adapter
    adapter.detach()
    adapter.save_pretrained(tmp_path / "adapter")
    folder = run_folder(tmp_path, base={"source": "bundle"})
    text = write_card(folder).read_text()
    assert (folder / "adapter/README.md").read_text() == text
    total = sum(value.numel() for value in adapter.state_dict().values())
    assert parameters(folder / "adapter/model.safetensors") == total
    assert f"{total / 1e6:.1f} M parameters" in text
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    imports = [line for line in code.splitlines() if line.startswith("from facefact")]
    exec("\n".join(imports), {})


@pytest.mark.parametrize("config", ["", "stage: [1", "base: 3"])
def test_a_run_of_which_little_is_known_has_a_card(tmp_path, config) -> None:
    (tmp_path / "config.yaml").write_text(config)
    text = write_card(tmp_path, name="nameless").read_text()
    assert "# nameless" in text
    assert "consent" in text
    assert "Validation at" not in text


def test_values_in_words() -> None:
    assert in_words([[0, 0.0], [1500, 0.25]]) == "0 at step 0, 0.25 at step 1500"
    assert in_words(("a", "b")) == "`('a', 'b')`"
    assert in_words("a`b") == "`ab`"
