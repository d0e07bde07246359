"""The adapter's stage: it starts as the base model, only resampler and layers learn, and the loss is what is said."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from parts import batch, fact_stage, filled, frozen

from facefact.train.adapter.face_tokens import face_tokens
from facefact.train.adapter.identity import ShownIdentity, person_centres
from facefact.train.losses.noise import noised, spread_timesteps
from facefact.train.settings import Loss


@pytest.fixture
def stage(parts):
    """Makes stages; the adapter of each is taken off the shared U-Net again."""
    made = []

    def make(loss: Loss, **more):
        if made:
            made[-1].adapter.detach()
        made.append(fact_stage(parts, loss, **more))
        return made[-1]

    yield make
    made[-1].adapter.detach()


def test_step_0_is_the_base_model(parts, cache, stage) -> None:
    made, given = stage(Loss()), batch(cache)
    torch.manual_seed(9)
    timesteps = spread_timesteps(6, torch.device("cpu"))
    sample, noise = noised(parts.scheduler, given["latents"], timesteps)
    with torch.no_grad():
        predicted = parts.unet(sample, timesteps, given["text"]).sample
        torch.manual_seed(9)
        terms = made(given)
    torch.testing.assert_close(terms["diffusion"], F.mse_loss(predicted, noise), rtol=1e-6, atol=0)
    assert float(terms["fair"]) < 1e-3
    assert float(terms["gates"]) == 0


def test_only_resampler_and_layers_learn(parts, cache, stage) -> None:
    made = stage(Loss(fair=0.1), gate=0.3)
    made(batch(cache))["loss"].backward()
    learning = {name for name, p in made.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    wanted = {name for name, p in made.named_parameters() if any(p is q for q in made.adapter.trainable_parameters())}
    assert learning <= wanted
    assert {name.split(".")[1] for name in learning} == {"resampler", "layers"}
    assert {name for name, p in made.named_parameters() if p.requires_grad} == wanted


def test_closed_gates_can_open(cache, stage) -> None:
    """At 0 the layers' weights see no gradient, but the gates do."""
    made = stage(Loss(fair=0.0))
    made(batch(cache))["loss"].backward()
    for name, parameter in made.adapter.layers.named_parameters():
        moves = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert moves == ("alpha_" in name), name


def test_fair_follows_its_curve(cache, stage) -> None:
    made = stage(Loss(fair=((0, 0.0), (2, 0.0), (4, 0.5))), gate=0.3)
    for step, weight in enumerate((0.0, 0.0, 0.0, 0.25, 0.5, 0.5)):
        with torch.no_grad():
            terms = made(batch(cache, step=step))
        assert float(terms["loss"]) == pytest.approx(float(terms["diffusion"] + weight * terms["fair"]), rel=1e-6)


def test_a_dropped_face_is_the_published_null_face(cache, stage) -> None:
    """All faces dropped: the loss does not depend on whose faces they were."""
    made, given = stage(Loss(), gate=0.5), batch(cache)
    losses = {}
    for dropped in (True, False):
        for name, tokens in (("own", given["tokens"]), ("other", given["tokens"].flip(0))):
            torch.manual_seed(2)
            changed = given | {"tokens": tokens, "face_dropped": torch.full((6,), dropped)}
            losses[dropped, name] = float(made(changed)["diffusion"].detach())
    assert losses[True, "own"] == losses[True, "other"]
    assert losses[False, "own"] != losses[False, "other"]


def test_null_faces_are_held_to_the_face_as_all_others(cache, stage) -> None:
    """The picture without a face is half of every guided one: what the layers do outside it counts."""
    made, given = stage(Loss(fair=0.1, output_fair=0.1), gate=0.5), batch(cache)
    terms = made(given | {"face_dropped": torch.ones(6, dtype=torch.bool)})
    for name in ("fair", "output_fair"):
        assert float(terms[name].detach()) > 0.01
    with torch.no_grad():
        filled_by_a_face = made(given | {"face": torch.ones_like(given["face"])})
    assert float(filled_by_a_face["fair"]) == float(filled_by_a_face["output_fair"]) == 0


def test_the_log_says_how_many_had_no_other_picture(cache, stage) -> None:
    given = batch(cache) | {"no_other_picture": torch.tensor([True, False, True, False, False, False])}
    assert float(stage(Loss())(given)["no_other_picture"]) == pytest.approx(1 / 3)


def test_several_pictures_are_their_tokens_in_a_row(cache, stage) -> None:
    made, given = stage(Loss(), gate=0.5), batch(cache)
    tokens = torch.cat([given["tokens"], given["tokens"].flip(0)], dim=1)
    several = face_tokens(made.adapter, tokens).face
    one, two = (face_tokens(made.adapter, tokens[:, i : i + 1]).face for i in range(2))
    torch.testing.assert_close(several, torch.cat([one, two], dim=1))


