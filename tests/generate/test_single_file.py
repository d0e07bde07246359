from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from facefact.generate import Studio, file_hash, load_base, native_size, single_file
from facefact.types import UserError
from one_file import as_one_file, autoencoder_as_one_file, configs_of
from tiny import tiny_adapter, tiny_pipeline


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    tiny_pipeline().save_pretrained(folder := tmp_path_factory.mktemp("tiny"))
    return configs_of(folder)


@pytest.fixture
def file(pipe: Any, configs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of the tiny pipeline, which counts as SD1.5 here."""
    monkeypatch.setattr(single_file, "known", lambda kind: configs)
    monkeypatch.setitem(single_file.TEXT_WIDTHS, 32, "sd15")
    save_file(as_one_file(pipe), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def picture(pipe: Any) -> np.ndarray:
    return pipe("a red x", num_inference_steps=2, output_type="np", generator=torch.manual_seed(0)).images


def test_a_file_is_the_pipeline_that_it_was_made_of(pipe: Any, file: Path) -> None:
    opened = load_base(file)
    np.testing.assert_array_equal(picture(opened), picture(pipe))
    assert native_size(opened) == 64
    assert load_base(file, dtype=torch.bfloat16).unet.dtype == torch.bfloat16


@pytest.mark.parametrize("accelerate", [True, False])
def test_a_file_that_lacks_weights_is_not_filled_with_noise(
    pipe: Any, file: Path, accelerate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not accelerate:
        monkeypatch.setattr("diffusers.loaders.single_file_model.is_accelerate_available", lambda: False)
        monkeypatch.setattr("diffusers.loaders.single_file_model._LOW_CPU_MEM_USAGE_DEFAULT", False)
    for prefix in ("model.diffusion_model.mid", "first_stage_model.decoder.mid.block_1.conv1"):
        save_file({key: value for key, value in as_one_file(pipe).items() if not key.startswith(prefix)}, file)
        with pytest.raises(UserError, match=r"lacks (\d+ )?weights"):
            load_base(file)


def test_a_studio_stands_on_a_file(pipe: Any, file: Path, tmp_path: Path) -> None:
    tiny_adapter(pipe).save_pretrained(tmp_path / "adapter")
    studio = Studio.open(model=str(file), adapter=str(tmp_path / "adapter"), device="cpu", offline=True)
    assert studio.origin["model"] == {"name": "tiny.safetensors", "sha256": file_hash(file)}
    with pytest.raises(UserError, match="has no face adapter inside"):
        Studio.open(model=str(file), device="cpu")


def test_an_inpainting_file_is_an_inpainting_pipeline(file: Path) -> None:
    save_file(as_one_file(tiny_pipeline(in_channels=9)), file)
    opened = load_base(file)
    assert type(opened).__name__ == "StableDiffusionInpaintPipeline"
    assert opened.unet.config.in_channels == 9


@pytest.mark.parametrize(
    ("about", "extra", "prediction"),
    [
        ({}, [], "epsilon"),
        ({"modelspec.prediction_type": "v"}, [], "v_prediction"),
        ({}, ["v_pred", "ztsnr"], "v_prediction"),
        ({"modelspec.architecture": "stable-diffusion-v2-512"}, [], "epsilon"),
    ],
)
def test_what_a_model_predicts(
    configs: dict[str, Any], about: dict[str, str], extra: list[str], prediction: str
) -> None:
    shapes = {single_file.UNET_IN: [32, 4, 3, 3]} | {name: [0] for name in extra}
    scheduler = single_file.adapted(configs, shapes, about)["scheduler/scheduler_config.json"]
    assert scheduler.get("prediction_type", "epsilon") == prediction
    assert scheduler.get("rescale_betas_zero_snr", False) == ("ztsnr" in extra)


def test_files_that_cannot_be_opened_say_why(pipe: Any, file: Path, tmp_path: Path) -> None:
    state, other = as_one_file(pipe), tmp_path / "other.safetensors"
    whole = file.read_bytes()
    lacking = {name: value for name, value in state.items() if "output_blocks.0.0.in_layers" not in name}
    cases: list[tuple[Any, str]] = [
        (whole[:-10], "not a whole .safetensors"),
        (b"PK" + whole, "which is not opened here"),
        ({"lora_unet_down.lora_up.weight": torch.zeros(2)}, "but a LoRA: give it with --lora"),
        (autoencoder_as_one_file(pipe.vae), "but an autoencoder: give it with --vae"),
        ({"a": torch.zeros(1)}, "no one-file checkpoint of SD1.5, SD2 or SDXL$"),
        (lacking, "it lacks weights"),
        ({k: v for k, v in state.items() if "cond_stage" not in k}, "Failed to load CLIPTextModel"),
    ]
    for content, message in cases:
        other.write_bytes(content) if isinstance(content, bytes) else save_file(content, other)
        with pytest.raises(UserError, match=message) as raised:
            load_base(other)
        assert "\n" not in str(raised.value)


def test_the_kinds_are_told_by_their_shapes() -> None:
    sd = {single_file.UNET_IN: [320, 4, 3, 3]}
    for more, kind in [
        ({single_file.SD_TEXT_KEYS: [320, 768]}, "sd15"),
        ({single_file.SD_TEXT_KEYS: [320, 1024]}, "sd2"),
        ({single_file.SDXL_TEXT: [77, 1280]}, "sdxl"),
    ]:
        assert single_file.kind_of(sd | more, file=Path("x")) == kind


@pytest.mark.parametrize(
    ("kind", "unet", "texts"),
    [
        ("sd15", 859_520_964, [123_060_480]),
        ("sd2", 865_910_724, [340_387_840]),
        ("sdxl", 2_567_463_684, [123_060_480, 694_659_840]),
    ],
)
def test_the_configs_are_of_the_published_sizes(kind: str, unet: int, texts: list[int]) -> None:
    import transformers
    from diffusers import AutoencoderKL, UNet2DConditionModel

    configs = single_file.known(kind)

    def parameters(module: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    with torch.device("meta"):
        assert parameters(UNet2DConditionModel.from_config(configs["unet/config.json"])) == unet
        assert parameters(AutoencoderKL.from_config(configs["vae/config.json"])) == 83_653_863
        for name, count in zip(("text_encoder", "text_encoder_2"), texts, strict=False):
            config = configs[f"{name}/config.json"]
            encoder = getattr(transformers, config["architectures"][0])
            assert parameters(encoder(transformers.CLIPTextConfig(**config))) == count


def test_the_tokenizer_is_clips(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    single_file.write_configs(tmp_path, single_file.known("sdxl"))
    first, second = (CLIPTokenizer.from_pretrained(tmp_path / name) for name in ("tokenizer", "tokenizer_2"))
    assert len(first) == 49408
    words = first("A photo of a cat, smiling!", padding="max_length")["input_ids"]
    assert words[:10] == [49406, 320, 1125, 539, 320, 2368, 267, 9200, 256, 49407]
    assert len(words) == 77
    assert words[-1] == 49407
    assert second("a", padding="max_length")["input_ids"][-1] == 0
