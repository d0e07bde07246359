"""Jobs become pictures with the embedded model, at three steps."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facefact.apps.service.jobs import Job
from facefact.apps.service.store import FolderStore, StoreGone
from facefact.apps.service.work import Made, Maker, Stop
from facefact.generate import Studio, read_recipe
from facefact.generate.provenance import Provenance
from facefact.generate.watermark import METHOD, find_mark

Ask = Callable[..., Job]


class Watching:
    """Keeps what it is told, and stops the work after so many steps."""

    def __init__(self, stop_after: int = 1_000) -> None:
        self.progress: list[dict[str, float]] = []
        self.previews: list[tuple[str, int, Image.Image]] = []
        self.stop_after = stop_after

    def step(self, progress: dict[str, float]) -> None:
        self.progress.append(progress)
        if len(self.progress) >= self.stop_after:
            raise Stop("enough")

    def preview(self, id: str, number: int, image: Image.Image) -> None:
        self.previews.append((id, number, image))


def make(
    studio: Studio, store: FolderStore, jobs: list[Job], watch: Watching | None = None, batch: int = 4
) -> list[Made]:
    return list(Maker(studio, store, watch or Watching(), batch=batch).make(jobs))


def picture(store: FolderStore, key: str) -> np.ndarray:
    with Image.open(io.BytesIO(store.get(key))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def recipe(store: FolderStore, key: str) -> dict[str, Any]:
    return read_recipe(store.folder / key)


def test_a_batch_of_jobs_gives_what_each_gives_alone(studio: Studio, store: FolderStore, ask: Ask) -> None:
    asked = [
        ask(face=[0], settings={"seed": 1}, count=2),
        ask(face=[1], settings={"seed": 5, "format": "webp", "prompt": "portrait of a person, laughing, in the snow"}),
    ]
    watch = Watching()
    together = make(studio, store, asked, watch)
    assert [(one.job.id, one.reason) for one in together] == [(job.id, None) for job in asked]
    assert together[0].results == [f"{asked[0].id}/0.png", f"{asked[0].id}/1.png"]
    assert together[1].results == [f"{asked[1].id}/0.webp"]
    assert len(watch.progress) == 3  # one call of the pipeline
    assert watch.progress[-1] == {job.id: 1.0 for job in asked}
    again = [
        ask(face=[0], settings={"seed": 1}),
        ask(face=[0], settings={"seed": 2}),
        ask(face=[1], settings=asked[1].settings),
    ]
    alone = [key for job in again for one in make(studio, store, [job]) for key in one.results]
    keys = together[0].results + together[1].results
    for one, other in zip(keys, alone, strict=True):
        np.testing.assert_allclose(picture(store, one), picture(store, other), atol=1)
        said, same = recipe(store, one), recipe(store, other)
        assert said == same
    assert [recipe(store, key)["seed"] for key in keys] == [1, 2, 5]
    assert recipe(store, keys[2])["prompt"] == "portrait of a person, laughing, in the snow"
    assert (picture(store, keys[0]) != picture(store, keys[1])).any()


def test_what_an_earlier_attempt_left_is_not_made_again(studio: Studio, store: FolderStore, ask: Ask) -> None:
    job = ask(count=3, settings={"seed": 3})
    with pytest.raises(Stop):
        make(studio, store, [job], Watching(stop_after=5), batch=1)  # within the second picture
    assert [store.exists(f"{job.id}/{k}.png") for k in range(3)] == [True, False, False]
    first = store.get(f"{job.id}/0.png")
    watch = Watching()
    (made,) = make(studio, store, [job], watch, batch=1)
    assert len(watch.progress) == 2 * 3
    assert made.results == [f"{job.id}/{k}.png" for k in range(3)]
    assert store.get(made.results[0]) == first
    (fresh,) = make(studio, store, [ask(count=3, settings={"seed": 3})], batch=1)
    for one, other in zip(made.results, fresh.results, strict=True):
        np.testing.assert_allclose(picture(store, one), picture(store, other), atol=1)
    watch = Watching()
    assert make(studio, store, [job], watch) == [Made(job, made.results)]
    assert watch.progress == []


def test_previews_come_to_look_like_the_picture(studio: Studio, store: FolderStore, ask: Ask) -> None:
    asked = [ask(face=[0], settings={"steps": 8, "seed": 1}), ask(face=[1], settings={"steps": 8, "seed": 2})]
    watch = Watching()
    made = make(studio, store, asked, watch)
    assert [(id, number) for id, number, _ in watch.previews] == [(job.id, 0) for job in asked] * 3
    finals = {one.job.id: picture(store, one.results[0]) for one in made}
    for job in asked:
        shown = [np.asarray(image).astype(int) for id, _, image in watch.previews if id == job.id]
        apart = [np.abs(one - finals[job.id]).mean() for one in shown]
        assert apart[0] > apart[1] > apart[2]
        other = finals[next(one.id for one in asked if one is not job)]
        assert apart[2] < np.abs(shown[2] - other).mean() / 2  # each has its own


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "0 steps make no picture"),
        ({"steps": 1001}, "1001 steps are more"),
        ({"steps": "many"}, "steps: 'many' is not a whole number"),
        ({"scale": float("nan")}, "scale: nan is not a number"),
        ({"prompt": "  "}, "say what to show"),
        ({"width": 130}, "130 pixels is no size for this model"),
        ({"colour": "red"}, "'colour' is no setting of a portrait"),
        ({"control_image": "x"}, "'control_image' is no setting"),
        ({"format": "gif"}, "'gif' is no format"),
        ({"which": 3}, "there is no face 3"),
        ({"seed": 2**70}, "the seed"),
    ],
)
def test_a_wish_that_cannot_be_fails_alone_and_in_one_line(
    studio: Studio, store: FolderStore, ask: Ask, settings: dict[str, Any], said: str
) -> None:
    bad, good = ask(settings=settings), ask()
    ended = {one.job.id: one for one in make(studio, store, [bad, good])}
    reason = ended[bad.id].reason
    assert reason is not None
    assert said in reason
    assert "\n" not in reason
    assert "/tmp" not in reason
    assert ended[bad.id].results == []
    assert ended[good.id].reason is None


def test_photos_that_are_none(studio: Studio, store: FolderStore, ask: Ask) -> None:
    grey = io.BytesIO()
    Image.new("RGB", (128, 128), "grey").save(grey, "PNG")
    words, nobody, gone, none = ask(face=[b"words"]), ask(face=[grey.getvalue()]), ask(), ask(mask=[0])
    store.delete_all(f"{gone.id}/input")
    reasons = [one.reason or "" for one in make(studio, store, [words, nobody, gone, none])]
    assert "face/0.png" in reasons[0]
    assert "no face was found" in reasons[1] or "no avatar" in reasons[1]
    assert "gone" in reasons[2]
    assert "who is to be seen" in reasons[3]
    assert not any(str(Path("/tmp")) in reason for reason in reasons)


def test_warnings_belong_to_their_job_and_stay_out_of_the_log(
    studio: Studio, store: FolderStore, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    plain = ask()
    strange = ask(settings={"prompt": f"{plain.settings['prompt']}, riding a zebra"})
    first, second = make(studio, store, [plain, strange])
    assert any("zebra" in line for line in second.warnings)
    assert not any("zebra" in line for line in first.warnings)
    assert "zebra" not in caplog.text


def test_a_template_keeps_what_is_outside_of_the_face(
    studio: Studio, store: FolderStore, ask: Ask, photos: list[bytes]
) -> None:
    by_face = ask(kind="template", template=[2], face=[0], settings={"which": 0, "steps": 4})
    by_number = ask(kind="template", template=[2], put_0=[0], settings={"steps": 4}, count=2)
    watch = Watching()
    one, other = make(studio, store, [by_face, by_number], watch)
    assert (one.reason, other.reason) == (None, None)
    before = np.asarray(Image.open(io.BytesIO(photos[2])).convert("RGB")).astype(int)
    after = picture(store, one.results[0])
    changed = (before != after).any(2)
    assert 0.02 < changed.mean() < 0.6
    assert not changed[:4].any()
    np.testing.assert_allclose(after, picture(store, other.results[0]), atol=1)
    assert (picture(store, other.results[0]) != picture(store, other.results[1])).any()
    assert recipe(store, one.results[0])["kind"] == "inpainting"
    shares = [progress[by_number.id] for progress in watch.progress if by_number.id in progress]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    (refused,) = make(studio, store, [ask(kind="template", face=[0])])
    assert "no template" in (refused.reason or "")


def test_a_group_has_everybody_in_their_place(studio: Studio, store: FolderStore, ask: Ask) -> None:
    places = {"put.0": "0,0,0.5,1", "put.1": "0.5,0,1,1"}
    job = ask(kind="group", put_0=[0], put_1=[1], settings={"places": places, "width": 256, "height": 128})
    (made,) = make(studio, store, [job])
    assert made.reason is None
    said = recipe(store, made.results[0])
    assert (said["kind"], said["width"], said["height"]) == ("group", 256, 128)
    assert [one["place"] for one in said["people"]] == ["0,0,0.5,1", "0.5,0,1,1"]
    (refused,) = make(studio, store, [ask(kind="group", put_0=[0], settings={"places": {"put.7": "0,0,1,1"}})])
    assert "no photo" in (refused.reason or "")


def test_a_store_that_is_full_fails_no_job(studio: Studio, store: FolderStore, ask: Ask, monkeypatch: Any) -> None:
    def full(key: str, data: bytes) -> None:
        raise StoreGone("the store cannot be used: No space left on device")

    job = ask()
    with monkeypatch.context() as patch:
        patch.setattr(store, "put", full)
        with pytest.raises(StoreGone):
            make(studio, store, [job])
    assert make(studio, store, [job])[0].reason is None


def test_pictures_are_marked_where_the_service_marks(studio: Studio, store: FolderStore, ask: Ask) -> None:
    maker = Maker(studio, store, Watching(), provenance=Provenance(watermark=True))
    jobs = [ask(), ask(settings={"width": 64, "height": 64})]
    found = {one.job.id: one for one in maker.make(jobs)}
    (key,) = found[jobs[0].id].results
    assert find_mark(picture(store, key).astype(np.uint8)).found
    assert recipe(store, key)["watermark"] == METHOD
    assert "64x64 is too small for the invisible mark" in str(found[jobs[1].id].reason)


def test_what_an_earlier_attempt_left_unsigned_is_made_again(
    studio: Studio, store: FolderStore, ask: Ask, tmp_path: Path
) -> None:
    pytest.importorskip("c2pa", reason="without the extra c2pa nothing is signed")
    from facefact.generate.certificates import make_credentials
    from facefact.generate.signing import Signer, read_signature

    make_credentials(tmp_path / "keys", name="Ada")
    signing = Provenance(signer=Signer.open(tmp_path / "keys/key.pem", tmp_path / "keys/chain.pem"), watermark=True)
    jobs = [ask(settings={"seed": 3}), ask(kind="template", template=[2], face=[0])]
    make(studio, store, jobs)  # by a worker that did not sign
    watch = Watching()
    for one in Maker(studio, store, watch, provenance=signing).make(jobs):
        assert one.reason is None
        signature = read_signature(store.folder / one.results[0])
        assert signature is not None
        assert signature.signer == "Ada"
        assert recipe(store, one.results[0])["watermark"] == METHOD
    assert watch.progress
    watch = Watching()
    assert [one.reason for one in Maker(studio, store, watch, provenance=signing).make(jobs)] == [None, None]
    assert watch.progress == []


def test_a_recipe_names_its_style_and_jobs_of_two_styles_are_one_batch(
    studio: Studio, store: FolderStore, ask: Ask
) -> None:
    said = [{"name": name, "sha256": name * 64} for name in "ab"]
    jobs = [ask(settings={"style": style, "seed": seed}) for seed, style in enumerate(said)]
    assert jobs[0].alike == jobs[1].alike
    made = make(studio, store, jobs)
    assert [recipe(store, one.results[0])["style"] for one in made] == said


def test_an_exact_prompt_is_drawn_as_it_is(studio: Studio, store: FolderStore, ask: Ask) -> None:
    studio.exact_prompt = False
    try:
        jobs = [ask(settings={"prompt": "smiling", "exact_prompt": exact}) for exact in (True, False)]
        exact, chosen = (make(studio, store, [job])[0] for job in jobs)
    finally:
        studio.exact_prompt = True
    assert "words" not in recipe(store, exact.results[0])
    assert recipe(store, chosen.results[0])["words"]
    assert any("exact_prompt" in line for line in chosen.warnings)
    assert not any("--" in line or "exact_prompt" in line for line in exact.warnings)


@pytest.mark.parametrize(
    ("kind", "roles", "more"),
    [
        ("template", {"template": [2], "put_0": [0]}, {}),
        ("group", {"template": [2], "put_0": [0]}, {"places": {"put.0": "0"}}),
    ],
)
def test_an_exact_prompt_adds_nothing_of_the_template(
    studio: Studio, store: FolderStore, ask: Ask, kind: str, roles: dict[str, list[int]], more: dict[str, Any]
) -> None:
    def made(exact: bool | None, *, always: bool) -> np.ndarray:
        studio.exact_prompt = always
        wish = {"prompt": "in a blue hoodie", "exact_prompt": exact} | more
        try:
            (one,) = make(studio, store, [ask(kind=kind, settings=wish, **roles)])
        finally:
            studio.exact_prompt = True
        assert one.reason is None
        return picture(store, one.results[0])

    asked, plain = made(True, always=False), made(None, always=True)
    np.testing.assert_allclose(asked, plain, atol=1)
    assert np.abs(asked - made(None, always=False)).max() > 8
