"""The loop: its learning rate, its average, its optimiser, and that a resumed run is the uninterrupted one."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from facefact.train.engine.checkpoints import Checkpoints
from facefact.train.engine.journal import Exploded
from facefact.train.engine.loop import fit, loaded
from facefact.train.engine.muon import Muon, orthogonal
from facefact.train.engine.saving import learned
from facefact.train.engine.schedule import Average, Schedule, learning_rate, optimizers
from facefact.types import UserError


class Toy(nn.Module):
    """Everything that a resumed run must bring back: matrices, biases, batch statistics, a counter, noise in the
    forward."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.GELU(), nn.Dropout(0.2), nn.Linear(32, 16))
        self.frozen = nn.Linear(16, 16).requires_grad_(False)
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.step += 1
        y = self.net(x + torch.randn_like(x)) + self.frozen(x) * self.step
        return {"loss": (y - x.flip(0)).square().mean()}


def batches(step: int):
    while True:
        yield torch.randn(8, 16, generator=torch.Generator().manual_seed(step))
        step += 1


def schedule(**changes) -> Schedule:
    return Schedule(
        **{"steps": 6, "batch": 8, "lr": 0.02, "warmup": 2, "precision": "fp32", "seed": 3, "log_every": 1, **changes}
    )


def records(folder) -> list[dict[str, float]]:
    """metrics.jsonl without the timings."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "data_wait")} for line in lines]


def interrupted_after(n: int):
    """Batches of a run that dies when it asks for batch n + 1."""
    return dying(batches, n)


def dying(of, n: int):
    def from_index(first: int):
        for index, batch in enumerate(of(first), start=first):
            if index == n:
                raise KeyboardInterrupt
            yield batch

    return from_index


@pytest.mark.parametrize("keep", [0.0, 0.25])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path, keep) -> None:
    straight = Toy()
    assert fit(straight, batches, schedule(keep=keep), tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        fit(Toy(), interrupted_after(3), schedule(save_every=0.0, keep=keep), tmp_path / "resumed")
    assert Checkpoints(tmp_path / "resumed/checkpoints").steps()[0] == 3
    torch.manual_seed(999)  # what was drawn in between does not matter
    resumed = Toy()
    assert fit(resumed, batches, schedule(keep=keep), tmp_path / "resumed")
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert records(tmp_path / "resumed") == records(tmp_path / "straight")


def test_a_finished_run_is_given_back_without_a_step(tmp_path) -> None:
    first, again = Toy(), Toy()
    fit(first, batches, schedule(), tmp_path)
    state = tmp_path / "checkpoints/step-6/state.json"
    written, known = state.stat().st_mtime_ns, records(tmp_path)
    assert fit(again, interrupted_after(0), schedule(), tmp_path)
    assert state.stat().st_mtime_ns == written
    assert records(tmp_path) == known
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))


def test_stop_saves_and_says_that_there_is_more_to_do(tmp_path) -> None:
    assert not fit(Toy(), batches, schedule(), tmp_path, stop=0.0)
    assert fit(Toy(), batches, schedule(), tmp_path)


def test_a_checkpoint_of_another_network_is_refused(tmp_path) -> None:
    fit(Toy(), batches, schedule(), tmp_path)
    other = Toy()
    other.net.append(nn.Linear(16, 16))
    with pytest.raises(UserError, match="another network"):
        fit(other, batches, schedule(), tmp_path)


def test_a_checkpoint_holds_what_learns_and_the_buffers_and_no_more(tmp_path) -> None:
    toy = Toy()
    fit(toy, batches, schedule(), tmp_path)
    saved = Checkpoints(tmp_path / "checkpoints").read(6)
    assert set(saved.model) == learned(toy)
    assert not any("frozen" in name for name in saved.model)
    assert {"net.1.running_mean", "step"} <= set(saved.model)
    assert set(saved.average) == {name for name, p in toy.named_parameters() if p.requires_grad}


def test_every_step_is_noted_once_with_all_that_the_stage_says(tmp_path) -> None:
    class Talkative(Toy):
        def forward(self, x):
            terms = super().forward(x)
            return {"loss": 2 * terms["loss"], "half": terms["loss"]}

    fit(Talkative(), batches, schedule(log_every=4), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for step, line in enumerate(lines):
        assert set(line) == {"step", "loss", "half", "norm", "lr", "seconds", "data_wait"}
        assert line["loss"] == pytest.approx(2 * line["half"], rel=1e-6)
        assert line["lr"] == pytest.approx(0.02 * learning_rate(step, schedule()))
        assert 0 <= line["data_wait"] <= line["seconds"]


def test_a_resumed_run_notes_no_step_twice(tmp_path) -> None:
    """The run dies three steps after its checkpoint; half a line of the last record is on the disk."""
    with pytest.raises(KeyboardInterrupt):
        fit(Toy(), interrupted_after(5), schedule(save_steps=2, save_every=1e9), tmp_path)
    assert [one["step"] for one in records(tmp_path)] == [1, 2, 3, 4, 5]
    with (tmp_path / "metrics.jsonl").open("a") as out:
        out.write('{"step": 6, "lo')
    fit(Toy(), batches, schedule(), tmp_path)
    assert [one["step"] for one in records(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_accumulated_batches_are_one_step_with_their_mean_gradient(tmp_path) -> None:
    """Two batches of 4 are one of 8, for a loss that is a mean over samples without noise or batch statistics."""

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Linear(16, 16)

        def forward(self, x):
            return {"loss": (self.net(x) - x.flip(1)).square().mean()}

    def halves(index: int):
        while True:
            yield next(batches(index // 2))[4 * (index % 2) :][:4]
            index += 1

    whole, split = Plain(), Plain()
    fit(whole, batches, schedule(optimizer="adamw"), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):  # at a step's second batch
        fit(Plain(), dying(halves, 7), schedule(optimizer="adamw", accumulate=2, save_every=0.0), tmp_path / "split")
    assert Checkpoints(tmp_path / "split/checkpoints").steps()[0] == 3
    fit(split, halves, schedule(optimizer="adamw", accumulate=2), tmp_path / "split")
    torch.testing.assert_close(split.net.weight, whole.net.weight, rtol=1e-5, atol=1e-6)
    for a, b in zip(records(tmp_path / "whole"), records(tmp_path / "split"), strict=True):
        assert a == pytest.approx(b, rel=1e-5)


def test_a_loss_that_is_no_number_stops_and_the_checkpoint_is_from_before(tmp_path) -> None:
    def poisoned(step: int):
        for index, batch in enumerate(batches(step), start=step):
            yield batch * (math.nan if index == 3 else 1)

    with pytest.raises(Exploded, match=r"step 4: the loss is nan; the last good checkpoint is .*step-3.*schedule\.lr"):
        fit(Toy(), poisoned, schedule(save_every=0.0), tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [3, 2]
    assert all(torch.isfinite(v).all() for v in Checkpoints(tmp_path / "checkpoints").read(3).model.values())
    assert [one["step"] for one in records(tmp_path)] == [1, 2, 3]
    assert fit(Toy(), batches, schedule(), tmp_path)


class Scripted(nn.Module):
    """Its loss is what the batch says."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return {"loss": x + 0 * self.weight.sum()}


