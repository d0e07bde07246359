"""The avatar network and its detector: shapes, a loss that learns, coordinates that survive letterbox and windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facefact.faces.avatar import (
    AvatarDetector,
    letterbox,
    net_input,
    net_maps,
    save_avatar_net,
    windows,
)
from facefact.faces.avatar_net import AvatarNet, AvatarNetConfig, AvatarOutput, avatar_loss, mean_position
from facefact.types import UserError

SMALL = AvatarNetConfig(size=64, widths=(8, 16, 16, 24), decoder=16, hidden=16)


def test_shapes_and_size() -> None:
    net = AvatarNet()
    assert 0.2e6 < sum(p.numel() for p in net.parameters()) < 0.4e6
    out = net(torch.zeros(2, 3, 128, 128))
    shapes = [tuple(value.shape) for value in vars(out).values()]
    assert shapes == [(2,), (2, 4), (2, 5, 2), (2, 32, 32), (2, 32, 32)]


def test_mean_position_of_one_hot_cell_is_its_centre() -> None:
    heat = torch.zeros(1, 1, 4, 8)
    heat[0, 0, 1, 6] = 100.0
    torch.testing.assert_close(mean_position(heat)[0, 0], torch.tensor([6.5 / 8, 1.5 / 4]))


def test_loss_is_zero_at_the_truth_and_ignores_landmarks_of_nothing() -> None:
    hard = torch.tensor([60.0, -60.0])
    maps = torch.zeros(2, 4, 4)
    target = AvatarOutput((hard > 0).float(), torch.rand(2, 4), torch.rand(2, 5, 2), maps, maps)
    found = AvatarOutput(hard, target.box.clone(), target.landmarks.clone(), maps - 60, maps - 60)
    found.landmarks[1] += 1.0
    found.box[1] += 1.0
    assert sum(avatar_loss(found, target).values()).item() == pytest.approx(0, abs=1e-6)
    found.landmarks[0] += 0.01
    assert avatar_loss(found, target)["landmarks"].item() == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("shape", [(40, 40), (33, 71), (300, 130), (1, 1)])
def test_fractions_and_pixels_undo_each_other(shape: tuple[int, int]) -> None:
    square, placed = letterbox(np.zeros((*shape, 3), np.uint8), 64)
    assert square.shape == (64, 64, 3)
    points = np.array([[0.0, 0.0], [shape[1] - 1, shape[0] - 1], [3.3, 0.2]])
    np.testing.assert_allclose(placed.to_pixels(placed.to_fractions(points)), points, atol=1e-9)
    assert placed.to_fractions(points[:2]).min() > 0
    assert placed.to_fractions(points[:2]).max() < 1


def test_a_dot_is_where_the_letterbox_says() -> None:
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[35:45, 70:80] = 255
    square, placed = letterbox(picture, 128, padding=0)
    y, x = np.nonzero(square[..., 0] > 127)
    expected = placed.to_fractions(np.array([74.5, 39.5])) * 128 - 0.5
    np.testing.assert_allclose([x.mean(), y.mean()], expected, atol=0.6)


def test_maps_cover_the_mask() -> None:
    maps = net_maps(np.ones((64, 32), bool), 64)
    assert maps.shape == (16, 16)
    np.testing.assert_allclose(maps, np.repeat([[0.0] * 4 + [1.0] * 8 + [0.0] * 4], 16, 0))


def test_windows_cover_a_long_picture() -> None:
    assert windows(100, 120) == [(0, 0, 120, 100)]
    wide = windows(100, 300)
    assert wide[0] == (0, 0, 100, 100)
    assert wide[-1] == (200, 0, 300, 100)
    assert [(y0, x0, y1, x1) for x0, y0, x1, y1 in wide] == windows(300, 100)
    assert len(windows(10, 100_000)) <= 16


class Known(torch.nn.Module):
    """Says that there is an avatar about the mean position of the red pixels, if there are any."""

    config = AvatarNetConfig()

    def __init__(self) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(()))

    def forward(self, pixels: torch.Tensor) -> AvatarOutput:
        red = ((pixels[:, 0] > 0.5) & (pixels[:, 1] < -0.5)).float()
        share = red.sum((1, 2))
        place = torch.arange(128) + 0.5
        x, y = (red.sum(1) * place).sum(1) / share / 128, (red.sum(2) * place).sum(1) / share / 128
        middle = torch.nan_to_num(torch.stack([x, y], -1), 0.5)
        offsets = torch.tensor([[-0.1, -0.1], [0.1, -0.1], [0, 0], [-0.07, 0.1], [0.07, 0.1]])
        maps = torch.nn.functional.avg_pool2d(red, 4) - 0.5
        box = torch.cat([middle - 0.2, middle + 0.2], -1)
        return AvatarOutput((share > 30).float() * 20 - 10, box, middle[:, None] + offsets, maps, maps)


def test_found_where_it_is_in_pictures_of_any_size() -> None:
    for shape, (y, x), half in (((90, 90), (50, 40), 12), ((700, 500), (300, 200), 80)):
        picture = np.full((*shape, 3), 90, np.uint8)
        picture[y - half : y + half + 1, x - half : x + half + 1] = (255, 0, 0)
        detector = AvatarDetector(Known())
        (face,) = detector.detect(picture)
        tolerance = max(shape) / 128
        np.testing.assert_allclose(face.landmarks[2], (x, y), atol=tolerance)
        mask = detector.head_mask(picture, face)
        assert mask.shape == shape
        rows, columns = np.nonzero(mask)
        np.testing.assert_allclose([columns.mean(), rows.mean()], (x, y), atol=tolerance)
        assert mask.sum() == pytest.approx((2 * half + 1) ** 2, rel=0.25)
        assert face.oval is not None
        assert not AvatarDetector(Known()).detect(np.full((*shape, 3), 90, np.uint8))


def test_two_avatars_side_by_side_are_two_faces() -> None:
    picture = np.full((100, 320, 3), 90, np.uint8)
    for x, half in ((50, 12), (270, 14)):
        picture[50 - half : 50 + half, x - half : x + half] = (255, 0, 0)
    faces = AvatarDetector(Known()).detect(picture)
    assert sorted(round(float(face.landmarks[2, 0])) for face in faces) == pytest.approx([50, 270], abs=2)
    assert faces == sorted(faces, key=lambda face: -face.area)


def test_saved_and_read_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = AvatarNet(SMALL)
    save_avatar_net(net, tmp_path, half=False)
    again = AvatarDetector.from_pretrained(tmp_path).net
    assert again.config == SMALL
    pixels = net_input([np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)])
    torch.testing.assert_close(net(pixels).landmarks, again(pixels).landmarks)
    (tmp_path / "config.json").write_text('{"size": 64, "widths": [8, 8, 8, 8]}')
    with pytest.raises(UserError, match="no usable avatar detector"):
        AvatarDetector.from_pretrained(tmp_path)


def test_it_learns() -> None:
    """A few steps on four pictures lower the loss by half."""
    torch.manual_seed(0)
    net = AvatarNet(SMALL)
    pixels = torch.rand(4, 3, 64, 64) * 2 - 1
    maps = (torch.rand(4, 16, 16) > 0.5).float()
    target = AvatarOutput(torch.tensor([1.0, 1, 1, 0]), torch.rand(4, 4), torch.rand(4, 5, 2), maps, maps)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = sum(avatar_loss(net(pixels), target).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
