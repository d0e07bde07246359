"""`facefact eval claims`: methods share what they must, paired intervals decide claims, and a whole small run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facefact.apps.cli import main
from facefact.demo import bundle_path, judges_path
from facefact.evaluate.causal.interventions import FACTORS
from facefact.evaluate.causal.run import Measured, Method, Plan
from facefact.evaluate.claims.bench import Said
from facefact.evaluate.claims.causal import causal_difference
from facefact.evaluate.claims.plan import FIGURES, OF_SETS, Claim, read_plan
from facefact.evaluate.claims.run import Cases, Row, judged_claim, run_claims
from facefact.face_adapter import FaceAdapter
from facefact.generate import load_base
from facefact.train.adapter.opened import new_adapter, open_inputs
from facefact.train.peers.decoupled import learned_weights
from facefact.types import UserError
from facefact.world import CHOICES

CONFIG = Path(__file__).parents[3] / "configs" / "claims.yaml"
SMALL = """
base: base.yaml
seeds: [1, 2]
measured: {people: 6, seed: 11, steps: 2, scales: [0.7, 1.0], faces: 2}
methods:
  base: {way: base}
  image_to_image: {way: image_to_image}
  fact: {}
  fact_two_photos: {trained_as: fact, photos: 2}
  embedded: {way: there, pictures_seen: 7}
  faceid: {set: [adapter.gate=0, "adapter.peer={kind: faceid, tokens: 2, hidden: 16}"]}
claims:
  - {claim: tokens carry more than one embedding, figure: rank1, better: fact, than: faceid}
"""
BASE = """
recipe: adapter
schedule: {steps: 2, batch: 2, lr: 1.0e-3, warmup: 1, precision: fp32}
adapter:
  encoder: bundle
  gate: 0.2
  resampler: {input_width: 160, width: 32, depth: 1, heads: 2, head_width: 16, queries: 4, output_width: 160}
data: {people: 3, looks: 2, size: 128, validation_people: 0}
loss: {fair: 0.0}
validation: {every: 0}
"""


def small(folder: Path, text: str = SMALL) -> Path:
    (folder / "base.yaml").write_text(BASE)
    (folder / "claims.yaml").write_text(text)
    return folder / "claims.yaml"


@pytest.fixture(autouse=True)
def quick_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds instead of a quarter of a minute: it is the reading that suffers, and nothing here rests on it."""
    monkeypatch.setattr("facefact.evaluate.claims.bench.RENDERS", 100)
    monkeypatch.setattr("facefact.evaluate.claims.causal.RENDERS", 100)


def test_a_small_run_from_training_to_the_table(tmp_path, capsys, monkeypatch) -> None:
    config, out = small(tmp_path), tmp_path / "out"
    page = tmp_path / "page.md"
    page.write_text("# Here\n<!-- CLAIMS claims -->\nold\n<!-- /CLAIMS claims -->\n")
    call = ["eval", "claims", str(config), "--out", str(out), "--json", str(tmp_path / "copy.json")]
    assert main([*call, "--page", str(page)]) == 0
    report = json.loads((out / "claims.json").read_text())
    assert json.loads((tmp_path / "copy.json").read_text()) == report
    assert "| fact two photos |" in page.read_text()
    assert "old" not in page.read_text()
    assert list(report["methods"]) == ["base", "image_to_image", "fact", "fact_two_photos", "embedded", "faceid"]
    assert report["methods"]["embedded"]["pictures_seen"] == 7
    assert not (out / "fact_two_photos" / "seed_1" / "adapter").exists()  # fact's training is its own
    assert (out / "fact_two_photos" / "seed_1" / "judged_0.7.json").is_file()
    fact, base = report["methods"]["fact"], report["methods"]["base"]
    assert (fact["seeds"], fact["pictures_seen"], base["learned_weights"]) == ([1, 2], 4, 0)
    by_factor = {f"{name}.{factor}" for name in ("attributes", "leakage") for factor in CHOICES}
    assert set(FIGURES) - {"copy_paste", "diversity"} <= set(
        fact["figures"]
    )  # (both need faces that are like somebody)
    assert set(fact["figures"]) <= {*FIGURES, *OF_SETS, *by_factor, "rank5", "cos_other", "auc"}
    assert fact["figures"]["rank1"]["n"] == 12
    counts = {scale: figures["rank1"]["n"] for scale, figures in fact["scales"].items()}
    assert counts == {"0.7": 6, "1": 6}  # the curve is of the first training, the table of both
    assert {"light", "mid", "dark", "apart"} >= set(fact["fairness"]["rank1"])
    assert base["figures"]["outside_change"]["value"] == 0
    assert "locality" not in base["figures"]  # nothing changed
    assert report["claims"][0]["holds"] in (True, False, "undecided")
    assert "| fact |" in capsys.readouterr().out
    with Image.open(tmp_path / "copy_sheet.png") as sheet:
        assert sheet.height == 20 + (2 + len(report["methods"])) * 128  # the reference, the truth, and each method

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("what is there is not made again")

    monkeypatch.setattr("facefact.evaluate.ablation.train_adapter", refuse)
    monkeypatch.setattr("facefact.evaluate.pictures.Painter.adapted", refuse)
    assert run_claims(config, out, judges=judges_path()) == report