def losses(values):
    def from_step(step: int):
        for value in values[step:]:
            yield torch.tensor(float(value))

    return from_step


def test_a_loss_far_above_its_median_for_several_steps_stops(tmp_path) -> None:
    values = [1.0] * 25 + [50.0] * 10
    with pytest.raises(Exploded, match="step 30: for 5 steps the loss was above 10 times its median"):
        fit(Scripted(), losses(values), schedule(steps=35, save_every=0.0), tmp_path / "exploded")
    assert Checkpoints(tmp_path / "exploded/checkpoints").steps()[0] == 25  # nothing of the explosion is saved
    single = [1.0] * 25 + [50.0] * 4 + [1.0] * 6  # a few hard batches are no explosion
    assert fit(Scripted(), losses(single), schedule(steps=35), tmp_path / "single")
    assert fit(Scripted(), losses(values), schedule(steps=35, explode=None), tmp_path / "unwatched")


def test_a_resumed_run_remembers_what_its_losses_were(tmp_path) -> None:
    values = [1.0] * 25 + [50.0] * 10
    fit(Scripted(), losses(values), schedule(steps=25), tmp_path)
    with pytest.raises(Exploded, match="step 30"):
        fit(Scripted(), losses(values), schedule(steps=35), tmp_path)


def test_watch_sees_every_step_and_its_figures_reach_the_trackers(tmp_path) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

    logged: list[tuple[int, dict]] = []

    class Memory(GeneralTracker):
        name, requires_logging_directory = "memory", False
        tracker = None

        def __init__(self, run_name, **kwargs):
            super().__init__()

        def start(self):
            pass

        def store_init_configuration(self, values):
            logged.append((0, values))

        def log(self, values, step=None, **kwargs):
            logged.append((step, values))

        def finish(self):
            logged.append((-1, {}))

    seen: list[int] = []

    def watch(step, stage, average):
        assert int(stage.step) == step
        assert average.keys() == {n for n, p in stage.named_parameters() if p.requires_grad}
        seen.append(step)
        return {"half": step / 2} if step % 3 == 0 else None

    assert Memory.name not in LOGGER_TYPE_TO_CLASS
    LOGGER_TYPE_TO_CLASS["memory"] = Memory
    try:
        fit(Toy(), batches, schedule(), tmp_path, watch=watch, trackers=["memory"], config={"a": {"b": (1, 2)}, "c": 1})
    finally:
        del LOGGER_TYPE_TO_CLASS["memory"]
    assert seen == [1, 2, 3, 4, 5, 6]
    assert logged[0] == (0, {"a.b": "(1, 2)", "c": 1})
    assert (3, {"half": 1.5}) in logged
    assert (6, {"half": 3.0}) in logged
    assert {step for step, values in logged if "loss" in values} == {1, 2, 3, 4, 5, 6}
    assert logged[-1] == (-1, {})


