"""The benchmark from end to end: methods whose answers are known, on the real reader."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from facefact.apps import cli
from facefact.demo import bundle_path, judges_path
from facefact.evaluate.causal.generators import OneByOne, Pipeline, Request
from facefact.evaluate.causal.interventions import FACTORS
from facefact.evaluate.causal.reading import Reader
from facefact.evaluate.causal.run import Measured, Plan, measure, report
from facefact.evaluate.judges import Judges
from facefact.face_adapter import FaceAdapter
from facefact.generate import load_base
from facefact.train.peers.config import PeerConfig
from facefact.train.peers.decoupled import DecoupledAdapter
from facefact.types import UserError
from facefact.world import IDENTITY
from ip_adapter import with_ip_adapter
from synthetic import UNREAD, synthetic

PLAN = Plan.of(5, 4)


@pytest.fixture(scope="module")
def reader() -> Reader:
    """Some seconds: the avatar detector looks at every picture."""
    return Reader.fit(Judges.open(judges_path(), bundle_path()), people=150)


def perfect() -> OneByOne:
    """Draws the true person in the wanted look, whatever the reference's look was."""
    known = {
        request.references[0].tobytes(): PLAN.truths(i)[at if at <= len(IDENTITY) else 0]
        for i in range(len(PLAN.subjects))
        for at, request in enumerate(PLAN.requests(i))
    }
    return OneByOne("perfect", lambda references, prompt, seed: known[references[0].tobytes()])


@pytest.fixture(scope="module")
def measured(reader: Reader) -> Measured:
    copy = OneByOne("copy", lambda references, prompt, seed: references[0])
    return measure(PLAN, [perfect(), copy], reader)


def test_a_perfect_method_passes_the_person_on_and_nothing_of_the_look(measured: Measured) -> None:
    found = measured.summary(measured.methods[0])
    assert found["fidelity"].value == pytest.approx(1)
    assert found["leakage"].value == pytest.approx(0, abs=1e-4)
    assert found["leakage_to_identity"].value == pytest.approx(0, abs=1e-4)
    assert found["entanglement"].value < 0.3, "what the reading mixes up"
    assert found["entanglement"].value == pytest.approx(measured.summary(measured.world)["entanglement"].value)


def test_a_copy_of_the_reference_passes_everything_on(measured: Measured) -> None:
    found = measured.summary(measured.methods[1])
    assert found["fidelity"].value == pytest.approx(1, abs=0.25)
    assert found["leakage_of_itself"].value > 0.8
    less = measured.less(measured.methods[1], measured.methods[0])
    assert less["leakage"].low > 0
    cells = measured.matrix(measured.methods[1]).value
    assert cells[FACTORS.index("glasses"), FACTORS.index("glasses")] > 0.8


def test_what_is_read_best_counts_and_the_report_says_how_well(measured: Measured) -> None:
    found = report(measured)
    counts = found["reading"]["counts"]
    assert {"skin_tone", "skin_hue", "iris", "eye_spacing", "nose_length"} <= set(counts)
    assert "chin" not in counts
    assert set(FACTORS[len(IDENTITY) :]) <= set(counts)
    assert found["reading"]["right_way"]["skin_tone"] == 1
    assert 0.8 < found["reading"]["units"]["skin_tone"] < 1.2
    json.dumps(found, allow_nan=False)


def test_a_picture_without_a_face_says_nothing_of_the_person(reader: Reader) -> None:
    read = reader.read([np.full((128, 128, 3), 90, np.uint8), PLAN.truths(0)[0]])
    np.testing.assert_array_equal(read.faceless, [True, False])
    assert abs(read.identity[1, 0] - PLAN.subjects[0].who["skin_tone"]) < 0.15
    assert all(np.allclose(one.sum(1), 1) for one in read.look.values())


