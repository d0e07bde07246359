"""What stands for the person: shuffle, policies, several pictures, drops; all drawn from seed and step alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from parts import LOOKS, filled, frozen

from facefact.train.engine.schedule import Schedule
from facefact.train.material.conditions import batches, choose, choose_condition, drop_rate, others, shortened
from facefact.train.material.people import People
from facefact.train.material.samples import Phrase
from facefact.train.settings import AdapterTraining, Condition, Data
from facefact.types import UserError


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("cache"), frozen(), people=6)


def drawn(cache, settings: Condition, *, step: int = 0, batch: int = 400):
    return choose(cache.people, settings, step=step, batch=batch, rng=np.random.default_rng(3))


def test_the_condition_is_another_picture_of_the_same_person(cache) -> None:
    chosen = drawn(cache, Condition(shuffle=1.0))
    assert chosen.condition.shape == (400, 1)
    assert np.array_equal(cache.persons[chosen.target], cache.persons[chosen.condition[:, 0]])
    assert not (chosen.target == chosen.condition[:, 0]).any()
    counts = np.bincount(chosen.condition[:, 0] % LOOKS, minlength=LOOKS)
    assert counts.min() > 60  # all of the others, about equally often


def test_without_shuffle_it_is_the_picture_itself(cache) -> None:
    chosen = drawn(cache, Condition(shuffle=0.0))
    assert np.array_equal(chosen.target, chosen.condition[:, 0])


def test_the_shuffle_follows_its_curve(cache) -> None:
    settings = Condition(shuffle=((0, 0.0), (100, 1.0)))
    for step, share in ((0, 0.0), (50, 0.5), (100, 1.0), (500, 1.0)):
        chosen = drawn(cache, settings, step=step)
        assert (chosen.target != chosen.condition[:, 0]).mean() == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize("policy", ["pose", "light"])
def test_the_policy_takes_the_most_different_one(cache, policy) -> None:
    measure = {"pose": cache.yaw, "light": cache.light}[policy]
    chosen = drawn(cache, Condition(policy=policy), batch=40)
    for target, other in zip(chosen.target, chosen.condition[:, 0], strict=True):
        same = np.flatnonzero(cache.persons == cache.persons[target])
        assert abs(measure[other] - measure[target]) == np.abs(measure[same] - measure[target]).max()


def test_the_pose_gap_is_kept_and_who_has_nobody_within_it_gets_no_face(cache) -> None:
    settings = Condition(pose_gap=10.0, face_drop=0.0)
    chosen = drawn(cache, settings)
    assert (np.abs(cache.yaw[chosen.target] - cache.yaw[chosen.condition[:, 0]]) <= 10).all()
    without = [i for i in range(len(cache)) if not len(others(cache.people, i, settings, gap=10.0))]
    assert 0 < len(without) < len(cache)
    assert np.array_equal(chosen.no_other_picture, np.isin(chosen.target, without))
    assert np.array_equal(chosen.face_dropped, chosen.no_other_picture)


@pytest.mark.parametrize("shuffle", [0.0, 0.3, 1.0])
def test_who_has_no_other_picture_is_copied_no_more_often_than_others(shuffle) -> None:
    """`shuffle` says how rarely a picture may stand for itself, for people of one picture too."""
    flat = np.zeros(5, np.float32)
    people = People(persons=np.array([0, 0, 0, 0, 1]), yaw=flat, light=flat, face_size=flat)
    settings = Condition(shuffle=shuffle, face_drop=0.1, pictures=3)
    chosen = choose(people, settings, step=0, batch=8000, rng=np.random.default_rng(2))
    lone = chosen.target == 4
    assert lone.mean() == pytest.approx(0.5, abs=0.02)
    assert not chosen.no_other_picture[~lone].any()
    assert chosen.no_other_picture[lone].mean() == pytest.approx(shuffle, abs=0.02)
    assert chosen.face_dropped[chosen.no_other_picture].all()
    assert chosen.face_dropped[lone].mean() == pytest.approx(1 - (1 - shuffle) * 0.9, abs=0.02)
    assert chosen.face_dropped[~lone].mean() == pytest.approx(0.1, abs=0.02)
    copied = (chosen.condition[:, 0] == chosen.target) & ~chosen.no_other_picture
    for who in (lone, ~lone):
        assert copied[who].mean() == pytest.approx(1 - shuffle, abs=0.02)


def test_people_come_equally_often_whatever_the_number_of_their_pictures(cache) -> None:
    rows = np.concatenate([np.arange(4), np.arange(4, 8)[:2], np.arange(8, 12)[:2]])
    few = cache.take(rows)
    chosen = drawn(few, Condition(), batch=3000)
    assert np.abs(np.bincount(few.persons[chosen.target]) / 3000 - 1 / 3).max() < 0.04
    largest = float(few.face_size[:4].max())
    settings = Condition(face_size=((0, largest), (10, 0.0)))
    fitting = np.unique(few.persons[few.face_size >= np.float32(largest)])
    early = few.persons[drawn(few, settings, batch=3000).target]
    assert np.array_equal(np.unique(early), fitting)
    shares = np.bincount(early)[fitting] / 3000
    assert np.abs(shares - 1 / len(fitting)).max() < 0.04


def test_several_pictures_are_different_ones_as_far_as_there_are(cache) -> None:
    settings, rng = Condition(pictures=4), np.random.default_rng(0)
    assert {drawn(cache, settings, step=s).condition.shape[1] for s in range(3)} <= {1, 2, 3, 4}
    for picture in range(8):
        three, _ = choose_condition(cache.people, picture, settings, step=0, pictures=3, rng=rng)
        assert len(set(three.tolist()) | {picture}) == 4  # all the others, each once
        assert len(choose_condition(cache.people, picture, settings, step=0, pictures=7, rng=rng)[0]) == 7


def test_drops_are_independent_but_for_those_together(cache) -> None:
    chosen = drawn(cache, Condition(face_drop=0.3, text_drop=0.2, both_drop=0.1), batch=20_000)
    face, text = chosen.face_dropped.mean(), chosen.text_dropped.mean()
    assert face == pytest.approx(1 - 0.7 * 0.9, abs=0.015)
    assert text == pytest.approx(1 - 0.8 * 0.9, abs=0.015)
    together = (chosen.face_dropped & chosen.text_dropped).mean()
    assert together == pytest.approx(0.1 + 0.9 * 0.3 * 0.2, abs=0.015)


def test_small_faces_wait(cache) -> None:
    middle = float(np.median(cache.face_size))
    settings = Condition(face_size=((0, middle), (10, 0.0)))
    assert cache.face_size[drawn(cache, settings).target].min() >= middle
    assert cache.face_size[drawn(cache, settings, step=10).target].min() < middle
    with pytest.raises(UserError, match=r"no picture has a face of 0\.99"):
        drawn(cache, Condition(face_size=0.99))


def test_only_optional_phrases_are_left_out() -> None:
    phrases = [Phrase("a person", optional=False), Phrase("smiling"), Phrase("with a cap", optional=False)]
    rng = np.random.default_rng(0)
    assert shortened(phrases, 1.0, rng) == "a person, with a cap"
    assert shortened(phrases, 0.0, rng) == "a person, smiling, with a cap"


def test_batches_are_functions_of_seed_and_step_for_any_number_of_processes(cache) -> None:
    settings = Condition(pictures=3, text_drop=0.5)
    whole = next(batches(lambda step: cache, settings, batch=8, seed=5)(3))
    parts = [
        next(batches(lambda step: cache, settings, batch=4, seed=5, rank=rank, processes=2)(3)) for rank in range(2)
    ]
    for name in ("latents", "text", "tokens", "face", "face_dropped", "no_other_picture", "person"):
        assert torch.equal(whole[name], torch.cat([one[name] for one in parts])), name
    stream = batches(lambda step: cache, settings, batch=8, seed=5)(2)
    next(stream)
    assert torch.equal(next(stream)["latents"], whole["latents"])
    assert int(whole["step"]) == 3


def test_a_step_has_as_many_batches_as_are_accumulated(cache) -> None:
    asked: list[int] = []
    stream = batches(lambda step: asked.append(step) or cache, Condition(), batch=2, seed=5, accumulate=2)(4)
    steps = [int(next(stream)["step"]) for _ in range(4)]
    assert steps == asked == [2, 2, 3, 3]


@pytest.mark.parametrize("mean", [0.0, 0.25, 0.8, 1.0])
def test_captions_lose_phrases_at_rates_of_their_own(mean) -> None:
    rng = np.random.default_rng(0)
    rates = np.array([drop_rate(mean, rng) for _ in range(4000)])
    assert rates.mean() == pytest.approx(mean, abs=0.02)
    assert (rates == 0).mean() == pytest.approx(max(0.0, 1 - 2 * mean), abs=0.02)  # whole captions remain


def test_live_text_gets_shortened_captions(cache) -> None:
    seen: list[str] = []

    def tokenize(captions):
        seen.extend(captions)
        return torch.zeros(len(captions), 3)

    given = next(batches(lambda step: cache, Condition(text_drop=0.5), batch=40, seed=1, tokenize=tokenize)(0))
    assert given["ids"].shape == (40, 3)
    assert "text" not in given
    assert 8 < sum(caption == "" for caption in seen) < 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition": Condition(shuffle=1.5)}, r"condition\.shuffle: 1\.5 lies outside 0"),
        ({"condition": Condition(face_drop=((10, 0.1), (5, 0.2)))}, r"condition\.face_drop: the steps .* must rise"),
        ({"condition": Condition(pictures=0)}, "0 pictures of a person"),
        ({"condition": Condition(phrase_drop=0.1)}, r"set data\.text=live"),
    ],
)
def test_wrong_settings_are_found_before_the_first_step(changes, message) -> None:
    with pytest.raises(UserError, match=message):
        AdapterTraining(Schedule(steps=1, batch=1), **changes).check()


def test_sizes_change_at_their_steps() -> None:
    data = Data(size=((0, 64), (100, 128)))
    assert [data.size_at(step) for step in (0, 99, 100, 500)] == [64, 64, 128, 128]
    assert Data(size=96).size_at(7) == 96
