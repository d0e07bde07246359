"""FaceAdapter: the published numbers from end to end, files, photos, and what it says when something does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facefact import FaceAdapter, FaceCrop, FaceTokens, UserError
from facefact.encoder import Resampler, ResamplerConfig, TransFace, TransFaceConfig
from golden import published
from tiny import tiny_pipeline

SMALL_VIT = TransFaceConfig(patch_size=28, width=64, depth=1, heads=1, mlp_ratio=2.0, embedding_size=8)
SMALL_RESAMPLER = ResamplerConfig(
    input_width=64, width=16, depth=1, heads=1, head_width=64, queries=4, output_width=32, ff_mult=2
)


def small(host: Any, *, gate: float = 0.5) -> FaceAdapter:
    torch.manual_seed(0)
    return FaceAdapter.new(host, encoder=TransFace(SMALL_VIT), resampler_config=SMALL_RESAMPLER, gate=gate).eval()


def save_as_published(adapter: FaceAdapter, directory: Path, **changes: Any) -> dict[str, Path]:
    files = {"adapter": directory / "x.ckpt", "encoder": directory / "y.pt"}
    state = published.as_published(adapter)
    for block in adapter.layers.configs:
        state[f"{block}.attn2.processor.ln.weight"] = torch.ones(3)  # the base's own: must be ignored
    state = {name: value for name, value in (state | changes).items() if value is not None}
    torch.save(state, files["adapter"])
    torch.save(adapter.encoder.state_dict(), files["encoder"])
    return files


def crop(seed: int = 0) -> FaceCrop:
    pixels = np.random.default_rng(seed).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    return FaceCrop(pixels=pixels, matrix=np.eye(2, 3), head=np.ones((9, 9), bool), face=None)  # type: ignore[arg-type]


def same(a: FaceAdapter, b: FaceAdapter) -> bool:
    state, other = a.state_dict(), b.state_dict()
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


# The published network


@pytest.fixture(scope="module")
def small_published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, FaceAdapter]:
    """Published shapes of encoder and resampler, and a small U-Net with SD1.5's block names, by way of the two
    files."""
    directory = tmp_path_factory.mktemp("published")
    unet = published.small_unet()
    base, layers = published.small_unet_states(unet)
    unet.load_state_dict(base)
    shapes = {k[14:]: v for k, v in published.keys("adapter_sd15").items() if k.startswith("local_fac_prj.")}
    resampler = {f"local_fac_prj.{k}": v for k, v in published.make_state(shapes).items()}
    torch.save(resampler | layers, directory / "x.ckpt")
    torch.save(published.make_state(published.keys("transface")), directory / "y.pt")
    adapter = FaceAdapter.from_facechain(adapter=str(directory / "x.ckpt"), encoder=directory / "y.pt")
    shutil.rmtree(directory)  # half a gigabyte
    return unet, adapter


@torch.no_grad()
def test_published_tokens(small_published: tuple[Any, FaceAdapter]) -> None:
    _, adapter = small_published
    assert not adapter.training
    tokens, golden = adapter.tokens(published.inputs()["face_img"]), published.outputs()
    assert tokens.face.shape == tokens.null.shape == (1, 32, 768)
    torch.testing.assert_close(tokens.face[:, ::8], golden["e2e_pos"], atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.null[:, ::8], golden["e2e_neg"], atol=1e-5, rtol=0)
    assert adapter.encoder(published.inputs()["face_img"]).shape == (2, 144, 512)


@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize("scale", [0.0, 0.7, 1.0])
@torch.no_grad()
def test_published_noise(small_published: tuple[Any, FaceAdapter], pictures: int, scale: float) -> None:
    unet, adapter = small_published
    inputs, golden = published.inputs(), published.outputs()
    face = inputs["face_tokens"][:, : 16 * pictures]
    call = (inputs["latents"], inputs["timestep"], inputs["text"])
    adapter.attach(unet)
    try:
        # as two people without guidance, and as one person whose null face is the first row
        kwargs = adapter.condition(FaceTokens(face=face, null=face), scale=scale, guidance=False)
        guided = adapter.condition(FaceTokens(face=face[1:], null=face[:1]), scale=scale)
        noise = [unet(*call, cross_attention_kwargs=k).sample for k in (kwargs, guided)]
        base = unet(*call).sample
    finally:
        adapter.detach()
    torch.testing.assert_close(noise[0], golden[f"eps_n{pictures}_s{scale}"], atol=5e-6, rtol=0)
    torch.testing.assert_close(noise[0], noise[1], atol=5e-6, rtol=0)
    assert torch.equal(base, noise[0]) == (scale == 0)


@torch.no_grad()
def test_published_layer(small_published: tuple[Any, FaceAdapter]) -> None:
    unet, adapter = small_published
    inputs, golden = published.inputs(), published.outputs()
    face = inputs["face_tokens"][:, :16]
    adapter.attach(unet)
    with adapter.record() as increments:
        kwargs = adapter.condition(FaceTokens(face=face, null=face), scale=0.7, guidance=False)
        unet(inputs["latents"], inputs["timestep"], inputs["text"], cross_attention_kwargs=kwargs)
    adapter.detach()
    layer = next(i for i in increments if i.block == "down_blocks.1.attentions.0.transformer_blocks.0")
    torch.testing.assert_close(layer.entering[:, ::4], golden["layer_hidden_in"], atol=1e-5, rtol=0)
    after = (layer.entering + layer.whole)[:, ::4]
    torch.testing.assert_close(after, golden["layer_hidden_after_gates"], atol=1e-5, rtol=0)


def test_published_file_names_match_an_sd15_unet() -> None:
    from diffusers import UNet2DConditionModel

    from facefact.adapter import facechain, layer_configs
    from facefact.adapter.layer import AdapterLayers

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        state = {name: torch.empty(shape) for name, shape in published.keys("adapter_sd15").items()}
        _, layers = facechain.split(state, source="x.ckpt")
        ours = AdapterLayers(layer_configs(unet))
    assert {k: v.shape for k, v in layers.items()} == {k: v.shape for k, v in ours.state_dict().items()}
    read = facechain.configs_from_state(layers, source="x.ckpt")
    assert read.keys() == layer_configs(unet).keys()
    assert {name: (c.width, c.token_width, c.inner_width, c.ff_mult) for name, c in read.items()} == {
        name: (c.width, c.token_width, c.inner_width, c.ff_mult) for name, c in layer_configs(unet).items()
    }


@pytest.mark.slow
@torch.no_grad()
def test_published_sizes(tmp_path: Path) -> None:
    """Files as large as the published ones (1.4 GB) onto a U-Net of SD1.5's size."""
    from diffusers import UNet2DConditionModel

    shapes = published.keys("adapter_sd15")
    torch.save({name: torch.full(shape, 0.01) for name, shape in shapes.items()}, tmp_path / "x.ckpt")
    torch.save(published.make_state(published.keys("transface")), tmp_path / "y.pt")
    adapter = FaceAdapter.from_facechain(adapter=tmp_path / "x.ckpt", encoder=tmp_path / "y.pt")
    shutil.rmtree(tmp_path)
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
    assert sum(p.numel() for p in adapter.layers.parameters()) == sum(
        torch.Size(s).numel() for k, s in shapes.items() if ".attn2.processor." in k and ".ln." not in k
    )
    adapter.attach(unet).detach()


