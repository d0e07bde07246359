"""The cached set and its batches: drop rates, the shuffle, and shards that are the same however they are made."""

from __future__ import annotations

import pytest
import torch
from parts import LOOKS, base, portraits

from facefact.encoder import TransFace, TransFaceConfig
from facefact.train.autoencoder import AutoencoderConfig, new_autoencoder
from facefact.train.base_model import BaseConfig, new_tokenizer
from facefact.train.portrait_set import PEOPLE_PER_SHARD, batches, fill, load, render_shard
from facefact.types import UserError
from facefact.world import caption, look


@pytest.fixture(scope="module")
def tokenizer():
    return new_tokenizer(BaseConfig())


def drawn(tokenizer, count=40, **options):
    """Many batches put together; and which picture each latent and each condition is (see `parts.portraits`)."""
    data = portraits()
    source = batches(data, tokenizer, batch=16, seed=7, **options)(0)
    together = [next(source) for _ in range(count)]
    joined = {name: torch.cat([one[name] for one in together]) for name in together[0]}
    first = {tuple(row.tolist()): i for i, row in enumerate(data.latents[:, 0, 0, :4].float())}
    picture = torch.tensor([first[tuple(row.tolist())] for row in joined["latents"][:, 0, 0, :4]])
    return joined, picture, joined["tokens"][:, 0, 0].long()


def test_shuffled_the_condition_is_always_another_picture_of_the_same_person(tokenizer) -> None:
    _, picture, condition = drawn(tokenizer, shuffle=1.0)
    assert (picture != condition).all()
    assert torch.equal(picture // LOOKS, condition // LOOKS)
    pairs = {(int(a) % LOOKS, int(b) % LOOKS) for a, b in zip(picture, condition, strict=True)}
    assert len(pairs) == LOOKS * (LOOKS - 1)  # every other picture can be the one


def test_not_shuffled_it_is_the_picture_itself_and_in_between_the_share_is_kept(tokenizer) -> None:
    _, picture, condition = drawn(tokenizer, shuffle=0.0)
    assert torch.equal(picture, condition)
    _, picture, condition = drawn(tokenizer, shuffle=0.3)
    assert float((picture != condition).float().mean()) == pytest.approx(0.3, abs=0.08)


def test_text_and_face_are_dropped_apart_at_their_rates(tokenizer) -> None:
    batch, _, _ = drawn(tokenizer, text_drop=0.3, face_drop=0.2, phrase_drop=0.0)
    empty = torch.tensor(tokenizer("", padding="max_length", max_length=40).input_ids)
    no_text, no_face = (batch["ids"] == empty).all(1), batch["face_dropped"]
    assert float(no_text.float().mean()) == pytest.approx(0.3, abs=0.06)
    assert float(no_face.float().mean()) == pytest.approx(0.2, abs=0.06)
    assert float((no_text & no_face).float().mean()) == pytest.approx(0.06, abs=0.04)


def test_the_words_are_those_of_the_picture(tokenizer) -> None:
    batch, picture, _ = drawn(tokenizer, count=2, text_drop=0.0, phrase_drop=0.0)
    data = portraits()
    for ids, index in zip(batch["ids"], picture, strict=True):
        text = tokenizer.decode(ids, skip_special_tokens=True)
        assert text.replace(" ", "") == caption(data.look(int(index))).replace(" ", "")


def test_batches_are_a_function_of_seed_step_and_process(tokenizer) -> None:
    data = portraits()
    make = lambda **options: batches(data, tokenizer, batch=4, **options)  # noqa: E731
    from_start = make(seed=1)(0)
    next(from_start), next(from_start)
    third, again = next(from_start), next(make(seed=1)(2))
    assert all(torch.equal(third[name], again[name]) for name in third)
    for other in (make(seed=2)(2), make(seed=1, rank=1)(2)):
        assert not torch.equal(next(other)["latents"], third["latents"])


def networks():
    torch.manual_seed(0)
    autoencoder = new_autoencoder(AutoencoderConfig(widths=(8, 8, 8, 8), latent_channels=4)).eval()
    autoencoder.register_to_config(scaling_factor=1.0)
    encoder = TransFace(TransFaceConfig(patch_size=28, width=16, depth=1, heads=2, embedding_size=8)).eval()
    return {"autoencoder": autoencoder, "encoder": encoder}


def test_a_set_is_the_same_however_many_fill_it(tmp_path) -> None:
    parts = networks()
    options = {"people": 2 * PEOPLE_PER_SHARD, "looks": 1, "seed": 3, **parts}
    fill(tmp_path / "one", **options)
    for rank in (1, 0):
        fill(tmp_path / "two", **options, rank=rank, world_size=2)
    a, b = load(tmp_path / "one", looks=1), load(tmp_path / "two", looks=1)
    assert len(a) == 64
    for name in ("latents", "tokens", "face", "choices", "yaw"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").iterdir()}
    fill(tmp_path / "one", **options)
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "one").iterdir()}
    with pytest.raises(UserError, match="give another folder"):
        fill(tmp_path / "one", **options | {"seed": 4})


def test_a_shard_holds_what_is_said_of_it() -> None:
    shard = render_shard(0, looks=1, seed=3, **networks())
    n = PEOPLE_PER_SHARD
    assert shard["latents"].shape == (n, 4, 16, 16)
    assert shard["tokens"].shape == (n, 16, 16)
    assert shard["face"].shape == (n, 16, 16)
    share = shard["face"].float().mean((1, 2)) / 255
    assert (share > 0.08).all()
    assert (share < 0.5).all()
    assert shard["yaw"].abs().max() <= 30


def test_a_look_comes_back_from_the_set() -> None:
    data = portraits()
    shown = data.look(5)
    assert set(shown.choices) == set(look(0).choices)
    assert len(data) == 24


def test_an_empty_folder_is_an_error(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="fill it first"):
        load(tmp_path, looks=2)


def test_the_tiny_base_model_reads_the_batches(tokenizer) -> None:
    from facefact.train.base_model import BaseStage, new_scheduler

    unet, text_encoder, own = base()
    terms = BaseStage(unet, text_encoder, new_scheduler())(next(batches(portraits(), own, batch=4, seed=1)(0)))
    assert torch.isfinite(terms["loss"])
    assert float(terms["loss"].detach()) == pytest.approx(1.0, abs=0.5)  # of unit variance, and nothing learned
