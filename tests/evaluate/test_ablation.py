"""`facefact eval ablation`: arms that share what they can, figures that are known, and what holds closed gates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from parts import RESAMPLER, batch, fact_stage, filled, frozen

from facefact import FaceAdapter
from facefact.apps.cli import main
from facefact.evaluate import ablation
from facefact.evaluate import gate_pull as pulling
from facefact.evaluate.ablation import UnseenWorld, read_plan, run_ablation
from facefact.evaluate.ablation_page import markdown
from facefact.evaluate.condition_gap import gates, measure
from facefact.evaluate.layers import ALIVE
from facefact.train.adapter.condition_loss import HeldOut, error_inside
from facefact.train.adapter.fact import FactStage
from facefact.train.adapter.leak_meter import measure_leak
from facefact.train.adapter.run import train_adapter
from facefact.train.material.cache import Cache
from facefact.train.material.frozen import Frozen
from facefact.train.settings import Loss, tree_of
from facefact.types import UserError
from facefact.world import HELD_OUT

CONFIGS = Path(__file__).parents[2] / "configs"
BASE = """
recipe: adapter
schedule: {steps: 3, batch: 4, lr: 1.0e-2, warmup: 1, precision: fp32, seed: 1}
base: {source: "random:tiny"}
adapter:
  encoder: "random:tiny"
  resampler: {input_width: 32, width: 32, depth: 1, heads: 2, head_width: 16, queries: 4, output_width: 32}
  warm_up: {steps: 2, batch: 4, warmup: 1, precision: fp32, seed: 2}
data: {people: 4, looks: 3, size: 64, validation_people: 0}
"""
ABLATION = """
base: base.yaml
set: [validation.every=0, loss.fair=0]
held_out: {people: 5, timesteps: [200, 800]}
gate_pull: {batches: 2}
step_cost: {rounds: 2}
arms:
  no_fair: []
  closed: [schedule.gates=0.0]
  fair: [loss.fair=0.5, loss.increment=whole]
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    (folder / "base.yaml").write_text(BASE)
    (folder / "ablation.yaml").write_text(ABLATION)
    return folder / "ablation.yaml"


