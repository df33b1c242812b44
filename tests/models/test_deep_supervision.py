"""Deep supervision: levels in training, one map otherwise, and a Trainer that takes it."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from segkit import Trainer, UNet
from segkit.datasets import StreetScenes
from segkit.losses import DeepSupervision, create_loss
from segkit.models import check_model


def small(**options: object) -> UNet:
    torch.manual_seed(0)
    return UNet(11, decoder_channels=(16, 12, 8, 8), deep_supervision=True, **options)  # type: ignore[arg-type]


def test_levels_in_training_and_one_map_in_evaluation() -> None:
    model = small()
    image = torch.rand(2, 3, 45, 70)
    levels = model(image)
    assert [tuple(level.shape[2:]) for level in levels] == [(45, 70), (12, 18), (6, 9), (3, 5)]
    assert model.eval()(image).shape == (2, 11, 45, 70)
    assert [level.ndim for level in model.train()(image[0])] == [3] * 4


def test_coarse_levels_are_cut_to_the_cells_of_the_image() -> None:
    model = small(norm="group")
    image = torch.rand(2, 3, 45, 70)
    padded = F.pad(image, (0, 96 - 70, 0, 64 - 45), mode="replicate")
    raw = model.head(model.decoder(model.encoder(model.normalize(padded))))
    for level, whole, stride in zip(model(image)[1:], raw[1:], (4, 8, 16), strict=True):
        torch.testing.assert_close(level, whole[..., : -(-45 // stride), : -(-70 // stride)])


def test_every_level_learns() -> None:
    model = small()
    loss = DeepSupervision(create_loss("cross_entropy"))
    loss(model(torch.rand(2, 3, 64, 64)), torch.zeros(2, 64, 64, dtype=torch.uint8)).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.head.parameters())


def test_the_trainer_takes_it() -> None:
    data = StreetScenes(4, size=(48, 64))
    trainer = Trainer(small(), loss="cross_entropy + dice", epochs=2, batch_size=2, device="cpu", workers=0)
    history = trainer.fit(data, data)
    assert len(history) == 2
    assert history.rows[-1].loss < history.rows[0].loss
    assert trainer.evaluate(data).scores.miou >= 0


def test_it_keeps_the_contract() -> None:
    check_model("unet", deep_supervision=True, encoder="small", compiled=False, exported=False)