# Files


def test_save_and_load(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    adapter = small(pipe)
    adapter.save_pretrained(tmp_path / "a", about={"base": "tiny", "scores": [1.5]})
    loaded = FaceAdapter.from_pretrained(tmp_path / "a")
    assert same(adapter, loaded)
    assert loaded.content_hash() == adapter.content_hash()
    assert loaded.layers.configs == adapter.layers.configs
    assert loaded.about == {"base": "tiny", "scores": [1.5]}
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.encoder.parameters())
    assert all(p.requires_grad for p in loaded.trainable_parameters())
    loaded.attach(pipe)
    loaded.save_pretrained(tmp_path / "b")  # while attached
    assert same(adapter, FaceAdapter.from_pretrained(str(tmp_path / "b")))
    assert json.loads((tmp_path / "b" / "config.json").read_text())["about"]["base"] == "tiny"


def test_half_precision_storage(tmp_path: Path) -> None:
    adapter = small(tiny_pipeline())
    adapter.save_pretrained(tmp_path / "a", dtype=torch.float16)
    adapter.save_pretrained(tmp_path / "b")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in "ab"]
    assert sizes[0] < 0.6 * sizes[1]
    assert FaceAdapter.from_pretrained(tmp_path / "a").dtype == torch.float32
    half = FaceAdapter.from_pretrained(tmp_path / "a", dtype=torch.float16)
    assert half.dtype == half.layers[next(iter(half.layers.configs))].alpha_attn.dtype == torch.float16
    assert half.encoder.state_dict()["feature.1.num_batches_tracked"].dtype == torch.int64


