"""PNG by imagecodecs is PNG by Pillow, and what it does not take goes to Pillow."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.datasets import _png, read_image
from segkit.datasets._png import quick_png_pixels
from segkit.errors import DataError


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_the_same_pixels(tmp_path: Path, channels: int, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).integers(0, 256, (13, 17, channels), np.uint8)
    path = tmp_path / "a.png"
    image = Image.fromarray(array.squeeze())
    assert image.mode == mode
    image.save(path)
    with path.open("rb") as file:
        quick = quick_png_pixels(file, path)
    assert quick is not None
    assert (quick == array).all()
    by_codec = read_image(path)
    monkeypatch.setattr(_png, "_decoder", lambda: None)
    assert (read_image(path) == by_codec).all()


def test_others_are_left_to_pillow(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 200, (8, 8), np.uint8))
    kinds = {
        "palette": lambda file: image.convert("P").save(file, "PNG"),
        "transparent": lambda file: image.save(file, "PNG", transparency=3),
        "bits": lambda file: image.convert("1").save(file, "PNG"),
    }
    for name, save in kinds.items():
        path = tmp_path / f"{name}.png"
        save(path)
        with path.open("rb") as file:
            assert quick_png_pixels(file, path) is None


def test_damaged_files_raise_as_ever(tmp_path: Path) -> None:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(file, "PNG")
    data = bytearray(file.getvalue())
    (tmp_path / "cut.png").write_bytes(data[:2000])
    with pytest.raises(DataError, match=r"cut\.png"):
        read_image(tmp_path / "cut.png")
    data[1000] ^= 16
    (tmp_path / "flipped.png").write_bytes(data)
    with pytest.raises(DataError, match=r"flipped\.png"):
        read_image(tmp_path / "flipped.png")
