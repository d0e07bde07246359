"""dlib's network in PyTorch computes what dlib computes, and a file that is not its own is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facefact.data.dlib_net import BLOCKS, DlibNet, added, read_dlib_net
from facefact.data.recognisers import dlib_lacks, dlib_weights
from facefact.types import UserError


def weights() -> Path:
    if lack := dlib_lacks():
        pytest.skip(lack)
    return dlib_weights() or Path()


def test_the_numbers_are_those_of_dlib() -> None:
    file = weights()
    import dlib

    chips = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), np.uint8)
    chips[0, :, :, :] = np.linspace(0, 255, 150).astype(np.uint8)[:, None, None]
    theirs = dlib.face_recognition_model_v1(str(file))
    wanted = np.array([theirs.compute_face_descriptor(chip) for chip in chips])
    with torch.inference_mode():
        ours = read_dlib_net(file)(torch.from_numpy(chips).permute(0, 3, 1, 2).float()).numpy()
    assert np.ptp(wanted, axis=0).max() > 0.1
    np.testing.assert_allclose(ours, wanted, atol=2e-6)


def test_what_is_smaller_is_filled_up_with_zeros() -> None:
    x, y = torch.ones(2, 3, 4, 4), torch.ones(2, 5, 3, 3)
    total = added(x, y)
    assert total.shape == (2, 5, 4, 4)
    assert total.sum() == x.sum() + y.sum()
    assert total[0, 0, 0, 0] == 2
    assert total[0, 4, 3, 3] == 0


def written(net: DlibNet, path: Path) -> DlibNet:
    """The network's weights in dlib's format; what is multiplied afterwards is 2 everywhere, what is added 1."""

    def integer(value: int) -> bytes:
        size = max(1, (value.bit_length() + 7) // 8)
        return bytes([size]) + value.to_bytes(size, "little")

    def tensor(values: np.ndarray) -> bytes:
        return b"".join(map(integer, (2, len(values), 1, 1, 1))) + values.astype("<f4").tobytes()

    content = b"loss_metric_2"
    for layer in (one for one in net.modules() if isinstance(one, torch.nn.Conv2d)):
        assert layer.bias is not None
        content += b"\x05con_4" + tensor(np.concatenate([layer.weight.detach().ravel(), layer.bias.detach()]))
        content += b"\x07affine_" + tensor(np.repeat(np.float32([2, 1]), layer.out_channels))
        layer.weight.data, layer.bias.data = 2 * layer.weight.data, 2 * layer.bias.data + 1
    content += b"\x04fc_2" + integer(128) + integer(256) + tensor(net.head.weight.detach().T.numpy().ravel())
    path.write_bytes(content)
    return net


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = written(DlibNet(), tmp_path / "net.dat")
    found = read_dlib_net(tmp_path / "net.dat")
    chips = torch.rand(2, 3, 150, 150) * 255
    with torch.inference_mode():
        torch.testing.assert_close(found(chips), net(chips), rtol=1e-4, atol=1e-4)
    assert len(BLOCKS) == 14


@pytest.mark.parametrize("kept", [0, 100, 20_000, 1_000_000])
def test_another_file_is_one_line(tmp_path: Path, kept: int) -> None:
    written(DlibNet(), tmp_path / "net.dat")
    (tmp_path / "cut.dat").write_bytes((tmp_path / "net.dat").read_bytes()[:kept])
    with pytest.raises(UserError, match=r"^[^\n]+ is not dlib's face recogniser, or is damaged [^\n]+$"):
        read_dlib_net(tmp_path / "cut.dat")
