"""The benchmark of a call of the U-Net on the embedded model's shape: its structure and arithmetic, not the speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from facefact.apps.cli import main
from facefact.bench import portraits as bench_portraits
from facefact.bench import unet_scaling
from facefact.bench.timing import interleaved
from facefact.bench.unet import (
    VARIANTS,
    Call,
    Workbench,
    affordable,
    bench_call,
    face_ellipse,
    local_parts,
)
from facefact.bench.unet_operations import counted
from facefact.bench.unet_page import draw, markdown
from facefact.types import UserError

DEMO = Call(shape="demo", size=64, dtype="fp32")


@pytest.fixture(scope="module")
def bench() -> Workbench:
    return Workbench(DEMO, VARIANTS)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return bench_call(DEMO, rounds=2, memory=False)


def made(bench: Workbench, variant: str) -> torch.Tensor:
    with bench.with_variant(variant):
        return bench.work(variant)()


def test_every_variant_is_what_it_says(bench: Workbench) -> None:
    base = made(bench, "base")
    assert base.shape == (2, 8, 8, 8)
    assert 0.01 < base.std() < 100  # numbers of a useful size, of which nothing is lost
    changed = {name: (made(bench, name) - base).abs().mean() / base.abs().mean() for name in VARIANTS}
    assert changed["base_fast"] < 1e-4
    assert all(changed[name] > 1e-2 for name in ("exact", "local", "ip_adapter", "controlnet_ip_adapter"))
    assert (made(bench, "controlnet_ip_adapter") - made(bench, "ip_adapter")).abs().mean() > 1e-2
    assert torch.equal(made(bench, "base"), base), "what was put on is off again"
    assert not bench.unet.config.encoder_hid_dim_type


def test_the_ip_adapter_is_that_of_diffusers(bench: Workbench) -> None:
    with bench.with_variant("ip_adapter"):
        attention = bench.unet.mid_block.attentions[0].transformer_blocks[0].attn2
        assert tuple(attention.processor.num_tokens) == (16,)
        assert type(attention.processor).__name__ == "IPAdapterAttnProcessor2_0"
        own = bench.unet.mid_block.attentions[0].transformer_blocks[0].attn1
        assert type(own.processor).__name__ == "AttnProcessor2_0"


def test_local_mode_works_where_the_ellipse_is(bench: Workbench) -> None:
    mask = face_ellipse(64, 0.2)
    assert mask.shape == (512, 512)
    assert mask.float().mean() == pytest.approx(0.2, abs=0.002)
    height, width = (int(mask.any(axis).sum()) for axis in (1, 0))
    assert height == pytest.approx(1.25 * width, rel=0.03)
    parts = local_parts(Call(shape="demo", size=128))
    assert set(parts) == {256, 64}
    assert all(0.2 <= part.asking / n < 0.6 and part.asking < part.seen <= n for n, part in parts.items())


def test_the_figures_of_a_call(figures: dict[str, Any]) -> None:
    assert (figures["shape"], figures["device"], figures["dtype"]) == ("demo", "cpu", "float32")
    assert tuple(figures["variants"]) == VARIANTS
    for name, one in figures["variants"].items():
        assert one["n"] == 2
        assert 0 < one["ratio_low"] <= one["ratio"] <= one["ratio_high"]
        assert one["peak_bytes"] is None, name
        assert one["seconds"] > 0
    assert figures["variants"]["base"]["ratio"] == 1
    assert json.loads(json.dumps(figures)) == figures
    assert figures["machine"]["torch"] == torch.__version__


def test_what_surrounds_a_call_is_not_timed() -> None:
    open_now: list[str] = []
    order: list[tuple[str, tuple[str, ...]]] = []

    class Around:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            open_now.append(self.name)
            torch.ones(1 << 22).cumsum(0).cumsum(0)

        def __exit__(self, *error: object) -> None:
            open_now.remove(self.name)

    works = {name: (lambda name=name: order.append((name, tuple(open_now)))) for name in ("a", "b")}
    times = interleaved(works, rounds=2, device=torch.device("cpu"), around=Around)
    assert all(inside == (name,) for name, inside in order)
    assert [name for name, _ in order] == ["a", "b", "b", "a", "a", "b"]
    assert all((one[:, 1] < 2e-3).all() for one in times.values())


@pytest.mark.parametrize(("size", "rows", "face"), [(64, 2, 16), (128, 3, 80)])
def test_the_formula_is_what_pytorch_counts(size: int, rows: int, face: int) -> None:
    count = counted("demo", size, rows=rows, face=face)
    formula = count.formula(rows=rows, face=face)
    assert count.exact - count.base == sum(formula.values())
    widths = [
        (config.token_width, config.width, config.inner_width or config.width) for config, _ in count.layers.values()
    ]
    assert count.keys == sum(rows * face * (2 * tokens * c + 4 * c * inner) for tokens, c, inner in widths)


def test_the_formula_of_local_mode(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("attention.CPU_PREFERS_BLOCKS", "linear.CPU_PREFERS_ONEDNN"):  # whose products are not counted
        monkeypatch.setattr(f"facefact.adapter.{name}", False)
    found = {}
    with sdpa_kernel(SDPBackend.MATH):
        for variant in ("base", "exact", "local"):
            with bench.with_variant(variant):
                work = bench.work(variant)
                with FlopCounterMode(display=False) as counter:
                    work()
            found[variant] = counter.get_total_flops()
    count = counted("demo", DEMO.size, rows=2)
    assert (found["base"], found["exact"]) == (count.base, count.exact)
    formula = count.formula(rows=2, face=16, parts=local_parts(DEMO))
    assert found["local"] - found["base"] == sum(formula.values())
    assert found["base"] < found["local"] < found["exact"]


def test_the_shares_at_the_size_of_stable_diffusion() -> None:
    """What is known of exact mode at 512 px: a floor of 1.41, and 1.60 at 1024 px."""
    assert counted("sd15", 512, rows=2).exact / counted("sd15", 512, rows=2).base == pytest.approx(1.41, abs=0.005)
    large = counted("sd15", 1024, rows=2)
    assert large.exact / large.base == pytest.approx(1.60, abs=0.005)


def test_memory_is_that_of_the_call() -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the system does not tell")
    # In a fresh process: this one may have that much lying about, free and resident.
    lines = [
        "import json, torch",
        "from facefact.bench.memory import memory_of",
        "torch.ones(1 << 26)",  # 256 MiB that were there before
        "print(json.dumps(memory_of(lambda: torch.ones(1 << 25).sum(), torch.device('cpu'))))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["added_bytes"] == pytest.approx(1 << 27, rel=0.1)
    assert found["peak_bytes"] > found["added_bytes"]


def test_what_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sdxl = Call(shape="sdxl", size=1024, dtype="bf16")
    monkeypatch.setattr("facefact.bench.unet.free_bytes", lambda device: 11 << 30)
    kept, left_out = affordable(sdxl, VARIANTS)
    assert "exact" in kept
    assert "GiB" in left_out["controlnet_ip_adapter"]
    monkeypatch.setattr("facefact.bench.unet.free_bytes", lambda device: 1 << 30)
    with pytest.raises(UserError, match="sdxl's weights are 4"):
        affordable(sdxl, VARIANTS)


def test_scaling_compares_like_with_like(bench: Workbench) -> None:
    points = list(unet_scaling.points(Call(shape="demo", size=128)))
    assert [one.call.size for one in points if one.axis == "resolution"] == [64, 96, 128, 192]
    assert {one.call.size for one in points if one.axis != "resolution"} == {64}
    several = next(one for one in points if one.call.photos == 5)
    bench.call = Call(shape="demo", size=64, dtype="fp32", photos=5)
    try:
        row = unet_scaling.measured(bench, several, rounds=1)
    finally:
        bench.call = DEMO
    assert set(row["seconds"]) == {"base", "exact", "keys"}
    assert set(row["ratios"]) == {"exact"}
    one = counted("demo", 64, rows=2)
    assert row["operations"]["keys"] == 5 * one.keys
    assert row["operations"]["exact"]["feed-forward"] == one.formula(rows=2, face=16)["feed-forward"]


@torch.no_grad()
def test_people_in_one_picture(bench: Workbench) -> None:
    """Another picture, for hardly more operations: a few keys for each person more."""
    points = list(unet_scaling.group_points(DEMO))
    assert [one.call.group for one in points] == [1, 2, 4, 8]
    pictures = []
    for one in points[:2]:
        bench.call = one.call
        try:
            pictures.append(made(bench, "exact"))
            row = unet_scaling.measured(bench, one, rounds=1)
        finally:
            bench.call = DEMO
    assert (pictures[0] - pictures[1]).abs().max() > 1e-3
    assert row["group"] == 2
    large = [counted("sd15", 512, rows=2, face=16 * people).exact for people in (1, 8)]
    assert 1 < large[1] / large[0] < 1.02


def test_a_photo_takes_its_parts() -> None:
    found = bench_portraits.bench_encode(torch.device("cpu"), rounds=1)
    parts = [found["seconds"][name]["cpu"]["median"] for name in ("detect and align", "face encoder", "resampler")]
    assert found["seconds_per_photo"]["cpu"]["median"] == pytest.approx(sum(parts))


@pytest.mark.slow
def test_portraits_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_portraits, "STEPS", 2)
    monkeypatch.setattr(bench_portraits, "BATCHES", (1,))
    found = bench_portraits.bench_portraits(torch.device("cpu"), rounds=1)
    assert set(found["modes"]) == {f"{mode}, batch 1" for mode in ("base", "base_fast", "exact", "local")}
    assert all(one["portraits_per_second"]["median"] > 0 for one in found["modes"].values())


@pytest.mark.slow
def test_portraits_differ_by_the_face_alone() -> None:
    model = bench_portraits.EmbeddedModel(torch.device("cpu"))
    with model.prepared("base, batch 1"):
        base = model.paint("base", 1)
    with model.prepared("exact, batch 1"):
        face = model.paint("exact", 1)
    assert np.abs(face - base).max() > 0.1
    with model.prepared("base, batch 1"):
        assert np.array_equal(model.paint("base", 1), base)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "unet.json"
    call = [
        "bench",
        "unet",
        "--shape",
        "demo",
        "--size",
        "64",
        "--dtype",
        "fp32",
        "--device",
        "cpu",
        "--rounds",
        "1",
        "--no-memory",
        "--only",
        "unet",
        "--variants",
        "exact",
        "--json",
        str(out),
    ]
    assert main(call) == 0
    shown = capsys.readouterr().out
    assert "facefact bench unet --shape demo --size 64" in shown
    assert str(tmp_path) not in shown
    figures = json.loads(out.read_text())
    assert set(figures["variants"]) == {"base", "exact"}
    assert markdown(figures, "x").count("| exact |") == 1
    pytest.importorskip("matplotlib")
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_the_plot_of_all_parts(figures: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    spread = {"median": 1.5, "low": 1.4, "high": 1.6}
    ratios = {name: {"cpu": spread} for name in ("base_fast", "exact", "local")}
    operations = {"ratio": 1.4, "base": 10, "local": {"attention": 2}}
    points = [{"axis": "resolution", "tokens": n, "ratios": ratios, "operations": operations} for n in (1024, 4096)]
    draw(figures | {"scaling": {"points": points}}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"shape": "sd9"}, "unknown shape 'sd9': choose from sd15, sdxl, demo"),
        ({"size": 100}, "the size is a multiple of 16 px for demo, not 100"),
        ({"batch": 0}, "batch is a number from 1 on"),
        ({"people": 3, "batch": 4}, "4 pictures cannot show 3 people equally often"),
        ({"face_share": 0.9}, "lies between 0 and 0.6"),
    ],
)
def test_calls_that_cannot_be(changed: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        Call(**{"shape": "demo", "size": 128} | changed)


def test_options_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "unet", "--only", "gpu"]) == 2
    assert "choose from unet, encode, portraits, scaling, groups" in capsys.readouterr().err
    assert main(["bench", "unet", "--shape", "demo", "--only", "unet", "--variants", "exactly"]) == 2
    assert "unknown variant 'exactly'" in capsys.readouterr().err


@pytest.mark.slow
def test_peak_memory_is_that_of_a_process_of_its_own() -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the system does not tell")
    ballast = torch.ones(1 << 28)  # 1 GiB, here alone
    found = bench_call(DEMO, ("base",), rounds=1)["variants"]["base"]
    assert 0 < found["added_bytes"] < found["peak_bytes"] < ballast.nbytes
