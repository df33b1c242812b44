"""The command ``segkit``: each subcommand is one call into the library."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from segkit import __version__
from segkit.errors import DataError, InputError, MissingFileError, SegkitError

if TYPE_CHECKING:
    from segkit.training.folders import Folders

    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["main"]

_DESCRIPTION = """\
Train, judge and use semantic-segmentation models.

  segkit inspect --images photos --masks masks --labels background,leaf    what is wrong with the data
  segkit demo                                   train on generated street scenes, in about two minutes
  segkit train --dataset camvid --root CamVid --out run --recipe street
  segkit train --images photos --masks masks --labels background,leaf --out run --minutes 10
  segkit sweep --dataset camvid --root CamVid --resize 90x120 --lr 1e-4,1e-3,1e-2 --epochs 4    which is better
  segkit evaluate run/model --dataset camvid --root CamVid --split val
  segkit predict run/model street.jpg --out masks
  segkit export run/model street.onnx           one file with preprocessing and labels, for any size
  segkit datasets                               what published data can be read
  segkit env                                    what this machine offers
"""

_FOLDER_OPTIONS = ("images", "masks", "labels", "mask_suffix", "values", "val_images", "val_masks")

_EPILOG = "Exit codes: 0 done, 1 the run failed, 2 wrong arguments, 130 after Ctrl-C, 143 after SIGTERM."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = _parser().parse_args(argv)
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        return int(arguments.run(arguments) or 0)
    except SegkitError as error:
        # A wrong path or value is misuse; a file that turns out to be broken has failed the run.
        broken = isinstance(error, DataError) and not isinstance(error, MissingFileError)
        misuse = isinstance(error, InputError) and not broken
        return _complain(error, 2 if misuse else 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(number: int, frame: object) -> NoReturn:
    # As an exception, so that temporary files and locks are cleaned up on the way out.
    raise SystemExit(128 + number)


def _complain(error: object, code: int) -> int:
    print(f"segkit: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="segkit", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"segkit {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_inspect(commands)
    _add_train(commands)
    _add_sweep(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_export(commands)
    _command(commands, "datasets", "list the published data sets that can be read, with their terms", _datasets)
    _command(commands, "env", "print the versions and the device that would be used", _env)
    return parser


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, "") else super()._get_help_string(action)


def _command(commands: Commands, name: str, summary: str, run: object) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".", epilog=_EPILOG, formatter_class=_Help
    )
    parser.set_defaults(run=run)
    return parser


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps, xpu, or auto: the best one found")


def _add_data(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    parser.add_argument(
        "--dataset", help="camvid, cityscapes, ade20k, pascal_voc, or street_scenes: generated (the default)"
    )
    parser.add_argument("--root", help="folder of the data set (not for street_scenes)")
    own = parser.add_argument_group("your own folders, instead of --dataset")
    own.add_argument("--images", type=Path, help="folder of images")
    own.add_argument("--masks", type=Path, help="folder of masks with the names of their images")
    own.add_argument(
        "--labels", help="class names in the order of their ids: 'road,car', or a JSON file of Labels.save"
    )
    own.add_argument("--mask-suffix", default="", help="what a mask's name has more: _mask for a.jpg and a_mask.png")
    own.add_argument("--values", type=_values, metavar="N=ID,...", help="ids for values in the masks: 11=255 is void")
    return own


def _add_demo(commands: Commands) -> None:
    parser = _command(commands, "demo", "train on generated street scenes and write a model and a report", _demo)
    parser.add_argument("--out", type=Path, default=Path("segkit-demo"), help="folder for model/ and report.html")
    parser.add_argument("--seed", type=int, default=0, help="of scenes, weights and training")
    _add_device(parser)


def _add_validation(own: argparse._ArgumentGroup, what: str) -> None:
    own.add_argument("--val-images", type=Path, help=what)
    own.add_argument("--val-masks", type=Path, help="their masks; frames of one video belong on one side")


def _add_inspect(commands: Commands) -> None:
    parser = _command(
        commands, "inspect", "look for what is wrong with images and masks; exit code 1 if there are errors", _inspect
    )
    _add_validation(_add_data(parser), "folder of images to compare --images with")
    parser.add_argument("--split", default="train", help="which split of --dataset")
    parser.add_argument("--against", nargs="+", default=[], metavar="SPLIT", help="splits to compare it with: val test")
    parser.add_argument("--groups", metavar="PATTERN", help="finds the group in a name, such as '^(patient[0-9]+)'")
    parser.add_argument("--report", type=Path, help="a page to write, with pictures")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def _add_train(commands: Commands) -> None:
    parser = _command(commands, "train", "train a U-Net on the train split, judged on the val split", _train)
    own = _add_data(parser)
    _add_validation(own, "folder of images to validate on (default: a fifth of --images)")
    parser.add_argument("--out", type=Path, default=Path("runs/train"), help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--encoder", default="plain", help="plain, or one of segmentation-models-pytorch: resnet34 ...")
    parser.add_argument("--encoder-weights", help="pretrained weights of that encoder, such as imagenet")
    parser.add_argument("--recipe", default="plain", help="plain, or street: 20 minutes; the options below change it")
    parser.add_argument("--loss", help="a name or a sum: 'cross_entropy + 0.5*dice'")
    parser.add_argument("--optimizer", help="adam, adamw or sgd")
    parser.add_argument("--lr", type=float, help="peak learning rate")
    parser.add_argument("--weight-decay", type=float, help="of the optimiser")
    parser.add_argument("--schedule", help="constant, cosine or one_cycle")
    parser.add_argument("--epochs", type=int, help="passes over the data")
    parser.add_argument("--minutes", type=float, help="time limit, validations included")
    parser.add_argument("--batch-size", type=int, help="images a step")
    parser.add_argument("--augment", help="light, street, or none")
    parser.add_argument("--size", type=_size, metavar="HxW", help="of the training crops")
    parser.add_argument("--balance", type=float, help="lift rare classes: weights of share^-BALANCE (0 to 1)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    parser.add_argument("--workers", type=int, default=2, help="reading threads")
    _add_device(parser)


def _add_sweep(commands: Commands) -> None:
    parser = _command(
        commands,
        "sweep",
        "train every combination of some settings with several seeds, and say which differences are real",
        _sweep,
    )
    own = _add_data(parser)
    _add_validation(own, "folder of images to validate on (default: a fifth of --images)")
    parser.add_argument("--out", type=Path, default=Path("sweep"), help="its folder; the same call goes on in it")
    parser.add_argument("--resize", type=_size, metavar="HxW", help="bring all images to this size")
    parser.add_argument("--seeds", type=int, default=3, help="how many, of weights, order and augmentation")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, which share the cores")
    parser.add_argument(
        "--prune", type=float, default=0.25, metavar="SHARE", help="end first seeds among the worst SHARE; 0 ends none"
    )
    parser.add_argument("--epochs", type=int, default=10, help="passes over the data, of each run")
    tried = parser.add_argument_group("what is tried: one value, or several with commas between them")
    tried.add_argument("--model", type=_several(str), default=["unet"], help="unet, fpn, deeplabv3plus ...")
    tried.add_argument("--encoder", type=_several(str), default=["plain"], help="see segkit train")
    tried.add_argument("--optimizer", type=_several(str), help="adam, adamw, nadam, radam or sgd")
    tried.add_argument("--lr", type=_several(float), help="peak learning rates: 1e-4,1e-3,1e-2")
    tried.add_argument("--weight-decay", type=_several(float), help="of the optimiser")
    tried.add_argument("--schedule", type=_several(str), help="constant, cosine, one_cycle, poly or plateau")
    tried.add_argument("--loss", type=_several(str), help="'cross_entropy,cross_entropy + dice'")
    tried.add_argument("--batch-size", type=_several(int), help="images a step")
    tried.add_argument("--augment", type=_several(str), help="light, street ...; none for none")
    _add_device(parser)


def _add_evaluate(commands: Commands) -> None:
    parser = _command(commands, "evaluate", "score a saved model and write a report", _evaluate)
    parser.add_argument("model", type=Path, help="folder with config.json and model.safetensors")
    _add_data(parser)
    parser.add_argument("--split", default="val", help="which split of the data set; of your own folders all is judged")
    parser.add_argument("--report", type=Path, default=Path("report.html"), help="the page to write")
    _add_device(parser)


def _add_predict(commands: Commands) -> None:
    parser = _command(commands, "predict", "label images: index masks as PNG, and overlays to look at", _predict)
    parser.add_argument("model", type=Path, help="folder with config.json and model.safetensors")
    parser.add_argument("images", type=Path, nargs="+", help="image files, or NIfTI volumes")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("predictions"),
        help="folder for NAME.png and NAME.overlay.jpg, or NAME.nii.gz for a volume",
    )
    _add_device(parser)


def _add_export(commands: Commands) -> None:
    parser = _command(commands, "export", "write a saved model as one ONNX or torch.export file, and try it", _export)
    parser.add_argument("model", type=Path, help="folder with config.json and model.safetensors")
    parser.add_argument("out", type=Path, help="the file: .onnx, or .pt2 for torch.export")
    parser.add_argument("--logits", action="store_true", help="end in logits instead of labels")
    parser.add_argument("--dtype", help="of the images: uint8 (volumes: float32), uint16 or float32")
    parser.add_argument("--frames", type=Path, nargs="+", help="images to try the file on (default: generated scenes)")
    parser.add_argument("--int8", type=Path, metavar="FILE", help="also write it quantised, calibrated with --frames")


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH, such as 192x256; got {text!r}") from None
    return height, width


def _several(kind: type) -> Callable[[str], list[Any]]:
    def read(text: str) -> list[Any]:
        try:
            return [kind(part.strip()) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected numbers with commas between them; got {text!r}") from None

    return read


def _values(text: str) -> dict[int, int]:
    try:
        return {int(old): int(new) for old, _, new in (part.partition("=") for part in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected VALUE=ID, such as 11=255 or 0=255,1=0; got {text!r}") from None


def _data(arguments: argparse.Namespace) -> str | Folders:
    """The data set's name, or the folders: whichever was given."""
    from segkit.training.folders import Folders

    given = {name: getattr(arguments, name) for name in _FOLDER_OPTIONS if getattr(arguments, name, None)}
    if not given:
        return str(arguments.dataset or "street_scenes")
    if arguments.dataset or arguments.root:
        raise InputError(
            "--dataset and --root are for a known data set, "
            f"--{next(iter(given)).replace('_', '-')} for folders of your own; give one or the other"
        )
    if "images" not in given or "masks" not in given:
        raise InputError("folders of your own need both --images and --masks")
    return Folders(**given)