def test_the_identity_loss_is_0_for_the_person_meant_and_ignores_dropped_faces(cache, stage, parts) -> None:
    seen_by, centres = ShownIdentity(parts.vae, parts.encoder), person_centres(parts.encoder, cache)
    made = stage(Loss(identity=0.5, identity_pictures=6), gate=0.3, shown=seen_by, centres=centres)
    given = batch(cache)
    terms = made(given)
    whole = terms["diffusion"] + 0.01 * terms["fair"] + 0.5 * terms["identity"]
    torch.testing.assert_close(terms["loss"], whole)
    terms["identity"].backward(retain_graph=True)
    assert any(p.grad is not None and p.grad.any() for p in made.adapter.layers.parameters())
    assert all(p.grad is None for module in (parts.vae, parts.encoder) for p in module.parameters())

    latents, kept = given["latents"], torch.tensor([True, False, True, True, False, True])
    seen = seen_by(latents, given["head_to_picture"], given["head_mask"])
    wanted = 1 - (seen[kept] * centres[given["person"][kept]]).sum(-1).mean()
    given["face_dropped"] = ~kept
    torch.testing.assert_close(made.identity_loss(latents, given, torch.zeros(6)), wanted)
    made.centres = seen.detach()  # everybody is exactly the person meant
    given["person"] = torch.arange(6)
    assert float(made.identity_loss(latents, given, torch.zeros(6))) == pytest.approx(0, abs=1e-5)


def test_the_identity_loss_of_some_pictures_is_that_of_others_each_step(cache, stage, parts) -> None:
    centres = person_centres(parts.encoder, cache)
    shown = ShownIdentity(parts.vae, parts.encoder)
    made = stage(Loss(identity=0.5, identity_pictures=2), shown=shown, centres=centres)
    given = batch(cache)
    torch.manual_seed(0)
    drawn = {round(float(made.identity_loss(given["latents"], given, torch.zeros(6))), 6) for _ in range(8)}
    assert len(drawn) > 1


def test_a_base_model_of_another_prediction_is_refused(parts, stage) -> None:
    from diffusers import DDIMScheduler

    from facefact.train.adapter.fact import FactStage
    from facefact.types import UserError

    made = stage(Loss())
    with pytest.raises(UserError, match="only epsilon and v_prediction"):
        FactStage(made.adapter, parts.unet, DDIMScheduler(prediction_type="sample"), Loss())


def test_sdxl_reads_its_summary_and_sizes(tmp_path) -> None:
    parts = frozen("tiny-xl")
    from facefact import FaceAdapter
    from facefact.encoder import ResamplerConfig
    from facefact.train.adapter.fact import FactStage

    config = ResamplerConfig(input_width=32, width=32, depth=1, heads=2, head_width=16, queries=4, output_width=80)
    adapter = FaceAdapter.new(parts.unet, encoder=parts.encoder, resampler_config=config, gate=0.3)
    made = FactStage(adapter, parts.unet, parts.scheduler, Loss())
    given = batch(filled(tmp_path, parts, people=3, looks=2))
    losses = []
    for pooled in (given["pooled"], given["pooled"].flip(0)):
        torch.manual_seed(3)
        losses.append(float(made(given | {"pooled": pooled})["diffusion"].detach()))
    assert losses[0] != losses[1]


def test_output_fair_is_nothing_at_the_base_model_and_is_asked_for_by_its_curve(cache, stage) -> None:
    closed = stage(Loss(fair=0.0, output_fair=1.0))
    given = batch(cache)
    assert float(closed(given)["output_fair"]) < 1e-2, "closed gates change nothing"
    opened = stage(Loss(fair=0.0, output_fair=((0, 0.0), (2, 1.0))), gate=0.5)
    assert "output_fair" not in opened(given), "not paid for before it is asked for"
    torch.manual_seed(4)
    terms = opened(given | {"step": torch.tensor(2)})
    assert float(terms["output_fair"]) > 0.01
    torch.testing.assert_close(terms["loss"], terms["diffusion"] + terms["output_fair"])
    terms["output_fair"].backward()
    assert any(alpha.grad is not None and alpha.grad.abs().max() > 0 for alpha in opened.gate_parameters())


def test_the_face_is_weighted_by_place(cache, stage) -> None:
    given = batch(cache)
    made = stage(Loss(face_weight=3.0, feature_weight=9.0))
    weight, face = made.place_weight(given), given["face"]
    assert weight.shape == face.shape
    assert float(weight.max()) > 3.5, "at eyes and mouth"
    assert float(weight[face == 0].min()) == pytest.approx(1.0, abs=0.05)


def test_a_dark_face_counts_more_and_what_is_around_it_does_not(cache, stage) -> None:
    given = batch(cache)
    given["light"] = torch.linspace(0.1, 0.9, len(given["light"]))
    plain, weber = (stage(Loss(face_weight=3.0, weber=power)).place_weight(given) for power in (0.0, 1.0))
    inside, outside = given["face"] == 1, given["face"] == 0
    for row, light in enumerate(given["light"].tolist()):
        torch.testing.assert_close(weber[row][inside[row]], plain[row][inside[row]] * 0.5 / light)
    torch.testing.assert_close(weber[outside], plain[outside])