@torch.no_grad()
def test_through_the_published_format(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    adapter = small(pipe)
    files = save_as_published(adapter, tmp_path, something_else=torch.zeros(1))
    loaded = FaceAdapter.from_facechain(**files)
    assert same(adapter, loaded)
    assert {c.heads for c in loaded.layers.configs.values()} == {None}
    loaded.attach(pipe).save_pretrained(tmp_path / "ours")
    again = FaceAdapter.from_pretrained(tmp_path / "ours")
    loaded.detach()
    again.attach(pipe)
    assert [layer.attn.heads for _, layer in again.layers.items()] == [
        layer.attn.heads for _, layer in adapter.layers.items()
    ]


def test_published_files_that_do_not_fit(tmp_path: Path) -> None:
    adapter = small(tiny_pipeline())
    block = next(iter(adapter.layers.configs))
    norm = f"{block}.attn2.processor.norm1.bias"
    files = save_as_published(adapter, tmp_path, **{norm: None})
    with pytest.raises(UserError, match=rf"x\.ckpt does not fit: lacks {block}\.norm1\.bias"):
        FaceAdapter.from_facechain(**files)
    files = save_as_published(adapter, tmp_path, **{norm: torch.zeros(3)})
    with pytest.raises(UserError, match=rf"{block}\.norm1\.bias is 3, expected 32"):
        FaceAdapter.from_facechain(**files)
    files = save_as_published(adapter, tmp_path)
    with pytest.raises(UserError, match=r"y\.pt is not a FaceChain-FACT adapter: it has no local_fac_prj"):
        FaceAdapter.from_facechain(adapter=files["encoder"], encoder=files["encoder"])
    with pytest.raises(UserError, match=r"x\.ckpt is not a TransFace encoder"):
        FaceAdapter.from_facechain(adapter=files["adapter"], encoder=files["adapter"])
    with pytest.raises(UserError, match=r"nothing\.pt does not exist"):
        FaceAdapter.from_facechain(adapter=files["adapter"], encoder="nothing.pt")


def test_directories_that_do_not_fit(tmp_path: Path) -> None:
    for source in (tmp_path / "nowhere", "./nowhere", "nowhere", "a/b/c"):
        with pytest.raises(UserError, match="nowhere|a/b/c"):
            FaceAdapter.from_pretrained(source)
    with pytest.raises(UserError, match=r"no/such is no directory here, and the hub did not give it") as caught:
        FaceAdapter.from_pretrained("no/such", local_files_only=True)
    assert "\n" not in str(caught.value)
    tiny_pipeline().unet.save_pretrained(tmp_path / "unet")
    with pytest.raises(UserError, match="is not a face adapter"):
        FaceAdapter.from_pretrained(tmp_path / "unet")
    small(tiny_pipeline()).save_pretrained(tmp_path / "a")
    path = tmp_path / "a" / "config.json"
    config = json.loads(path.read_text())
    for change, message in (
        ({"version": 2}, "format version 2, this facefact reads 1"),
        ({"resampler": config["resampler"] | {"depth": 2}}, r"a does not fit: lacks resampler\.layers\.1"),
        ({"encoder": {"width": 64, "colour": 1}}, r"encoder\.colour"),
        ({"layers": None}, "not whole"),
    ):
        path.write_text(json.dumps(config | change))
        with pytest.raises(UserError, match=message) as caught:
            FaceAdapter.from_pretrained(tmp_path / "a")
        assert "\n" not in str(caught.value)


# Photos


@torch.no_grad()
def test_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def face_crop(picture: Any, *, detector: Any = None, which: int = 0) -> FaceCrop:
        asked.append((picture, detector, which))
        return crop(len(asked))

    monkeypatch.setattr("facefact.faces.face_crop", face_crop, raising=False)
    adapter = small(tiny_pipeline())
    one = adapter.encode("me.jpg", which=1)
    assert one.face.shape == (1, 4, 32)
    several = adapter.encode([Image.new("RGB", (4, 4)), Path("b.png")], detector="d")
    assert several.face.shape == several.null.shape == (1, 8, 32)
    assert [(which, detector) for _, detector, which in asked] == [(1, None), (0, "d"), (0, "d")]
    pixels = torch.from_numpy(crop(1).pixels).permute(2, 0, 1)[None].double() / 127.5 - 1
    torch.testing.assert_close(one.face, adapter.tokens(pixels).face)
    assert torch.equal(adapter.encode(crop(1)).face, one.face), "a crop needs no detection"
    assert not one.face.requires_grad
    with pytest.raises(UserError, match="no picture"):
        adapter.encode([])


def test_pictures_of_one_person_are_concatenated() -> None:
    adapter = small(tiny_pipeline())
    pixels = torch.rand(3, 3, 112, 112) * 2 - 1
    tokens = adapter.tokens(pixels)
    for i in range(3):
        torch.testing.assert_close(tokens.face[:, 4 * i : 4 * i + 4], adapter.tokens(pixels[i : i + 1]).face)
        assert torch.equal(tokens.null[:, 4 * i : 4 * i + 4], adapter.null_tokens())
    assert not tokens.face.requires_grad
    adapter.train().tokens(pixels).face.sum().backward()
    assert adapter.resampler.latents.grad is not None
    assert all(p.grad is None for p in adapter.encoder.parameters())
    for shape in ((3, 112, 112), (1, 3, 96, 96), (0, 3, 112, 112)):
        with pytest.raises(UserError, match=r"faces must be \(n, 3, 112, 112\)"):
            adapter.tokens(torch.zeros(shape))


# Putting it together


def test_parts_must_fit() -> None:
    pipe = tiny_pipeline()
    adapter = small(pipe)
    with pytest.raises(UserError, match="the encoder's tokens are 64 wide, the resampler reads 512"):
        FaceAdapter.new(pipe, encoder=TransFace(SMALL_VIT), resampler_config=ResamplerConfig(output_width=32))
    with pytest.raises(UserError, match="output_width is 768, the model's text is 32 wide"):
        FaceAdapter.new(pipe, encoder=TransFace(SMALL_VIT), resampler_config=ResamplerConfig())
    with pytest.raises(UserError, match="the resampler's tokens are 8 wide, the layer of"):
        FaceAdapter(
            encoder=TransFace(SMALL_VIT),
            resampler=Resampler(ResamplerConfig(input_width=64, output_width=8)),
            layers=adapter.layers,
        )
    with pytest.raises(UserError, match=r"tokens are \(1, 16, 768\), this adapter reads \(people, tokens, 32\)"):
        adapter.condition(FaceTokens(face=torch.zeros(1, 16, 768), null=torch.zeros(1, 16, 768)))
    with pytest.raises(UserError, match=r"null tokens \(1, 4, 32\) do not pair with face \(1, 8, 32\)"):
        adapter.condition(FaceTokens(face=torch.zeros(1, 8, 32), null=torch.zeros(1, 4, 32)))


def test_a_fresh_adapter_fits_its_host() -> None:
    pipe = tiny_pipeline()
    adapter = FaceAdapter.new(pipe.unet, encoder=TransFace(SMALL_VIT))
    assert adapter.resampler.config == ResamplerConfig(input_width=64, output_width=32)
    assert adapter.training
    assert not adapter.encoder.training
    assert all(layer.alpha_attn.item() == layer.alpha_dense.item() == 0 for _, layer in adapter.layers.items())
    learned = {id(p) for p in adapter.trainable_parameters()}
    assert learned == {id(p) for p in adapter.parameters() if p.requires_grad}


def test_everything_moves_together() -> None:
    adapter = small(tiny_pipeline())
    assert adapter.to(torch.device("cpu"), torch.bfloat16) is adapter
    assert adapter.dtype == torch.bfloat16
    assert adapter.device == torch.device("cpu")
    assert adapter.tokens(torch.zeros(1, 3, 112, 112)).face.dtype == torch.bfloat16


def test_an_adapter_for_some_blocks_is_saved_and_opened_as_one(tmp_path: Path) -> None:
    pipe = tiny_pipeline()
    whole = small(pipe)
    some = whole.with_blocks(["up_blocks"])
    some.save_pretrained(tmp_path / "some", about={"why": "small"})
    assert json.loads((tmp_path / "some/config.json").read_text())["blocks"] == ["up_blocks"]
    again = FaceAdapter.from_pretrained(tmp_path / "some")
    assert same(again, some)
    assert 0 < len(again.layers) < len(whole.layers)
    again.attach(pipe).detach()
    whole.save_pretrained(tmp_path / "whole")
    config = json.loads((tmp_path / "whole/config.json").read_text())
    assert config["blocks"] is None
    del config["blocks"]  # as those that were saved before there were any
    (tmp_path / "whole/config.json").write_text(json.dumps(config))
    assert same(FaceAdapter.from_pretrained(tmp_path / "whole").attach(pipe).detach(), whole)
    config["blocks"] = ["up_blocks"]
    (tmp_path / "whole/config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="is in none of its blocks"):
        FaceAdapter.from_pretrained(tmp_path / "whole")
    with pytest.raises(UserError, match="no block that reads the text is in 'mid_block'"):
        some.with_blocks(["mid_block"])