def test_what_this_machine_cannot_do_is_said_before_the_first_step(tmp_path) -> None:
    for error, changes in {
        "fp16 works with one optimizer": {"precision": "fp16"},
        "accumulate must be at least 1": {"accumulate": 0},
        "explode must be above 1": {"explode": 0.5},
        "save_steps must be at least 1": {"save_steps": 0},
    }.items():
        with pytest.raises(UserError, match=error):
            fit(Toy(), interrupted_after(0), schedule(**changes), tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="fp16 needs a GPU"):
            fit(Toy(), interrupted_after(0), schedule(precision="fp16", optimizer="adamw"), tmp_path)
    with pytest.raises(UserError, match="no tracker is called tensorbord; Accelerate knows .*tensorboard"):
        fit(Toy(), interrupted_after(0), schedule(), tmp_path, trackers=["tensorbord"])


def test_what_is_not_installed_is_named_with_the_way_to_install_it(tmp_path) -> None:
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        with pytest.raises(UserError, match="pip install bitsandbytes"):
            fit(Toy(), interrupted_after(0), schedule(optimizer="adamw8bit"), tmp_path)
    if find_spec("tensorboard") is None and find_spec("tensorboardX") is None:
        with pytest.raises(UserError, match="pip install tensorboard"):
            fit(Toy(), interrupted_after(0), schedule(), tmp_path, trackers=["tensorboard"])


def test_tensorboard_is_written_beside_the_metrics(tmp_path) -> None:
    pytest.importorskip("tensorboard")
    fit(Toy(), batches, schedule(), tmp_path, trackers=["tensorboard"], config={"lr": 1.0})
    assert list(tmp_path.rglob("events.out.tfevents*"))


