"""The Trainer: from data and a model to weights, scores and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast, overload

import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit._checks import check_int, check_number, counted, listed, suggests
from segkit._files import check_writable, folder_lock
from segkit.datasets import Cached, Item, Pairs, Volume, is_stream
from segkit.device import Device
from segkit.errors import DataError, InputError
from segkit.inference import ImageLike, Predictor
from segkit.labels import Labels
from segkit.losses import DeepSupervision, create_loss
from segkit.models import Segmenter
from segkit.training._backends import compiled, tuned
from segkit.training._card import write_card
from segkit.training._precheck import check_before_training
from segkit.training.checkpoint import Checkpoints
from segkit.training.config import TrainConfig
from segkit.training.distributed import own_device, ranks
from segkit.training.evaluate import Result, check_same_classes, dataset_labels, evaluate
from segkit.training.freezing import stages_of
from segkit.training.history import History
from segkit.training.hooks import Hook, check_hooks, hook_caller
from segkit.training.loader import AnyLoader, Loader, described, item_id
from segkit.training.loop import Run
from segkit.training.lr_finder import LearningRates
from segkit.training.optim import OptimizerClass, optimizer_name
from segkit.training.signals import StopSignals
from segkit.training.streams import StreamLoader
from segkit.transforms import AnyTransform, Transform, as_transform

__all__ = ["Trainer"]

_APART = 1_000_003  # from one process's seed of dropout to the next one's


class Trainer:
    """Trains a model, judges it, and saves it.

    Args:
        model: trained in place.
        loss: a name or a sum of names, such as ``"cross_entropy + 0.5*dice"``.
        optimizer: ``"adam"``, ``"adamw"``, ``"nadam"``, ``"radam"`` or ``"sgd"`` (Nesterov momentum 0.9); or a class of
            torch's kind, such as ``torch.optim.Adagrad``, or a ``functools.partial`` of one.
        lr: the peak learning rate.
        weight_decay: of the optimiser.
        schedule: ``"constant"``, ``"cosine"``, ``"one_cycle"`` or ``"poly"``, over the whole run; or ``"plateau"``: a
            tenth of the rate after five validations without a better mIoU.
        warmup: the share of the run (0..1) in which the rate rises from 0.
        grad_clip: the norm of all gradients together that is not exceeded; None for any.
        accumulate: batches a step; the memory of one, and nearly the step of one that is so many times as large.
        ema: the decay of an average of the weights over the steps, such as 0.999, which is judged and kept in their
            place; None for none.
        epochs: passes over the training data; None for no limit but ``minutes``.
        minutes: the time limit, validations included; None for none.
        batch_size: images a step; of one process, where there are several.
        augment: a recipe such as ``"street"`` or ``"0.5*medical + copy_paste"`` (see
            `segkit.transforms.create_transform`), a transform of one's own, or another library's (see
            `segkit.transforms.as_transform`); None for none. On a GPU recipes run there, but for copy-paste.
        rare_classes: the share of the samples (0..1) that are drawn for a class, evenly over the classes, from the
            images that show it, the crop placed over it; all masks are read once before the first step.
        steps_per_epoch: batches that count as an epoch, for a training stream (one without numbered items).
        size: ``(height, width)`` of the crops that ``augment`` makes; None for the size of the first image.
        progressive: the share of ``size`` (0..1) that the first epoch's crops have; they grow epoch by epoch, in steps
            of 32 pixels, and have all of it for the last quarter of the run. None: all of it from the first.
        class_weights: one positive weight a class (background and foreground for a binary task), for the losses that
            take them.
        label_smoothing: 0..1, for the losses that take it.
        encoder_lr_factor: what the encoder's learning rate is of ``lr``, such as 0.1 for a pretrained one.
        layer_decay: below 1, the encoder's deepest stage has that share of its rate, the one before it the square, and
            so on to the stem, such as 0.75 for a pretrained one.
        freeze: ``"encoder"``, or how many of its stages from the image on (1 is the stem): they keep their weights, and
            their norms the statistics, while `fit` runs.
        unfreeze: after how many epochs all of it learns; or several, growing: after each of them one more stage, the
            deepest first.
        seed: of the order, the augmentation and any dropout.
        workers: who reads the data: so many threads; ``"threads"`` or ``"processes"``, as many as there are cores (up
            to 8); 0 reads between the steps; ``"auto"`` measures at the start which of them pays. They change no
            number. Another library's transform runs in processes or between the steps, never in threads.
        cache: where decoded samples are kept: ``"memory"``, a folder (see `segkit.datasets.Cached`), which other runs
            and processes share, or None.
        cache_gigabytes: how much of them; None for 1 in memory and 10 in a folder.
        device: where to train; None for the best one found.
        best: the score whose best validation's weights are kept: ``"miou"``, ``"micro_iou"``, ``"pixel_accuracy"`` or
            ``"mean_dice"``.
        keep: how many checkpoints are kept; one that is found damaged gives way to the one before.
        save_seconds: how long at least from checkpoint to checkpoint, in mid-epoch too; a killed run loses no more.
        on_nan: what a loss that is not finite does: ``"stop"`` ends the run before the weights are touched;
            ``"rollback"`` goes on from the last checkpoint at half the rate, at most three times.
        on_save_error: what a checkpoint that cannot be written does: ``"warn"`` goes on and tries again later,
            ``"stop"`` ends the run. The earlier ones are as they were.
        compile: whether torch compiles the model while `fit` runs, for any size; needs a C++ compiler on a CPU. What is
            saved is the model as it was.
        deterministic: whether the run is the same bit for bit on a GPU, too. What torch runs in any order is replaced
            (enlarging, whose gradient is a convolution then) or refused by name; what it sets is put back after `fit`.
        hooks: called as the run goes; see `Hook`.
        out: a folder for checkpoints (``step-*.safetensors`` with ``checkpoints.json``, ``best/``) and
            ``history.json``; None writes nothing.

    Raises:
        UnknownNameError: an unknown argument or name (with the nearest one).
        InputError: a value out of range.

    Example:
        >>> from segkit import UNet
        >>> from segkit.datasets import StreetScenes
        >>> trainer = Trainer(UNet(11), epochs=1, batch_size=2, device="cpu")
        >>> history = trainer.fit(StreetScenes(4, size=(48, 64)))
        >>> len(history)
        1
    """

    @suggests(
        learning_rate="lr",
        num_epochs="epochs",
        max_epochs="epochs",
        max_time="minutes",
        criterion="loss",
        loss_fn="loss",
        optim="optimizer",
        scheduler="schedule",
        max_norm="grad_clip",
        gradient_clip_val="grad_clip",
        accumulate_grad_batches="accumulate",
        gradient_accumulation_steps="accumulate",
        ema_decay="ema",
        warmup_ratio="warmup",
        callbacks="hooks",
        num_workers="workers",
        transform="augment",
        crop_size="size",
        output_dir="out",
    )
    def __init__(
        self,
        model: Segmenter,
        *,
        loss: str = "cross_entropy",
        optimizer: str | OptimizerClass = "adam",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        schedule: str = "constant",
        warmup: float = 0.0,
        grad_clip: float | None = None,
        accumulate: int = 1,
        ema: float | None = None,
        epochs: int | None = 40,
        minutes: float | None = None,
        batch_size: int = 8,
        augment: AnyTransform | None = None,
        rare_classes: float = 0.0,
        steps_per_epoch: int | None = None,
        size: tuple[int, int] | None = None,
        progressive: float | None = None,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        encoder_lr_factor: float = 1.0,
        layer_decay: float = 1.0,
        freeze: str | int | None = None,
        unfreeze: int | Sequence[int] | None = None,
        seed: int = 0,
        workers: int | str = "auto",
        cache: str | Path | None = "memory",
        cache_gigabytes: float | None = None,
        best: str = "miou",
        keep: int = 2,
        save_seconds: float = 30.0,
        on_nan: str = "stop",
        on_save_error: str = "warn",
        compile: bool = False,
        deterministic: bool = False,
        hooks: Iterable[Hook] = (),
        device: Device | torch.device | str | None = None,
        out: str | Path | None = None,
    ) -> None:
        if not isinstance(model, Segmenter):
            raise InputError(f"`model` must be a segkit model such as UNet(num_classes=11); got {type(model).__name__}")
        self.model: Segmenter = model
        self.config: TrainConfig = TrainConfig(
            loss=loss,
            optimizer=optimizer_name(optimizer),
            lr=lr,
            weight_decay=weight_decay,
            schedule=schedule,
            warmup=warmup,
            grad_clip=grad_clip,
            accumulate=accumulate,
            ema=ema,
            epochs=epochs,
            minutes=minutes,
            batch_size=batch_size,
            augment=described(augment),
            rare_classes=rare_classes,
            steps_per_epoch=steps_per_epoch,
            size=size,
            progressive=progressive,
            class_weights=None if class_weights is None else tuple(class_weights),
            label_smoothing=label_smoothing,
            encoder_lr_factor=encoder_lr_factor,
            layer_decay=layer_decay,
            freeze=freeze,
            unfreeze=tuple(unfreeze) if isinstance(unfreeze, list) else unfreeze,  # type: ignore[arg-type]
            seed=seed,
            workers=workers,
            cache=None if cache is None else str(cache),
            best=best,
            keep=keep,
            save_seconds=save_seconds,
            on_nan=on_nan,
            on_save_error=on_save_error,
            compile=compile,
            deterministic=deterministic,
        )
        self._optimizer: OptimizerClass | None = None if isinstance(optimizer, str) else optimizer
        self._hooks: list[Hook] = check_hooks(hooks)
        self._run: Run | None = None
        self._augment = augment
        self._cache_gigabytes: float = check_number(
            "cache_gigabytes",
            (1.0 if cache == "memory" else 10.0) if cache_gigabytes is None else cache_gigabytes,
            minimum=0,
        )
        stages_of(model, freeze, unfreeze)
        expected = max(model.num_classes, 2)  # a binary task weighs background and foreground
        if class_weights is not None and len(class_weights) != expected:
            raise InputError(f"`class_weights` must have one weight a class ({expected}); got {len(class_weights)}")
        self.device: Device = own_device(device)
        self.out: Path | None = Path(out) if out is not None else None
        self.history: History = History()
        self._result: Result | None = None
        self._data: dict[str, str] = {}
        self._check_names()

    def fit(self, train: Pairs | Iterable[Item], val: Pairs | None = None, *, resume: bool = False) -> History:
        """Train, and keep the weights of the best validation.

        With ``val``, the model ends with the weights whose validation mIoU was highest (every epoch is validated; with
        ``minutes``, as often as a tenth of the time allows), else with the last ones. Ctrl-C and SIGTERM finish the
        step and save before they act; the run goes on with ``resume=True``.

        Under torchrun each process calls this, with the same arguments: they share every epoch's items, ``batch_size``
        is that of one process, and the first one writes and speaks.

        Before the first step a sample of the items is looked at, for a second at most: what would teach the model what
        is wrong raises, what only deserves a look is a note of the history. `segkit.inspect_dataset` looks at all.

        Args:
            train: ``(image, mask)`` items, by number or as a stream: anything that gives them anew at each iteration,
                such as a torch IterableDataset or `segkit.datasets.TarShards`.
            val: ``(image, mask)`` items by number, of any sizes; a list will do.
            resume: go on from the checkpoint in ``out``.

        Returns:
            The history, which is also ``trainer.history``.

        Raises:
            InputError: empty data, or another number of classes than the model's.
            LabelError: mask values that are no class; also such that raise nothing by themselves, as 0 and 255 alone
                where 255 is ignored.
            DataError: a folder that cannot be written, is in use, or holds a run already; images with NaN.
            TrainingError: a loss that is not finite.
        """
        labels = self._check_data(train, val)
        group = ranks()
        if group.is_main:
            self._check_folder(resume)
        group.wait()
        notes = [] if resume or is_stream(train) else check_before_training(cast(Pairs, train), val, labels)
        self.model.labels = labels
        self.model.reading = getattr(train, "reading", None) or self.model.reading
        self.model = self.device.place(self.model)
        self.history = History(notes=notes)
        self._result = None
        self._data = {
            name: f"{'a stream' if is_stream(data) else counted(len(cast(Pairs, data)), 'image')} "
            f"of {type(data).__name__}"
            for name, data in (("train", train), ("val", val))
            if data is not None
        }
        lock = folder_lock(self.out) if self.out is not None and group.is_main else nullcontext()
        with lock, self._seeded(), self._backends(), StopSignals() as stop:
            run = self._run = self._prepare(train, val, labels, self.out)
            try:
                if resume:
                    run.restore()
                run.go(stop)
            finally:
                self._run = None
            self._result = run.best_result
        stop.deliver()
        return self.history

    def find_lr(
        self, train: Pairs | Iterable[Item], *, lowest: float = 1e-6, highest: float = 1.0, steps: int = 100
    ) -> LearningRates:
        """Try growing learning rates, a step each, and suggest one; the model is left as it was.

        The optimiser, loss, batches and augmentation are the trainer's. The suggestion is where the smoothed loss falls
        fastest: a peak rate for a schedule that comes down from it, and rather much for a constant one.

        Args:
            train: as for `fit`.
            lowest: the first rate.
            highest: the last one, unless the loss diverges before.
            steps: rates in between, at equal ratios.

        Raises:
            InputError: bounds that are not growing.
        """
        check_number("lowest", lowest, above=0)
        check_number("highest", highest, above=lowest)
        check_int("steps", steps, minimum=10)
        labels = self._check_data(train, None)
        before = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        known, self.model.labels = self.model.labels, labels
        self.model = self.device.place(self.model)
        try:
            with self._seeded():
                run = self._prepare(train, None, labels)
                return run.try_rates(lowest=lowest, highest=highest, steps=steps)
        finally:
            self.model.load_state_dict(before)
            self.model.labels = known
            self.model.eval()

    def stop(self, why: str) -> None:
        """End the run after the present step and a last validation; for hooks, and other threads.

        Args:
            why: for the history's notes.

        Raises:
            InputError: nothing runs.
        """
        if self._run is None:
            raise InputError("`stop` ends a run, and none is going on: call it from a hook, or from another thread")
        self._run.halted = why

    def evaluate(self, dataset: Pairs) -> Result:
        """Predict every image of ``dataset`` at its own size and return scores that name their protocol."""
        self._result = evaluate(self.model, dataset, device=self.device, workers=self.config.workers)
        return self._result

    @overload
    def predict(self, image: Tensor) -> Tensor: ...
    @overload
    def predict(self, image: Volume) -> Volume: ...
    @overload  # a str is a sequence of str, too; the first overload that fits takes it as a path
    def predict(self, image: ImageLike) -> NDArray[Any]: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, image: Sequence[ImageLike]) -> list[NDArray[Any]]: ...

    def predict(self, image: Any) -> Any:
        """Label every pixel of an image, a batch, a list or a volume; see `segkit.inference.Predictor.predict`."""
        return Predictor(self.model, device=self.device).predict(image)

    def save(self, folder: str | Path, *, samples: int = 3) -> Path:
        """Write the model (weights, preprocessing, class names), how it was trained, its scores and a model card.

        The scores are those of the last `evaluate`, or else of the validation whose weights the model has.

        Args:
            folder: for ``model.safetensors``, ``config.json``, ``training.json`` (settings, history, scores),
                ``README.md`` (the card) and ``samples.jpg``.
            samples: how many images of the evaluation the card shows, from the worst to the best; 0 for none, where
                they are not for everybody's eyes.
        """
        group = ranks()
        if not group.is_main:  # the first one writes, and the others wait until it is there
            group.wait()
            return Path(folder)
        folder = self.model.save(folder)
        write_card(
            folder,
            self.model,
            config=self.config,
            history=self.history,
            result=self._result,
            data=self._data,
            samples=samples,
        )
        group.wait()
        return folder

    def _check_names(self) -> None:
        """Find a misspelt loss or recipe now, not when the data has been read."""
        self._loss(Labels([str(value) for value in range(max(self.model.num_classes, 2))]))
        if self._augment is not None:
            as_transform(self._augment, size=self.config.size or (32, 32))
        if self.config.size is not None and not isinstance(self._augment, str):
            raise InputError("`size` is that of a recipe's crops; a transform of one's own has its own")

    def _check_data(self, train: Pairs | Iterable[Item], val: Pairs | None) -> Labels:
        if val is not None and is_stream(val):
            raise InputError(
                "the validation data must have a length and numbered items: give `list(...)` of the stream"
            )
        for name, data in (("training", train), ("validation", val)):
            if data is not None and not is_stream(data) and len(cast(Pairs, data)) == 0:
                raise InputError(f"the {name} data is empty: expected at least one (image, mask) item")
        if is_stream(train) and self.config.rare_classes:
            raise InputError("`rare_classes` draws items by number, which a stream has not")
        labels = dataset_labels(cast(Pairs, train), self.model.num_classes, known=self.model.labels)
        if val is not None:
            theirs = dataset_labels(val, self.model.num_classes, known=labels)
            check_same_classes(labels, theirs, "validation")
            _check_validation(val, theirs, labels)
        return labels

    def _check_folder(self, resume: bool) -> None:
        if self.out is None:
            if resume:
                raise InputError("`resume` needs `out`: the folder of the run to go on with")
            return
        check_writable(self.out)
        if not resume and Checkpoints(self.out).exist:
            raise DataError(
                f"the folder {self.out} holds a run already; go on with it (`resume=True`, on the command line "
                "--resume), or choose another folder"
            )

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Dropout draws from torch's own generators: seed them for the run, and give them back as they were."""
        devices = [self.device.torch] if self.device.torch.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.config.seed + _APART * ranks().rank)
            yield

    @contextmanager
    def _backends(self) -> Iterator[None]:
        """What torch is told for the run alone."""
        compiling = compiled(self.model, self.device, self.history.note) if self.config.compile else nullcontext()
        with tuned(self.device, deterministic=self.config.deterministic), compiling:
            yield

    def _prepare(
        self, train: Pairs | Iterable[Item], val: Pairs | None, labels: Labels, out: Path | None = None
    ) -> Run:
        config = self.config
        loader = self._loader(train, labels)
        if val is not None and config.cache not in (None, "memory"):
            val = Cached(val, str(config.cache), gigabytes=self._cache_gigabytes)
        return Run(
            self.model,
            self._loss(labels).to(self.device.torch),
            loader,
            val,
            config=config,
            device=self.device,
            history=self.history,
            out=out,
            call=hook_caller(self._hooks if ranks().is_main else (), self, self.history.note),
            optimizer=self._optimizer,
            crop=self._crop if config.progressive is not None else None,
            group=ranks(),
        )

    def _crop(self, size: tuple[int, int]) -> Transform:
        assert self._augment is not None
        assert self.model.labels is not None
        return as_transform(self._augment, size=size, ignore_index=self.model.labels.ignore_index)

    def _loader(self, train: Pairs | Iterable[Item], labels: Labels) -> AnyLoader:
        config = self.config
        shared: dict[str, Any] = {
            "labels": labels,
            "batch_size": config.batch_size,
            "transform": self._transform(train, labels),
            "seed": config.seed,
            "workers": config.workers,
            "channels": self.model.in_channels,
            "on_device": self._augments_on_device,
        }
        if is_stream(train):
            return StreamLoader(cast(Iterable[Item], train), steps_per_epoch=config.steps_per_epoch, **shared)
        pairs, in_memory = cast(Pairs, train), config.cache == "memory"
        if config.cache is not None and not in_memory:
            pairs = Cached(pairs, config.cache, gigabytes=self._cache_gigabytes)
        budget = int(self._cache_gigabytes * 2**30) if in_memory else 0
        group = ranks()
        if len(pairs) < group.size:
            raise InputError(f"{counted(len(pairs), 'training item')} cannot be shared by {group.size} processes")
        return Loader(
            pairs, cache_bytes=budget, rare_classes=config.rare_classes, share=(group.rank, group.size), **shared
        )

    @property
    def _augments_on_device(self) -> bool:
        return self.device.torch.type == "cuda"

    def _loss(self, labels: Labels) -> torch.nn.Module:
        options: dict[str, Any] = {}
        if self.config.class_weights is not None:
            options["class_weights"] = self.config.class_weights
        if self.config.label_smoothing:
            options["label_smoothing"] = self.config.label_smoothing
        loss = create_loss(self.config.loss, task=labels.task, ignore_index=labels.ignore_index, **options)
        return DeepSupervision(loss) if self.model.deep_supervision else loss

    def _transform(self, train: Pairs | Iterable[Item], labels: Labels) -> Transform | None:
        if self._augment is None:
            return None
        size = self.config.size
        if size is None and isinstance(self._augment, str):
            first = next(iter(cast(Iterable[Item], train))) if is_stream(train) else cast(Pairs, train)[0]
            size = (int(first[0].shape[-2]), int(first[0].shape[-1]))
        return as_transform(self._augment, size=size, ignore_index=labels.ignore_index)


def _check_validation(val: Pairs, theirs: Labels, ours: Labels) -> None:
    """Find before the first epoch what would stop the evaluation after it."""
    if ours.task == "multilabel":
        raise InputError(
            "a multilabel task has no single confusion matrix and cannot be validated yet; leave out `val`"
        )
    if theirs.ignore_index != ours.ignore_index:
        raise InputError(
            f"the training data ignores {ours.ignore_index} and the validation data {theirs.ignore_index}; "
            "give both the same `ignore_index`"
        )
    names = [item_id(val, index) for index in range(len(val))]
    twice = sorted({name for name, count in Counter(names).items() if count > 1})
    if twice:
        raise InputError(f"the validation data has several items named {listed(twice)}; each counts once")