def test_what_is_written_of_given_effects() -> None:
    found = report(synthetic(0.5))
    assert found["methods"]["half"]["fidelity"]["value"] == pytest.approx(0.5, abs=0.05)
    assert found["methods"]["half"]["leakage"]["value"] < 0.05
    assert found["methods"]["copy"]["less_than_first"]["fidelity"]["value"] == pytest.approx(0.5, abs=0.05)
    assert "less_than_first" not in found["methods"]["half"]
    assert UNREAD not in found["reading"]["counts"]
    assert report(synthetic(0.5)) == found, "the same numbers again"


def test_requests_differ_in_the_reference_alone() -> None:
    requests: list[Request] = PLAN.requests(0)
    assert len(requests) == 1 + len(FACTORS)
    assert len({(one.prompt, one.seed) for one in requests}) == 1
    assert len({one.references[0].tobytes() for one in requests}) == len(requests)


def test_too_few_people_and_two_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="at least 4"):
        Plan.of(1, 3)
    twice = [OneByOne("a", lambda references, prompt, seed: references[0])] * 2
    with pytest.raises(UserError, match="names of their own"):
        measure(PLAN, twice, None)  # type: ignore[arg-type]


@pytest.mark.slow
def test_diffusers_ip_adapter_goes_through_the_whole_benchmark(reader: Reader) -> None:
    """Random weights on the embedded base model: what it changes is read, and at scale 0 nothing is."""
    pipe = with_ip_adapter(load_base(bundle_path(), device="cpu"))
    steps = {"num_inference_steps": 3, "guidance_scale": 3.0}

    def measured_at(scale: float) -> Measured:
        pipe.set_ip_adapter_scale(scale)
        return measure(
            PLAN, [Pipeline(name="IP-Adapter", pipe=pipe, reference="ip_adapter_image", arguments=steps)], reader
        )

    acts = report(measured_at(0.3))["methods"]["IP-Adapter"]
    assert acts["leakage"]["value"] > 0.001
    off = measured_at(0.0)
    assert np.nanmax(np.abs(off.methods[0].effects)) < 1e-3


@pytest.mark.slow
def test_the_command_compares_the_methods_and_writes_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a minute: all of it, with the embedded models, at one step. (That they give the same numbers again is proven
    of the suite.)"""
    pytest.importorskip("matplotlib")
    call = ["eval", "causal", "--people", "4", "--renders", "100", "--steps", "1", "--device", "cpu", "--seed", "9"]
    call += ["--methods", "fact", "base", "--beside", f"peer={saved_peer(tmp_path / 'peer')}"]
    files = ["--plot", str(tmp_path / "m.png"), "--sheet", str(tmp_path / "s.png"), "--out", str(tmp_path / "report")]
    assert cli.main([*call, "--json", str(tmp_path / "a.json"), *files]) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert list(found["methods"]) == ["FACT", "base model", "peer"]
    assert found["methods"]["peer"]["leakage"]["value"] == pytest.approx(0, abs=1e-3), "a fresh one adds nothing"
    assert (
        found["methods"]["base model"]["fidelity"]["value"] == found["methods"]["base model"]["leakage"]["value"] == 0
    )
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.json", "report.html", "report.md"}
    assert (tmp_path / "m.png").is_file()
    assert (tmp_path / "s.png").is_file()
    assert "| FACT |" in capsys.readouterr().out


def saved_peer(folder: Path) -> Path:
    """A fresh IP-Adapter as `eval claims` trains it."""
    base, adapter = load_base(bundle_path(), device="cpu"), FaceAdapter.from_pretrained(bundle_path() / "adapter")
    made = DecoupledAdapter.fresh(
        base.unet, encoder=adapter.encoder, peer=PeerConfig("ip_adapter"), resampler_config=adapter.resampler.config
    )
    made.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--photos", "photos"], "--model MODEL --adapter DIR"),
        (["--model", "sd15"], "--model is about photos"),
        (["--strength", "0"], "more than 0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", "causal", *words]) == 2
    assert line in capsys.readouterr().err
