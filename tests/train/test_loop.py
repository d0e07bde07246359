"""The loop: its learning rate, its average, its optimiser, and that a resumed run is the uninterrupted one."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from facefact.train.loop import Average, Schedule, fit, learned, learning_rate, loaded, optimizers
from facefact.train.muon import Muon, orthogonal
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


def interrupted_after(n: int):
    """Batches of a run that dies when it asks for batch n + 1."""

    def dying(step: int):
        for index, batch in enumerate(batches(step), start=step):
            if index == n:
                raise KeyboardInterrupt
            yield batch

    return dying


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path) -> None:
    straight = Toy()
    assert fit(straight, batches, schedule(), tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        fit(Toy(), interrupted_after(3), schedule(save_every=0.0), tmp_path / "resumed")
    assert torch.load(tmp_path / "resumed/state.pt", weights_only=True)["step"] == 3
    torch.manual_seed(999)  # what was drawn in between does not matter
    resumed = Toy()
    assert fit(resumed, batches, schedule(), tmp_path / "resumed")
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    last = [
        json.loads((tmp_path / run / "metrics.jsonl").read_text().splitlines()[-1])["loss"]
        for run in ("straight", "resumed")
    ]
    assert last[0] == last[1]


def test_a_finished_run_is_given_back_without_a_step(tmp_path) -> None:
    first, again = Toy(), Toy()
    fit(first, batches, schedule(), tmp_path)
    written = (tmp_path / "state.pt").stat().st_mtime_ns
    assert fit(again, interrupted_after(0), schedule(), tmp_path)
    assert (tmp_path / "state.pt").stat().st_mtime_ns == written
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
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert set(state["stage"]) == learned(toy)
    assert not any("frozen" in name for name in state["stage"])
    assert {"net.1.running_mean", "step"} <= set(state["stage"])


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


def test_muon_gets_the_matrices_and_adamw_everything_else_that_learns() -> None:
    toy = Toy()
    muon, adamw = optimizers(toy, schedule(adamw=0.25))
    assert {id(p) for p in muon.param_groups[0]["params"]} == {id(toy.net[0].weight), id(toy.net[4].weight)}
    rest = {id(p) for p in toy.parameters() if p.requires_grad and p.ndim < 2}
    assert {id(p) for p in adamw.param_groups[0]["params"]} == rest
    assert adamw.param_groups[0]["lr"] == pytest.approx(0.25 * 0.02)


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
