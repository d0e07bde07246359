from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from facefact.generate import Settings, Studio
from facefact.generate.parts import Lora, add_loras, exchange_autoencoder, exchange_scheduler
from facefact.types import UserError
from one_file import autoencoder_as_one_file
from tiny import tiny_adapter, tiny_pipeline


def picture(pipe: Any) -> np.ndarray:
    return pipe("a red x", num_inference_steps=3, output_type="np", generator=torch.manual_seed(0)).images


@pytest.fixture
def lora(pipe: Any, tmp_path: Path) -> Path:
    """Of the tiny U-Net's cross-attention, as diffusers writes it."""
    names = [name for name, _ in pipe.unet.named_modules() if name.endswith("attn2.to_v")]
    generator = torch.Generator().manual_seed(5)
    state = {}
    for name in names:
        out, wide = pipe.unet.get_submodule(name).weight.shape
        state[f"unet.{name}.lora_A.weight"] = torch.randn(2, wide, generator=generator)
        state[f"unet.{name}.lora_B.weight"] = torch.randn(out, 2, generator=generator)
    save_file(state, tmp_path / "style.safetensors")
    return tmp_path / "style.safetensors"


def test_a_lora_counts_as_its_weight_says(pipe: Any, lora: Path) -> None:
    stock = picture(pipe)
    (said,) = add_loras(pipe, [Lora(lora, 0.0)])
    np.testing.assert_allclose(picture(pipe), stock, atol=1e-5)
    assert (said["name"], said["weight"], len(said["sha256"])) == ("style.safetensors", 0.0, 64)
    whole, halves = tiny_pipeline(), tiny_pipeline()
    add_loras(whole, [Lora(lora)])
    add_loras(halves, [Lora(lora, 0.5), Lora(lora, 0.5)])
    assert np.abs(picture(whole) - stock).max() > 0.01
    np.testing.assert_allclose(picture(halves), picture(whole), atol=1e-4)


def test_a_lora_as_it_is_typed(lora: Path) -> None:
    assert Lora.parse(str(lora)) == Lora(lora)
    assert Lora.parse(f"{lora}:0.6") == Lora(lora, 0.6)
    odd = lora.with_name("a:2")
    odd.write_bytes(b"")
    assert Lora.parse(str(odd)) == Lora(odd)
    for text in ("no.safetensors", "no.safetensors:0.5", f"{lora}:much"):
        with pytest.raises(UserError, match="no LoRA"):
            Lora.parse(text)


def test_a_lora_of_another_model_is_refused(pipe: Any, lora: Path) -> None:
    wrong = lora.with_name("wrong.safetensors")
    cases = {
        "does not fit": {"unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v.lora_A.weight": (2, 999)},
        "another kind|does not fit": {"transformer.blocks.0.attn.lora_A.weight": (2, 8)},
    }
    for message, shapes in cases.items():
        state = {name: torch.zeros(shape) for name, shape in shapes.items()}
        state |= {name.replace("lora_A", "lora_B"): torch.zeros(64, 2) for name in shapes}
        save_file(state, wrong)
        with pytest.raises(UserError, match=message) as raised:
            add_loras(tiny_pipeline(), [Lora(wrong)])
        assert "\n" not in str(raised.value)
    wrong.write_bytes(lora.read_bytes()[:-5])
    with pytest.raises(UserError, match="not a whole"):
        add_loras(pipe, [Lora(wrong)])


@pytest.mark.parametrize("name", ["EulerDiscrete", "eulerdiscretescheduler", "EulerDiscreteScheduler"])
def test_a_scheduler_by_its_name(pipe: Any, name: str) -> None:
    exchange_scheduler(pipe, name)
    assert type(pipe.scheduler).__name__ == "EulerDiscreteScheduler"
    assert pipe.scheduler.config.beta_start == 0.00085
    assert np.isfinite(picture(pipe)).all()


def test_the_nearest_scheduler_is_named(pipe: Any) -> None:
    with pytest.raises(UserError, match=r"no scheduler 'Eulr': did you mean Euler\w+\?"):
        exchange_scheduler(pipe, "Eulr")
    with pytest.raises(UserError, match=r"did you mean EulerDiscreteScheduler\?"):
        exchange_scheduler(pipe, "Euler")
    with pytest.raises(UserError, match=r"did you mean UniPCMultistepScheduler\? There are .*, PNDMScheduler, "):
        exchange_scheduler(pipe, "unipc")


def test_an_autoencoder_from_a_directory_or_a_file(pipe: Any, tmp_path: Path) -> None:
    other = tiny_pipeline()
    with torch.no_grad():
        other.vae.decoder.conv_out.bias += 0.5
    wanted = picture(other)
    other.save_pretrained(tmp_path / "pipeline")
    other.vae.save_pretrained(tmp_path / "vae")
    save_file(autoencoder_as_one_file(other.vae), tmp_path / "vae.safetensors")
    for source in ("pipeline", "vae", "vae.safetensors", "vae/diffusion_pytorch_model.safetensors"):
        fresh = tiny_pipeline()
        said = exchange_autoencoder(fresh, tmp_path / source)
        np.testing.assert_allclose(picture(fresh), wanted, atol=1e-6)
        assert (said["name"], len(said["sha256"])) == (Path(source).name, 64)


def test_what_is_no_autoencoder_of_this_model(pipe: Any, tmp_path: Path) -> None:
    tiny_pipeline(latent_channels=8).vae.save_pretrained(tmp_path / "eight")
    pipe.unet.save_pretrained(tmp_path / "unet")
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    for source, message in [
        ("eight", "has 8 latent channels, this model 4"),
        ("unet", "no autoencoder that diffusers knows"),
        ("a.safetensors", "cannot open .*AutoencoderKL"),
        ("none", "no autoencoder"),
    ]:
        with pytest.raises(UserError, match=message) as raised:
            exchange_autoencoder(pipe, tmp_path / source)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("stock_kernels", [True, False])
def test_a_studio_with_everything_exchanged(pipe: Any, lora: Path, tmp_path: Path, stock_kernels: bool) -> None:
    pipe.save_pretrained(tmp_path / "base")
    tiny_adapter(pipe).save_pretrained(tmp_path / "base" / "adapter")

    def portrait(**parts: Any) -> Any:
        studio = Studio.open(model=str(tmp_path / "base"), device="cpu", stock_kernels=stock_kernels, **parts)
        tokens = studio.adapter.tokens(torch.zeros(1, 3, 112, 112))
        return studio.text_to_image(tokens, Settings(prompt="x", steps=2))

    plain = portrait()
    changed = portrait(vae=tmp_path / "base" / "vae", scheduler="DDIM", loras=[f"{lora}:0.5"])
    assert (np.asarray(plain.image) != np.asarray(changed.image)).any()
    assert changed.recipe["scheduler"] == "DDIMScheduler"
    assert changed.recipe["model"]["vae"]["name"] == "vae"
    assert [one["weight"] for one in changed.recipe["model"]["loras"]] == [0.5]
    assert changed.recipe["model"]["sha256"] == plain.recipe["model"]["sha256"]
    assert "loras" not in plain.recipe["model"]
