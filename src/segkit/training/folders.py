"""Folders of images and masks, as a command names them: from paths and names to training and validation data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segkit.datasets import FolderDataset, SegmentationDataset, random_split
from segkit.errors import InputError
from segkit.labels import Labels

__all__ = ["Folders", "read_labels"]

VAL_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where images and masks lie, and what the masks mean.

    Attributes:
        images: the folder of images.
        masks: the folder of their masks, paired by stem (see `segkit.datasets.FolderDataset`).
        labels: a JSON file that `Labels.save` wrote, or class names with commas between them (a single one makes a
            binary task); None for those of the model that is judged.
        val_images: the images to validate on; None takes a fifth of ``images``, drawn at random.
        val_masks: their masks.
        mask_suffix: what a mask's stem has more than its image's.
        values: what values in the mask files become, such as ``{11: 255}``; None changes none.
    """

    images: Path
    masks: Path
    labels: str | None = None
    val_images: Path | None = None
    val_masks: Path | None = None
    mask_suffix: str = ""
    values: Mapping[int, int] | None = None

    def parts(
        self, seed: int, *, resize: tuple[int, int] | None = None
    ) -> tuple[SegmentationDataset, SegmentationDataset]:
        """Training and validation data, ``resize``d to (height, width); a random split is keyed by ``seed``.

        Raises:
            InputError: no labels, or nothing to validate on.
            DataError: folders that cannot be read as pairs.
        """
        labels = self._labels(None)
        train = self._open(self.images, self.masks, labels, self.values, resize)
        if self.val_images is not None and self.val_masks is not None:
            # Where 255 is void in training it is so in validation, even in masks of background and void alone.
            return train, self._open(self.val_images, self.val_masks, train.labels, self.values, resize)
        if self.val_images is not None or self.val_masks is not None:
            raise InputError("validation images and masks belong together: give both `val_images` and `val_masks`")
        if len(train) < 2:
            raise InputError(
                f"one image in {self.images} cannot be split into training and validation; add images, or name "
                "`val_images` and `val_masks`"
            )
        share = max(VAL_SHARE, 1 / len(train))
        first, second = random_split(train, [1 - share, share], seed)
        return first, second

    def whole(self, known: Labels | None) -> SegmentationDataset:
        """All images; their labels are ``known`` (the model's) where the folders name none, or the same classes.

        What the values of mask files become is then known from the training, and not guessed again.
        """
        if self.val_images is not None or self.val_masks is not None:
            raise InputError("`val_images` and `val_masks` are for training; name the folders to judge on as `images`")
        return self._open(self.images, self.masks, self._labels(known), self.values)

    def _labels(self, known: Labels | None) -> Labels:
        labels = known if self.labels is None else read_labels(self.labels)
        if labels is not None and known is not None and labels.values is None and labels.names == known.names:
            labels = known
        if labels is None:
            raise InputError(
                "`labels` are needed to read masks: class names in the order of their ids, such as 'road,car', or a "
                "JSON file that Labels.save wrote"
            )
        return labels

    def _open(
        self,
        images: Path,
        masks: Path,
        labels: Labels,
        values: Mapping[int, int] | None,
        resize: tuple[int, int] | None = None,
    ) -> FolderDataset:
        return FolderDataset(images, masks, labels, mask_suffix=self.mask_suffix, values=values, resize=resize)


def read_labels(text: str) -> Labels:
    """Labels from a JSON file that `Labels.save` wrote, or from ``"road,car"``; a single name makes a binary task.

    Raises:
        InputError: a file of another kind, or names that cannot be.
    """
    if text.lower().endswith(".json"):
        return Labels.load(text)
    if Path(text).suffix and os.path.isfile(text):  # noqa: PTH113 (Path.is_file raises at a name too long for a path)
        raise InputError(
            f"`labels`: {text} is a file, but not JSON; write the class names themselves, such as 'road,car', or save "
            "them with Labels(names).save('labels.json')"
        )
    names = [name.strip() for name in text.split(",")]
    return Labels(names, task="binary" if len(names) == 1 else "multiclass")
