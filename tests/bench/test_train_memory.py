"""The memory that a training needs, computed; and the launch configurations that it is computed for."""

from __future__ import annotations

from pathlib import Path

import pytest

from facefact.bench.train_memory import GIB, KEPT, Sizes, per_gpu, sizes

LAUNCH = Path(__file__).parents[2] / "configs" / "accelerate"
MADE = Sizes(unet=1000 * GIB, blocks=600 * GIB, largest=10 * GIB, beside=100 * GIB, text=50 * GIB, learned=40 * GIB)


def test_one_process_needs_what_it_holds() -> None:
    found = per_gpu(MADE, "ddp", pictures=3, kept=7.0)
    assert found["frozen U-Net"] == 2 * 1000
    assert found["adapter"] + found["gradients"] + found["AdamW"] + found["average"] == 40 * (4 + 2 + 4 + 8 + 4)
    assert found["VAE, text, encoder"] == 4 * 100 + 2 * 50
    assert found["activations"] == 21
    assert found["total"] == sum(value for name, value in found.items() if name != "total")


def test_what_is_shared_out_becomes_less_with_processes() -> None:
    few, many = (per_gpu(MADE, "fsdp", processes=n) for n in (2, 8))
    for name in ("frozen U-Net", "adapter", "gradients", "AdamW", "average"):
        assert many[name] < few[name]
    two, eight = (per_gpu(MADE, "zero2", processes=n) for n in (2, 8))
    assert eight["AdamW"] == two["AdamW"] / 4
    assert eight["frozen U-Net"] == two["frozen U-Net"] == 2000
    alone, paired = (per_gpu(MADE, "ddp", processes=n) for n in (1, 2))
    assert paired["total"] - alone["total"] == 4 * 40  # DDP's buckets


def test_the_published_shapes() -> None:
    sd15, sdxl = sizes("sd15"), sizes("sdxl")
    assert sd15.unet == 859_520_964  # Stable Diffusion 1.5's
    assert sdxl.unet == 2_567_463_684  # SDXL's
    assert sd15.learned == 255_510_624
    assert sdxl.learned == 1_858_848_652
    assert sd15.largest < sd15.blocks < sd15.unet
    assert per_gpu(sd15, "ddp", pictures=8, kept=KEPT["sd15", 512, False])["total"] < 22  # the recipe's promise: 24 GB


@pytest.mark.parametrize("name", ["ddp", "fsdp", "deepspeed"])
def test_accelerate_reads_the_launch_configurations(name: str) -> None:
    """ClusterConfig refuses keys that it does not know; those of the two groups are the launcher's options."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(LAUNCH / f"{name}.yaml"))
    options = {action.dest for action in launch_command_parser()._actions}
    assert set(config.fsdp_config) | set(config.deepspeed_config) <= options
    assert config.num_processes > 1
    if name == "fsdp":
        assert config.fsdp_config["fsdp_version"] == 2
    if name == "deepspeed":
        assert config.deepspeed_config["zero_stage"] == 2