def _demo(arguments: argparse.Namespace) -> None:
    from segkit.training import demo

    result = demo(arguments.out, seed=arguments.seed, device=arguments.device)
    print(result)
    print(f"model   {arguments.out / 'model'}\nreport  {arguments.out / 'report.html'}")
    print(f"mIoU {result.scores.miou:.3f}  pixel accuracy {result.scores.pixel_accuracy:.3f}")


def _inspect(arguments: argparse.Namespace) -> int:
    from segkit.training.inspecting import inspect_data

    found = inspect_data(
        _data(arguments),
        arguments.root,
        split=arguments.split,
        against=arguments.against,
        groups=arguments.groups,
        report=arguments.report,
    )
    if arguments.json:
        print(json.dumps(found.to_dict(), ensure_ascii=False, indent=2))
    else:
        print(found)
        if arguments.report is not None:
            print(f"report  {arguments.report}")
    return 0 if found.ok else 1


def _train(arguments: argparse.Namespace) -> None:
    from segkit.training import jobs

    settings = vars(arguments).copy()
    for name in ("run", "dataset", "root", "out", *_FOLDER_OPTIONS):
        del settings[name]
    history, result = jobs.train(_data(arguments), arguments.root, arguments.out, **settings)
    print(history)
    print(result)
    print(f"model   {arguments.out / 'model'}\nreport  {arguments.out / 'report.html'}")