@pytest.mark.slow
def test_the_causal_benchmark_of_all_methods(tmp_path, capsys, monkeypatch) -> None:
    methods = "methods:\n  base: {way: base}\n  embedded: {way: there}\n"
    measured = "measured: {people: 6, seed: 11, steps: 1, scales: [0.7], faces: 2, causal: 4}\n"
    claims = "claims:\n  - {claim: it leaks nothing, figure: causal_leakage, better: embedded, than: base}\n"
    config, out = small(tmp_path, f"base: base.yaml\nseeds: [1, 2]\n{measured}{methods}{claims}"), tmp_path / "out"
    call = ["eval", "claims", str(config), "--out", str(out), "--json", str(tmp_path / "copy.json")]
    assert main(call) == 0
    found = json.loads((tmp_path / "copy_causal.json").read_text())
    assert list(found["methods"]) == ["embedded", "base"]
    assert found["methods"]["base"]["leakage"]["value"] == 0
    leakage = found["methods"]["embedded"]["leakage"]
    assert leakage["value"] > 0
    report = json.loads((out / "claims.json").read_text())
    assert report["methods"]["embedded"]["figures"]["causal_leakage"] == leakage
    assert report["claims"][0]["holds"] is False  # the base model reads no reference
    assert not (out / "base" / "seed_2").exists()  # what needs no training is judged once

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("what is there is not made again")

    monkeypatch.setattr("facefact.evaluate.claims.causal.generator_of", refuse)
    assert main(call) == 0
    assert json.loads((out / "causal.json").read_text()) == found


def test_methods_must_share_what_is_compared(tmp_path) -> None:
    wrong = SMALL.replace("fact: {}", "fact: {set: [schedule.steps=9]}")
    with pytest.raises(UserError, match=r"fact changes schedule\.steps"):
        read_plan(small(tmp_path, wrong), tmp_path / "out")
    with pytest.raises(UserError, match="names nobody, which is none"):
        read_plan(small(tmp_path, SMALL.replace("than: faceid", "than: nobody")), tmp_path / "out")
    with pytest.raises(UserError, match="rests on beauty; there are rank1"):
        read_plan(small(tmp_path, SMALL.replace("figure: rank1", "figure: beauty")), tmp_path / "out")
    of_causes = SMALL.replace("figure: rank1", "figure: causal_leakage")
    with pytest.raises(UserError, match=r"rests on measured\.causal, which asks for no people"):
        read_plan(small(tmp_path, of_causes), tmp_path / "out")
    several = of_causes.replace("faces: 2}", "faces: 2, causal: 4}").replace("than: faceid", "than: fact_two_photos")
    with pytest.raises(UserError, match="of several photos; the causal benchmark shows one"):
        read_plan(small(tmp_path, several), tmp_path / "out")
    with pytest.raises(UserError, match=r"causal_seeds must be some of \[1, 2\], not \[3\]"):
        read_plan(small(tmp_path, SMALL.replace("faces: 2}", "faces: 2, causal_seeds: [3]}")), tmp_path / "out")
    with pytest.raises(UserError, match="6 people, 2 faces"):
        read_plan(small(tmp_path, SMALL.replace("people: 6", "people: 5")), tmp_path / "out")
    with pytest.raises(UserError, match="no method fancy"):
        read_plan(small(tmp_path), tmp_path / "out", ["fancy"])
    with pytest.raises(UserError, match="is to be trained as nobody"):
        read_plan(small(tmp_path, SMALL.replace("trained_as: fact", "trained_as: nobody")), tmp_path / "out")
    with pytest.raises(UserError, match=r"the seeds of fact must be some of \[1, 2\], not \[3\]"):
        read_plan(small(tmp_path, SMALL.replace("fact: {}", "fact: {seeds: [3]}")), tmp_path / "out")
    apart = SMALL.replace("fact: {}", "fact: {seeds: [1]}").replace("faceid: {", "faceid: {seeds: [2], ")
    with pytest.raises(UserError, match="two methods that share no training seed"):
        read_plan(small(tmp_path, apart), tmp_path / "out")
    with pytest.raises(UserError, match=r"loss\.fair is for FACT"):
        read_plan(small(tmp_path, SMALL.replace("hidden: 16}", 'hidden: 16}", "loss.fair=1')), tmp_path / "out")