@pytest.fixture(scope="module")
def out(config, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "run"
    run_ablation(config, out)
    return out


@pytest.fixture(scope="module")
def report(out) -> dict:
    return json.loads((out / "ablation.json").read_text())


@pytest.fixture(scope="module")
def parts() -> Frozen:
    return frozen()


@pytest.fixture(scope="module")
def cache(parts, tmp_path_factory) -> Cache:
    return filled(tmp_path_factory.mktemp("cache"), parts)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


# The command


def test_every_arm_is_in_the_table_and_compared(out, report) -> None:
    assert list(report["arms"]) == ["no_fair", "closed", "fair"]
    assert report["people"] == 5
    assert (out / "ablation.png").stat().st_size > 1000
    table = (out / "ablation.md").read_text()
    assert table == markdown(report)
    assert all(f"| {name} |" in table for name in report["arms"])
    assert "difference" not in report["arms"]["no_fair"]
    ours, theirs = (report["arms"][name]["figures"]["gap"]["value"] for name in ("fair", "no_fair"))
    assert report["arms"]["fair"]["difference"]["gap"]["value"] == pytest.approx(ours - theirs, abs=1e-6)
    assert report["arms"]["fair"]["figures"]["own"]["n"] == 5


def test_layers_that_act_inside_the_face_are_alive(report) -> None:
    closed, fair = (report["arms"][name] for name in ("closed", "fair"))
    layers = len(fair["gates"]["layers"])
    assert closed["figures"]["alive"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": layers}
    assert len(fair["layers"]) == layers
    alive = np.mean([share >= ALIVE for share in fair["layers"].values()])
    assert fair["figures"]["alive"]["value"] == pytest.approx(alive, abs=1e-4)
    assert closed["figures"]["leak_output"]["value"] < 1e-3  # the answer is the base model's
    assert fair["figures"]["leak_output"]["value"] > closed["figures"]["leak_output"]["value"]


def test_a_step_of_each_arms_losses_is_timed(report) -> None:
    costs = {name: arm["cost"] for name, arm in report["arms"].items()}
    assert costs["no_fair"]["ratio"]["value"] == 1
    assert all(cost["seconds"] > 0 and cost["ratio"]["n"] == 2 for cost in costs.values())
    assert "| cost of a step |" in markdown(report)


def test_several_seeds_are_several_trainings_of_an_arm(config, out, tmp_path) -> None:
    """Arms that differ in FAIR's form alone; intervals over trainings and people."""
    text = f"""
base: base.yaml
set: [validation.every=0, loss.fair=0, data.cache={out / "cache"}, schedule.precision=auto]
seeds: [1, 2]
held_out: {{people: 3, timesteps: [500]}}
gate_pull: {{batches: 0}}
arms:
  no_fair: []
  ungated: [loss.fair=0.5, loss.increment=ungated]
  squared: [loss.fair=0.5, loss.output_fair=0.5, loss.squared=true]
"""
    (config.parent / "seeds.yaml").write_text(text)
    report = run_ablation(config.parent / "seeds.yaml", tmp_path)
    assert report["seeds"] == [1, 2]
    runs = {name: [losses(tmp_path / name / f"seed_{seed}") for seed in (1, 2)] for name in report["arms"]}
    assert len({tuple(one) for some in runs.values() for one in some}) == 6  # no training twice
    for arm in report["arms"].values():
        assert arm["figures"]["own"]["n"] == 3 * 2
        assert arm["figures"]["alive"]["n"] == 2 * len(arm["layers"])
        assert arm["gates"]["of"] == 2 * 2 * len(arm["layers"])
    assert "2 trainings (seeds 1, 2)" in (tmp_path / "ablation.md").read_text()
    assert run_ablation(config.parent / "seeds.yaml", tmp_path) == report  # finished: nothing is trained or measured
    (config.parent / "twice.yaml").write_text(text.replace("[1, 2]", "[1, 1]"))
    with pytest.raises(UserError, match="stands twice"):
        read_plan(config.parent / "twice.yaml", tmp_path)


def test_a_form_that_pulls_at_no_gate_is_not_asked_what_pulls(config, tmp_path) -> None:
    (config.parent / "free.yaml").write_text(config.read_text().replace("set: [", "set: [loss.increment=ungated, "))
    with pytest.raises(UserError, match=r"gate_pull\.batches to 0"):
        read_plan(config.parent / "free.yaml", tmp_path)


def test_arms_share_cache_and_warm_up(out) -> None:
    assert not list(out.glob("*/cache"))
    assert len(list((out / "before").iterdir())) == 1  # neither FAIR nor the gates' rate changes what comes before
    assert len(list((out / "cache").iterdir())) == 1


def test_an_arm_is_the_training_that_it_names(config, out, tmp_path) -> None:
    """Sharing changes nothing: the last arm alone, in a folder of its own, has the same losses."""
    alone = read_plan(config, tmp_path).arms["fair"]
    train_adapter(alone, tmp_path / "fair")
    assert losses(tmp_path / "fair") == losses(out / "fair")


def test_finished_arms_are_not_trained_again(config, out, report, tmp_path, monkeypatch, capsys) -> None:
    def never(*args: object, **more: object) -> None:
        raise AssertionError("trained twice")

    monkeypatch.setattr(ablation, "train_adapter", never)
    assert (
        main(["eval", "ablation", str(config), "--out", str(out), "--only", "fair", "--json", str(tmp_path / "a")]) == 0
    )
    again = json.loads((tmp_path / "a").read_text())
    assert again["arms"]["fair"]["figures"] == report["arms"]["fair"]["figures"]
    assert again["gate_pull"] == report["gate_pull"]
    assert "| fair |" in capsys.readouterr().out


def test_what_cannot_be_compared_is_refused(config, tmp_path) -> None:
    with pytest.raises(UserError, match="has no arm nobody"):
        run_ablation(config, tmp_path, only=["nobody"])
    text = config.read_text()
    for arm, message in (("small: [data.size=32]", "changes data.size"), ("cache: []", "cannot be called")):
        (config.parent / "wrong.yaml").write_text(f"{text}  {arm}\n")
        with pytest.raises(UserError, match=message):
            run_ablation(config.parent / "wrong.yaml", tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_shipped_arms_are_settings(tmp_path) -> None:
    forms, short = (read_plan(CONFIGS / f"{name}.yaml", tmp_path) for name in ("fair_forms", "fair_forms_short"))
    assert len(forms.runs()) == len(short.runs()) == 3 * len(forms.arms)
    assert {name: one.loss for name, one in short.arms.items()} == {name: one.loss for name, one in forms.arms.items()}
    assert {(one.loss.increment, one.loss.squared) for one in forms.arms.values()} >= {
        ("ungated", False),
        ("whole", True),
    }
    assert forms.ablation.reference in forms.arms
    plan = read_plan(CONFIGS / "ablation.yaml", tmp_path)
    assert plan.ablation.reference in plan.arms
    assert plan.arms["fair_open_gates"].adapter.gate == 0.1
    assert plan.arms["no_warm_up"].adapter.warm_up is None
    assert plan.arms["identity_1"].data.people == 256
    trees = [tree_of(one) for one in plan.arms.values()]
    assert all(a != b for i, a in enumerate(trees) for b in trees[:i])  # no arm twice


# The figures


def test_closed_gates_know_nobody(report) -> None:
    """The adapter is the identity: every condition gives the base model's loss, to the last bit."""
    closed = report["arms"]["closed"]
    values = {name: closed["figures"][name] for name in ("own", "other", "null", "base")}
    assert all(value == values["base"] for value in values.values())
    assert closed["figures"]["gap"]["high"] == 0
    assert closed["gates"]["closed"] == closed["gates"]["of"]
    assert report["arms"]["no_fair"]["gates"]["mean"] > 0


def test_the_leak_is_that_of_the_leak_meter(parts, cache) -> None:
    torch.manual_seed(3)
    adapter = FaceAdapter.new(parts.unet, encoder=parts.encoder, resampler_config=RESAMPLER, gate=0.7).eval()
    held_out = HeldOut.of(cache)
    found = measure(adapter, parts, held_out, (100, 600), seed=4)
    assert adapter.attached is None
    adapter.attach(parts.unet)
    try:
        table = measure_leak(
            parts.unet, adapter, parts.scheduler, {**held_out.batch, "tokens": held_out.own}, (100, 600), seed=4
        )
    finally:
        adapter.detach()
    for part in ("attention", "whole"):
        assert found[f"leak_{part}"].values.mean() == pytest.approx(table.outside[part].mean(), rel=1e-4)
    np.testing.assert_array_equal(found["gap"].values, found["other"].values - found["own"].values)
    assert (found["own"].values != found["other"].values).all()
    assert gates(adapter)["mean"] == pytest.approx(np.tanh(0.7), abs=1e-4)


def test_nobody_whom_it_measures_on_can_have_been_trained_on() -> None:
    """Training draws people and looks below HELD_OUT, whatever the seed."""
    unseen = UnseenWorld(40, 2, 7)
    assert len(unseen.seeds) == len(unseen.keys()) == 80
    assert min(min(pair) for pair in unseen.seeds) >= HELD_OUT
    assert len({unseen.sample(i, 32).person for i in (0, 1, 2)}) == 2


def test_own_and_other_are_never_the_target_and_never_each_other(cache) -> None:
    held_out = HeldOut.of(cache)
    assert len(held_out) == 5
    assert torch.equal(held_out.other, held_out.own.roll(-1, 0))
    assert torch.equal(held_out.own[0, 0], cache.tokens_of(np.array([1]))[0])
    assert torch.equal(held_out.batch["latents"][0], cache.gather(np.array([0]))["latents"][0])


def test_only_the_face_counts() -> None:
    face = torch.zeros(2, 4, 4)
    face[:, 1:3, 1:3] = 1
    predicted, target = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    predicted[0, :, 0, 0] = 100  # outside
    predicted[1, :, 1, 1] = 2
    assert error_inside(predicted, target, face).tolist() == [0.0, 1.0]


# What pulls at closed gates


@pytest.fixture
def stage(parts) -> FactStage:
    made = fact_stage(parts, Loss(fair=0.0, increment="whole"))
    yield made
    made.adapter.detach()


@pytest.mark.parametrize("gate", ["attn", "dense"])
def test_fair_pulls_a_gate_to_zero_from_both_sides_equally(stage, cache, gate) -> None:
    """FAIR is c |alpha| near 0: its slope has alpha's sign and does not fade as alpha does."""
    one = batch(cache)
    above, below = (pulling.fair_slopes(stage, one, gate, side) for side in (1.0, -1.0))
    assert (above > 0).all()
    np.testing.assert_allclose(below, -above, rtol=0.05)
    with pulling.gates_at(stage, *(10 * pulling.STEP if name == gate else 0.0 for name in pulling.GATES)):
        further = pulling.slopes(stage, one, "fair", 0)[gate]
    np.testing.assert_allclose(further, above, rtol=0.1)


def test_the_attention_part_leaves_the_feed_forward_alone(parts, cache) -> None:
    stage = fact_stage(parts, Loss(fair=0.0, increment="attention"))
    try:
        found = pulling.gate_pull(stage, lambda number: iter([batch(cache)] * 3), count=2)
    finally:
        stage.adapter.detach()
    reached = {row["gate"]: row["lambda_mean"] is not None for row in found["gates"]}
    assert reached == {"attn": True, "dense": False}
    assert found["felt"] * 2 == len(found["gates"])


def test_lambda_is_where_the_pulls_balance(stage, cache) -> None:
    """One gate, one batch: below its lambda* a step against the gradient of the sum lowers it, above none does."""
    found = pulling.gate_pull(stage, lambda number: iter([batch(cache)] * 2), count=1, seed=5)
    assert all(float(layer.alpha_attn.detach()) == 0 for _, layer in stage.adapter.layers.items())
    row, (_, layer) = found["gates"][0], next(iter(stage.adapter.layers.items()))
    away = -np.sign(row["diffusion_mean"]) * pulling.STEP

    def loss(alpha: float, strength: float) -> float:
        with torch.no_grad():
            layer.alpha_attn.fill_(alpha)
            torch.manual_seed(5)
            terms = {name: value.double() for name, value in stage(batch(cache)).items()}
            layer.alpha_attn.zero_()
        return float(terms["diffusion"] + strength * terms["fair"])

    rise = lambda strength: loss(2 * away, strength) - loss(away, strength)  # noqa: E731  (clear of the constant at 0)
    assert rise(0.3 * row["lambda_mean"]) < 0 < rise(3 * row["lambda_mean"])
