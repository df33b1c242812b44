"""Data sets of (image, mask) pairs, and ways to split them."""

from __future__ import annotations

from segkit.datasets._base import Item, Pairs, SegmentationDataset, create_dataset, dataset_sources, list_datasets
from segkit.datasets._check import check_dataset
from segkit.datasets._pairing import Pairing
from segkit.datasets._source import Archive, Source
from segkit.datasets.ade20k import ADE20K
from segkit.datasets.cache import Cached
from segkit.datasets.camvid import CamVid
from segkit.datasets.cityscapes import Cityscapes
from segkit.datasets.coco import CocoDataset
from segkit.datasets.decathlon import Decathlon
from segkit.datasets.folder import FolderDataset
from segkit.datasets.inspection import DatasetReport, InspectedSplit, Problem, inspect_dataset
from segkit.datasets.oxford_pet import OxfordPet
from segkit.datasets.pascal_voc import PascalVOC
from segkit.datasets.polygons import polygon_mask, rle_mask
from segkit.datasets.reading import ImageHeader, image_header, read_image, read_mask
from segkit.datasets.split_files import load_split, save_split
from segkit.datasets.splits import Subset, k_fold, random_split
from segkit.datasets.statistics import ClassStatistics, class_statistics
from segkit.datasets.streaming import LazyStream, TarShards, is_stream
from segkit.datasets.street_scenes import SceneObject, StreetScenes
from segkit.datasets.volume_reading import VolumeReading
from segkit.datasets.volume_slices import VolumeDataset, whole_volumes
from segkit.datasets.volumes import Volume, read_label_volume, read_volume

__all__ = [
    "ADE20K",
    "Archive",
    "Cached",
    "CamVid",
    "Cityscapes",
    "ClassStatistics",
    "CocoDataset",
    "DatasetReport",
    "Decathlon",
    "FolderDataset",
    "ImageHeader",
    "InspectedSplit",
    "Item",
    "LazyStream",
    "OxfordPet",
    "Pairing",
    "Pairs",
    "PascalVOC",
    "Problem",
    "SceneObject",
    "SegmentationDataset",
    "Source",
    "StreetScenes",
    "Subset",
    "TarShards",
    "Volume",
    "VolumeDataset",
    "VolumeReading",
    "check_dataset",
    "class_statistics",
    "create_dataset",
    "dataset_sources",
    "image_header",
    "inspect_dataset",
    "is_stream",
    "k_fold",
    "list_datasets",
    "load_split",
    "polygon_mask",
    "random_split",
    "read_image",
    "read_label_volume",
    "read_mask",
    "read_volume",
    "rle_mask",
    "save_split",
    "whole_volumes",
]