def test_a_claim_holds_where_the_whole_interval_is_on_its_side() -> None:
    nothing = np.zeros(0)
    cases = Cases(np.arange(40), nothing, nothing, np.full(5, 0.5))
    rng = np.random.default_rng(0)

    def row(mean: float, noise: float = 0.1) -> Row:
        return Row({0.7: {"rank1": mean + noise * rng.standard_normal(40)}}, np.ones(40, int), [1])

    rows = {"good": row(0.8), "bad": row(0.4), "same": row(0.8)}
    rows["good"].said.append(Said({}, nothing, nothing, np.full(5, 0.4), nothing))
    rows["bad"].said.append(Said({}, nothing, nothing, np.full(5, 0.3), nothing))
    rows["good"].samples[0.7]["leakage"] = np.full(40, 0.1)
    rows["bad"].samples[0.7]["leakage"] = np.full(40, 0.3)

    def holds(better: str, than: str, figure: str = "rank1", by: float = 0.0) -> object:
        return judged_claim(Claim("c", figure, better, than, by), rows, cases, 0.7)["holds"]

    assert holds("good", "bad") is True
    assert holds("bad", "good") is False
    assert holds("good", "same") == "undecided"
    assert holds("good", "bad", by=0.6) is False
    assert holds("good", "bad", "leakage") is True  # of leakage less is better
    assert holds("good", "absent") == "undecided"
    assert holds("good", "bad", "diversity", by=0.09) is True
    assert holds("good", "bad", "diversity", by=0.11) is False


def test_a_method_may_have_fewer_trainings_than_another(tmp_path) -> None:
    runs = read_plan(small(tmp_path, SMALL.replace("faceid: {", "faceid: {seeds: [2], ")), tmp_path / "out").runs
    assert [run.seed for run in runs if run.method == "faceid"] == [2]
    assert [run.seed for run in runs if run.method == "fact"] == [1, 2]
    assert [run.seed for run in runs if run.method == "base"] == [1, 2]


def test_only_trainings_of_the_same_seed_are_subtracted() -> None:
    nothing = np.zeros(0)
    cases = Cases(np.arange(40), nothing, nothing, np.full(5, 0.5))

    def said(spread: float) -> Said:
        return Said({}, nothing, nothing, np.full(5, spread), nothing)

    both = Row({0.7: {"rank1": np.repeat([0.9, 0.5], 40)}}, np.repeat([1, 2], 40), [1, 2], [said(0.9), said(0.5)])
    second = Row({0.7: {"rank1": np.full(40, 0.4)}}, np.full(40, 2), [2], [said(0.4)])
    for figure in ("rank1", "diversity"):
        found = judged_claim(Claim("c", figure, "both", "second"), {"both": both, "second": second}, cases, 0.7)
        assert found["difference"]["value"] == pytest.approx(0.1)  # 0.5 - 0.4; the first training has no partner
        assert found["why"].endswith("1 training seed(s)")


def test_effects_of_trainings_are_subtracted_seed_by_seed() -> None:
    causal = Plan.of(1, 4)
    unit = np.broadcast_to(np.eye(len(FACTORS)), (4, len(FACTORS), len(FACTORS)))
    both = Method("both", np.stack([0.9 * unit, 0.5 * unit]), 0.0, trainings=(1, 2))
    second, never = Method("second", 0.4 * unit[None], 0.0, trainings=(2,)), Method("never", 0 * unit, 0.0)
    found = Measured(causal, {}, Method("world", unit, 0.0), (both, second, never))
    about = {"figure": "causal_fidelity", "better": "both"}
    for than, value, seeds in (("second", 0.1, 1), ("never", 0.7, 2)):
        gained, trainings = causal_difference(found, than=than, **about)
        assert gained.value == pytest.approx(value)
        assert trainings == seeds


def test_the_committed_plan_gives_peers_as_many_weights(tmp_path) -> None:
    plan = read_plan(CONFIG, tmp_path)
    runs = {run.method: run.config for run in plan.runs if run.seed == plan.claims.seeds[0] and run.config is not None}
    frozen = open_inputs(runs["fact"]).frozen
    fact = learned_weights(new_adapter(runs["fact"], frozen))
    for name in ("ip_adapter", "faceid", "pulid_like", "gligen_like", "fact_layers", "fact_layers_one_embedding"):
        assert abs(learned_weights(new_adapter(runs[name], frozen)) / fact - 1) < 0.1, name
    embedded = FaceAdapter.from_pretrained(bundle_path() / "adapter")
    assert (
        load_base(bundle_path(), device="cpu").unet.config.cross_attention_dim == embedded.resampler.config.output_width
    )
    assert len(plan.claims.seeds) >= 3  # headlines rest on several seeds


def test_the_short_plan_is_the_full_one_shortened(tmp_path) -> None:
    full, short = read_plan(CONFIG, tmp_path).claims, read_plan(CONFIG.with_stem("claims_short"), tmp_path).claims
    assert {name: replace(full.methods[name], seeds=one.seeds) for name, one in short.methods.items()} == short.methods
    assert set(short.claims) < set(full.claims)
    steps = [next(one for one in claims.set if one.startswith("schedule")) for claims in (full, short)]
    assert "steps: 3000" in steps[0]
    assert "steps: 500" in steps[1]
    assert short.set[1:] == full.set[1:]