def test_a_checkpoint_of_another_precision_is_not_gone_on_from(tmp_path) -> None:
    fit(Toy(), batches, schedule(steps=2, precision="bf16"), tmp_path)
    with pytest.raises(UserError, match=r"precision=bf16, not fp32"):
        fit(Toy(), batches, schedule(steps=4, precision="fp32"), tmp_path)


def test_stages_of_one_process_have_their_own_precision_and_keep_their_forward(tmp_path) -> None:
    """Accelerate holds one precision for a process, and wraps `forward` for it."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    kinds: list[torch.dtype] = []

    class Seeing(Toy):
        def forward(self, x):
            kinds.append(self.net[0](x).dtype)
            return super().forward(x)

    for precision, kind in (("bf16", torch.bfloat16), ("fp32", torch.float32), ("bf16", torch.bfloat16)):
        stage = Seeing()
        fit(stage, batches, schedule(precision=precision, steps=1), tmp_path / f"{precision}{len(kinds)}")
        assert kinds[-1] == kind
        stage.train()(torch.randn(8, 16))
        assert kinds[-1] == torch.float32
        assert "forward" not in vars(stage)
    Accelerator(cpu=True, mixed_precision="no")  # (raises ValueError when another one is chosen already)
    fit(Seeing(), batches, schedule(precision="bf16", steps=1), tmp_path / "after")
    assert AcceleratorState().mixed_precision == "no"


def test_other_settings_of_the_same_network_take_effect_on_resume(tmp_path) -> None:
    fit(Toy(), batches, schedule(steps=3, optimizer="adamw", weight_decay=0.5), tmp_path)
    with pytest.raises(UserError, match=r"made with schedule\.optimizer=adamw, not muon"):
        fit(Toy(), batches, schedule(), tmp_path)
    fit(Toy(), batches, schedule(optimizer="adamw", weight_decay=0.25), tmp_path)
    groups = Checkpoints(tmp_path / "checkpoints").read(6).optimizer["optimizers"][0]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.25, 0.0]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_make_the_same_batches() -> None:
    alone, helped = loaded(batches, 5, 0), loaded(batches, 5, 2)
    assert all(torch.equal(next(alone), next(helped)) for _ in range(5))


def test_the_learning_rate_warms_up_and_falls_as_a_cosine() -> None:
    plan = schedule(steps=110, warmup=10, final_lr=0.1)
    assert [learning_rate(step, plan) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert learning_rate(10, plan) == pytest.approx(1.0)
    assert learning_rate(60, plan) == pytest.approx((1 + 0.1) / 2)
    assert learning_rate(110, plan) == pytest.approx(0.1)
    assert learning_rate(500, plan) == pytest.approx(0.1)
    assert learning_rate(35, plan) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))


def test_the_peak_is_held_before_the_decay() -> None:
    plan = schedule(steps=210, warmup=10, hold=100, final_lr=0.1)
    assert [learning_rate(step, plan) for step in (9, 10, 60, 110)] == pytest.approx([1.0] * 4)
    assert learning_rate(160, plan) == pytest.approx((1 + 0.1) / 2)
    assert learning_rate(210, plan) == pytest.approx(0.1)


def test_other_decays() -> None:
    straight = schedule(steps=110, warmup=10, final_lr=0.1, decay="linear")
    assert [learning_rate(step, straight) for step in (4, 10, 60, 110, 500)] == pytest.approx([0.5, 1, 0.55, 0.1, 0.1])
    level = schedule(steps=110, warmup=10, final_lr=0.1, decay="constant")
    assert [learning_rate(step, level) for step in (4, 10, 60, 110)] == pytest.approx([0.5, 1, 1, 1])


def test_the_average_of_half_precision_parameters_is_in_single() -> None:
    """bf16 cannot hold a thousandth of a step."""
    toy = nn.Linear(4, 4).bfloat16()
    with torch.no_grad():
        toy.weight.fill_(1.0)
    average = Average(toy, 1.0)
    with torch.no_grad():
        toy.weight.fill_(2.0)
    average.update(toy, 999)
    torch.testing.assert_close(average.values["weight"], torch.full((4, 4), 1.001))


def test_the_average_starts_at_the_first_parameters_and_is_the_recursion() -> None:
    toy = Toy()
    average, wanted = Average(toy, 0.5), None
    for step in range(4):
        with torch.no_grad():
            toy.net[0].weight.add_(1.0)
        average.update(toy, step)
        now = toy.net[0].weight.detach().clone()
        wanted = now if wanted is None else wanted + (now - wanted) / (1 + 0.5 * step)
    torch.testing.assert_close(average.values["net.0.weight"], wanted)
    frozen = toy.frozen.weight.clone()
    average.copy_to(toy)
    torch.testing.assert_close(toy.net[0].weight.detach(), wanted)
    assert torch.equal(toy.frozen.weight, frozen)


def test_what_a_training_leaves_may_hold_where_it_began() -> None:
    toy = Toy()
    begun = toy.net[0].weight.detach().clone()
    average = Average(toy, 0.0, keep=0.25)
    with torch.no_grad():
        toy.net[0].weight.add_(1.0)
    average.update(toy, 0)
    torch.testing.assert_close(average.values["net.0.weight"], begun + 1.0)
    average.copy_to(toy)
    torch.testing.assert_close(toy.net[0].weight.detach(), begun + 0.75)


def test_muon_gets_the_matrices_and_adamw_everything_else_that_learns() -> None:
    toy = Toy()
    muon, adamw = optimizers(toy, schedule(adamw=0.25))
    assert {id(p) for p in muon.param_groups[0]["params"]} == {id(toy.net[0].weight), id(toy.net[4].weight)}
    rest = {id(p) for p in toy.parameters() if p.requires_grad and p.ndim < 2}
    assert {id(p) for p in adamw.param_groups[0]["params"]} == rest
    assert adamw.param_groups[0]["lr"] == pytest.approx(0.25 * 0.02)


def test_adamw_alone_learns_at_lr_and_decays_the_matrices_only() -> None:
    class Gated(Toy):
        def __init__(self):
            super().__init__()
            self.gate = nn.Parameter(torch.zeros(1))

        def gate_parameters(self):
            return [self.gate]

    toy = Gated()
    (adamw,) = optimizers(toy, schedule(optimizer="adamw", adamw=0.25, gates=4.0, weight_decay=0.1))
    matrices, rest, gates = adamw.param_groups
    assert {id(p) for p in matrices["params"]} == {id(toy.net[0].weight), id(toy.net[4].weight)}
    assert gates["params"] == [toy.gate]
    assert [group["lr"] for group in (matrices, rest, gates)] == pytest.approx([0.02, 0.02, 0.08])
    assert [group["weight_decay"] for group in (matrices, rest, gates)] == [0.1, 0.0, 0.0]


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (48, 16)])
def test_the_orthogonal_factor(shape) -> None:
    """About U V^T: the singular vectors of the matrix, all singular values near one."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    update = orthogonal(matrix)
    values = torch.linalg.svdvals(update)
    assert values.min() > 0.6
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ update @ v.T  # diagonal, were it exactly U f(S) V^T
    assert (inner - inner.diagonal().diag()).abs().max() < 0.05


def test_muon_steps_are_of_adamws_size_for_matrices_and_convolutions() -> None:
    for shape in ((32, 64), (32, 16, 3, 3)):
        weight = nn.Parameter(torch.zeros(shape))
        weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(2))
        Muon([weight], lr=1.0).step()
        assert weight.detach().square().mean().sqrt() == pytest.approx(0.2, rel=0.2)


def test_muon_decays_weights_apart_from_the_gradient() -> None:
    weight = nn.Parameter(torch.ones(16, 16))
    weight.grad = torch.zeros(16, 16)
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((16, 16), 0.95))
