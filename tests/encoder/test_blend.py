"""Cards put together: identities of joining and mixing."""

from __future__ import annotations

from datetime import date

import pytest
import torch

from cards import a_card
from facefact import UserError
from facefact.encoder.blend import averaged, merge_cards, mix_cards
from facefact.encoder.card import today

SOON, LATER = date(2999, 1, 1), date(2999, 2, 1)


def test_merged_cards_hold_all_pictures() -> None:
    one = a_card(1, pictures=2, name="Ada", consent="portraits", expires=LATER, thumbnail=b"a")
    other = a_card(2, consent="posters", expires=SOON, made=date(2020, 1, 1))
    merged = merge_cards([one, other, a_card(3)])
    assert torch.equal(merged.tokens.face, torch.cat([one.tokens.face, other.tokens.face, a_card(3).tokens.face], 1))
    assert merged.tokens.null.shape == merged.tokens.face.shape
    assert len(merged.sources) == len(merged.embedding) == 4
    assert (merged.name, merged.consent, merged.thumbnail) == ("Ada", "portraits; posters", b"a")
    assert (merged.expires, merged.made) == (SOON, today())
    assert merge_cards([one, other], name="Eve").name == "Eve"


def test_the_ends_of_a_mix_are_the_two_people() -> None:
    one, other = a_card(1), a_card(2)
    torch.testing.assert_close(mix_cards(one, other, 0).tokens.face, one.tokens.face)
    torch.testing.assert_close(mix_cards(one, other, 1).tokens.face, other.tokens.face)
    torch.testing.assert_close(mix_cards(one, one, 0.3).tokens.face, one.tokens.face)
    torch.testing.assert_close(mix_cards(one, other, 0.3).tokens.face, mix_cards(other, one, 0.7).tokens.face)


def test_a_mix_is_one_picture_between_the_two() -> None:
    one, other = a_card(1, pictures=3), a_card(2, pictures=2)
    mixed = mix_cards(one, other, 0.5)
    assert mixed.tokens.face.shape == mixed.tokens.null.shape == (1, 4, 8)
    torch.testing.assert_close(mixed.tokens.face, (averaged(one) + averaged(other)) / 2)
    near = [(mixed.embedding @ card.embedding[0]).item() for card in (one, other)]
    assert min(near) > (one.embedding[0] @ other.embedding[0]).item()
    torch.testing.assert_close(mixed.embedding.norm(), torch.tensor(1.0))
    (source,) = mixed.sources
    assert (source.kind, source.quality) == ("invented", pytest.approx(0.575))
    assert mixed.thumbnail is None


def test_better_pictures_count_more() -> None:
    card = a_card(1, pictures=2)
    first, second = card.tokens.face.reshape(2, 4, 8)
    mean = averaged(card)[0]
    nearer = torch.cosine_similarity(mean, second).mean() > torch.cosine_similarity(mean, first).mean()
    assert card.sources[1].quality > card.sources[0].quality
    assert nearer


def test_the_nearer_avatar_says_what_is_worn() -> None:
    worn = [{"factors": {}, "hair": hair, "glasses": ""} for hair in ("with a bald head", "with long red hair")]
    one, other = (a_card(i, avatar=avatar) for i, avatar in enumerate(worn))
    assert mix_cards(one, other, 0.4).avatar == worn[0]
    assert mix_cards(one, other, 0.6).avatar == worn[1]


def test_what_does_not_go_together_is_refused_by_name() -> None:
    one, other = a_card(1, file="a.safetensors"), a_card(2, encoder="cd" * 32, adapter="sd15", file="b.safetensors")
    for call in (lambda: merge_cards([one, other]), lambda: mix_cards(one, other, 0.5)):
        with pytest.raises(UserError, match=r"a\.safetensors \(demo, ababab.*b\.safetensors \(sd15, cdcdcd"):
            call()
    with pytest.raises(UserError, match=r"weight 1\.5: from 0"):
        mix_cards(one, one, 1.5)