def _sweep(arguments: argparse.Namespace) -> int:
    from segkit.training.sweeping import sweep_data

    settings = vars(arguments).copy()
    for name in ("run", "dataset", "root", "out", "model", "encoder", *_FOLDER_OPTIONS):
        del settings[name]
    settings = {name: value[0] if _is_single(value) else value for name, value in settings.items()}
    augment = settings["augment"]
    if isinstance(augment, list):
        settings["augment"] = [None if one == "none" else one for one in augment]
    elif augment == "none":
        settings["augment"] = None
    result = sweep_data(
        _data(arguments),
        arguments.root,
        arguments.out,
        models=arguments.model,
        encoders=arguments.encoder,
        **settings,
    )
    print(result)
    print(f"report  {arguments.out / 'report.html'}\ntable   {arguments.out / 'sweep.csv'}")
    return 0 if result.complete else 1


def _is_single(value: object) -> bool:
    return isinstance(value, list) and len(value) == 1


def _evaluate(arguments: argparse.Namespace) -> None:
    from segkit.training import jobs

    result = jobs.evaluate_model(
        arguments.model,
        _data(arguments),
        arguments.root,
        split=arguments.split,
        report=arguments.report,
        device=arguments.device,
    )
    print(result)
    print(f"report  {arguments.report}")


def _predict(arguments: argparse.Namespace) -> None:
    from segkit.training import jobs

    for path in jobs.label_files(arguments.model, arguments.images, arguments.out, device=arguments.device):
        print(path)


def _datasets(arguments: argparse.Namespace) -> None:
    from segkit.datasets import dataset_sources

    for name, source in dataset_sources().items():
        get = "download=True brings it" if source.archives else source.manual
        print(f"{name}\n  {source.licence}\n  {source.home}\n  {get}")


def _export(arguments: argparse.Namespace) -> None:
    from segkit.inference import export, load, quantize

    if arguments.int8 is not None and not arguments.frames:
        raise InputError("--int8 needs --frames: some ten images like those that the model will see")
    report = export(
        load(arguments.model, device="cpu"),
        arguments.out,
        format="torch_export" if arguments.out.suffix == ".pt2" else "onnx",
        labels=not arguments.logits,
        dtype=arguments.dtype,
        frames=arguments.frames,
    )
    print(report)
    if arguments.int8 is not None:
        print(quantize(arguments.out, arguments.int8, arguments.frames))


def _env(arguments: argparse.Namespace) -> None:
    from segkit.device import Device

    device = Device.auto()
    print(f"segkit {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    for name in ("torch", "torchvision", "numpy", "segmentation-models-pytorch", "timm", "pillow", "safetensors"):
        print(f"{name:<28}{_version(name)}")
    print(device)
    print(device.kernels)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