def test_the_identity_loss_asks_only_where_the_noise_is_low_enough(cache, stage, parts) -> None:
    centres = person_centres(parts.encoder, cache)
    made = stage(Loss(identity=1.0, identity_below=0.6), shown=ShownIdentity(parts.vae, parts.encoder), centres=centres)
    given = batch(cache)
    latents = given["latents"].requires_grad_()
    assert float(made.identity_loss(latents, given, torch.full((6,), 700))) == 0
    steps = torch.tensor([100, 700, 599, 600, 900, 0])
    made.identity_loss(latents, given, steps).backward()
    assert [bool(row.any()) for row in latents.grad] == (steps < 600).tolist()


def regular_batch(cache, rows: list[bool]) -> dict[str, torch.Tensor]:
    """Some of the pictures are said to be without a person, and without a face in them."""
    given, regular = batch(cache), torch.tensor(rows)
    face = torch.where(regular[:, None, None], 0.0, given["face"])
    return given | {"regular": regular, "face": face, "person": torch.where(regular, -1, given["person"])}


def test_where_nobody_is_the_loss_is_what_the_adapter_changes(parts, cache, stage) -> None:
    """Nothing with closed gates, for every noise; else the squared difference of the two answers."""
    given = regular_batch(cache, [True] * 6)
    for seed in range(3):
        torch.manual_seed(seed)
        terms = stage(Loss(fair=0.0))(given)
        assert float(terms["diffusion"].detach()) < 1e-10
        assert float(terms["regular"]) < 1e-10
    made = stage(Loss(fair=0.0), gate=0.5)
    torch.manual_seed(9)
    timesteps = spread_timesteps(6, torch.device("cpu"))
    sample, noise = noised(parts.scheduler, given["latents"], timesteps)
    condition = made.adapter.condition(face_tokens(made.adapter, given["tokens"]), guidance=False)
    with torch.no_grad():
        adapted, base = (made.predict(sample, timesteps, given, one) for one in (condition, None))
        torch.manual_seed(9)
        terms = made(given)
    torch.testing.assert_close(terms["diffusion"], F.mse_loss(adapted, base))
    torch.testing.assert_close(terms["regular"], terms["diffusion"])
    assert float(terms["regular"]) > 1e-6


def test_closed_gates_are_not_held_closed_by_pictures_without_a_person(cache, stage) -> None:
    """The slope of the squared change is 0 where nothing is changed; that of FAIR's norm is not."""
    given = regular_batch(cache, [True] * 6)
    made = stage(Loss(fair=0.0))
    made(given)["loss"].backward()
    assert max(float(alpha.grad.abs()) for alpha in made.gate_parameters()) < 1e-7
    slopes = {}
    for gate in (0.01, 0.02):  # the opening doubles: the slope of what is squared does too, that of a norm stays
        for name in ("loss", "fair"):
            made = stage(Loss(fair=0.0, increment="whole"), gate=gate)
            torch.manual_seed(3)
            made(given)[name].backward()
            slopes[name, gate] = sum(float(alpha.grad.abs()) for alpha in made.gate_parameters())
    assert slopes["loss", 0.02] > 1.7 * slopes["loss", 0.01]
    assert slopes["fair", 0.02] < 1.3 * slopes["fair", 0.01]


def test_pictures_of_people_learn_as_before_beside_others(cache, stage) -> None:
    """A batch's loss is the mean over its pictures: those with a person count as they would without the others."""
    made, rows = stage(Loss(fair=0.0), gate=0.5), [False, True, True, False, False, True]
    given = regular_batch(cache, rows)
    losses = {}
    for name, regular in (("mixed", given["regular"]), ("none", torch.zeros(6, dtype=torch.bool))):
        torch.manual_seed(4)
        losses[name] = made(given | {"regular": regular})
    torch.manual_seed(4)
    timesteps = spread_timesteps(6, torch.device("cpu"))
    sample, noise = noised(made.scheduler, given["latents"], timesteps)
    condition = made.adapter.condition(face_tokens(made.adapter, given["tokens"]), guidance=False)
    with torch.no_grad():
        adapted, base = (made.predict(sample, timesteps, given, one) for one in (condition, None))
    people, nobody = ~given["regular"], given["regular"]
    whole = F.mse_loss(adapted[people], noise[people]) + F.mse_loss(adapted[nobody], base[nobody])
    torch.testing.assert_close(losses["mixed"]["diffusion"], whole / 2)
    torch.testing.assert_close(losses["none"]["diffusion"], F.mse_loss(adapted, noise))
    assert float(losses["none"]["regular"]) == 0


def test_the_identity_loss_knows_that_nobody_is_meant(cache, stage, parts) -> None:
    centres = person_centres(parts.encoder, cache)
    made = stage(Loss(identity=1.0), shown=ShownIdentity(parts.vae, parts.encoder), centres=centres)
    given = regular_batch(cache, [False, True, False, True, True, False])
    latents = given["latents"].requires_grad_()
    made.identity_loss(latents, given, torch.zeros(6)).backward()
    assert [bool(row.any()) for row in latents.grad] == [True, False, True, False, False, True]
