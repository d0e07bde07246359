"""What `facefact prepare` has made, as a source: as it is, and in several views."""

from __future__ import annotations

import numpy as np
import pytest
from same_sample import same_sample

from facefact.train.material.augmentation import Views
from facefact.train.material.prepared import PreparedSource
from facefact.train.material.sources import held_out, open_source, with_views
from facefact.train.settings import Augment, Data
from facefact.types import UserError
from portraits import SETTINGS, people

pytest.importorskip("pyarrow")
AUGMENT = Augment(views=3, zoom=1.5, shift=0.2, flip=0.5, landmarks=0.03, blur=1.0, jpeg=60)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Data:
    from facefact.data.local import LocalEngine
    from facefact.data.prepare import prepare

    source = people(tmp_path_factory.mktemp("in"))
    made = prepare(source, tmp_path_factory.mktemp("out") / "dataset", SETTINGS, engine=LocalEngine(0))
    return Data(source=str(made.folder), aspect=1.5, augment=AUGMENT, seed=3)


def test_its_samples_and_their_views(data) -> None:
    plain = open_source(data)
    assert isinstance(plain, PreparedSource)
    source = with_views(plain, data, multiple=16)
    assert isinstance(source, Views)
    assert len(source.keys()) == 3 * len(plain.keys()) == 27
    assert held_out(source, data) == held_out(plain, data) == plain.held_out > 0
    for picture in range(len(plain.keys())):
        made = [source.sample(3 * picture + view, 64) for view in range(3)]
        whole = plain.sample(picture, 64)
        assert whole is not None
        assert all(one is not None and one.person == whole.person for one in made)
        assert same_sample(made[0], whole)  # (square pictures: the square bucket)
        assert not same_sample(made[1], made[2])
        inside = [one.landmarks.round().astype(int) for one in made]
        assert all(one.face[at[:3, 1], at[:3, 0]].all() for one, at in zip(made, inside, strict=True))  # eyes and nose
        assert all(np.abs(one.yaw) == pytest.approx(abs(whole.yaw)) for one in made)


def test_a_size_that_the_shapes_cannot_have(data) -> None:
    with pytest.raises(UserError, match="sides must be multiples of 48"):
        with_views(open_source(data), Data(source=data.source, size=64, aspect=1.5), multiple=48)
