"""Train the expression network: resumable, seeded, averaged, with a wall-clock limit if one is given.

Keras 3 only, so the TensorFlow, JAX and PyTorch backends all run it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.expression.preprocessing import resize_grey, standardise
from models.expression.taxonomy import N_LABELS
from models.training.expression.data.datasets import PackedFaces
from models.training.expression.evaluation.scoring import accuracy, macro_recall
from models.training.expression.networks.architectures import count_macs
from models.training.expression.networks.building import build_from_table, first_difference, without_gradients
from models.training.expression.training.hints import Hints, with_hints, without_hints
from models.training.expression.training.sampling import AugmentedBatches, SeededBatches, sampling_weights
from models.training.expression.training.training_config import TRAINED_FILE, TrainingConfig
from models.training.expression.training.views import LabelledViews, ViewBatches

CHECKPOINT_FILE = "checkpoint.keras"
"""Where an interrupted run goes on from: weights, optimiser and, beside the answer, the hints."""

SETTLING_STEPS = 200
EPOCH_SETTLING_STEPS = 60
"""Enough to score an epoch by; the last one is settled in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """Where the averaged network lies, and how it scored on validation after the last epoch."""

    model_path: Path
    history_path: Path
    validation: Mapping[str, float]


class CosineByProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """Warm up, then follow a cosine to zero by share of steps or of allowed time, whichever is further.

    With a time limit the run ends with a finished schedule on any machine; without one it depends on the
    configuration alone.
    """

    def __init__(
        self, *, peak: float, warmup_share: float, total_steps: int, first_step: int, limit_s: float | None
    ):
        super().__init__()
        self._peak = peak
        self._warmup_share = warmup_share
        self._total_steps = total_steps
        self._step = first_step
        self._limit_s = limit_s
        self._start_s = time.monotonic()

    def progress(self) -> float:
        """Return how far the run is, in [0, 1]."""
        by_steps = self._step / self._total_steps
        by_time = (time.monotonic() - self._start_s) / self._limit_s if self._limit_s else 0.0
        return min(1.0, max(by_steps, by_time))

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Set the rate for the next step."""
        self.model.optimizer.learning_rate = learning_rate(
            self.progress(), peak=self._peak, warmup_share=self._warmup_share
        )

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Count the step; stop once the allowed time is over."""
        self._step += 1
        if self.progress() >= 1.0:
            self.model.stop_training = True


class EpochReport(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch, save the averaged weights, settle them, and score them on each validation source."""

    def __init__(
        self,
        *,
        out: Path,
        validation: PackedFaces,
        batches: SeededBatches[Any],
        history: list[dict[str, float]],
    ):
        super().__init__()
        self._out = out
        self._batches = batches
        self._validation = validation
        self._grey = np.stack([resize_grey(g, batches.side_px) for g in validation.grey])
        self._history = history
        self._start_s = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Score, save and print one line; runs while the averaged weights are swapped in."""
        row = {"epoch": float(epoch), "loss": float((logs or {}).get("loss", math.nan))}
        without_hints(self.model).save(self._out / TRAINED_FILE, include_optimizer=False)
        settled = settle_statistics(self._out / TRAINED_FILE, self._batches, steps=EPOCH_SETTLING_STEPS)
        row |= score_by_source(settled, self._grey, self._validation)
        row["elapsed_s"] = time.monotonic() - self._start_s
        self._history.append(row)
        (self._out / "history.json").write_text(json.dumps(self._history, indent=1), "utf-8")
        print(json.dumps({k: round(v, 4) for k, v in row.items()}), flush=True)


def learning_rate(progress: float, *, peak: float, warmup_share: float) -> float:
    """Return the learning rate at a share of the run: linear warm-up to `peak`, then a cosine to zero."""
    if progress < warmup_share:
        return peak * max(progress / warmup_share, 0.01)
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - warmup_share) / (1 - warmup_share)))


def score_by_source(model: keras.Model, grey: np.ndarray, faces: PackedFaces) -> dict[str, float]:
    """Return accuracy and macro recall per source on clean pictures, as `<source>_accuracy` and so on."""
    with without_gradients():
        logits = np.concatenate(
            [
                keras.ops.convert_to_numpy(model(standardise(grey[i : i + 256]), training=False))
                for i in range(0, len(grey), 256)
            ]
        )
    predicted = logits[:, :N_LABELS].argmax(axis=1)
    scores: dict[str, float] = {}
    for source in sorted(set(faces.sources)):
        chosen = np.asarray(faces.sources) == source
        scores[f"{source}_accuracy"] = accuracy(faces.labels[chosen], predicted[chosen])
        scores[f"{source}_macro_recall"] = macro_recall(faces.labels[chosen], predicted[chosen])
    return scores


def train(
    config: TrainingConfig,
    *,
    training: PackedFaces,
    validation: PackedFaces,
    out: Path,
    limit_s: float | None = None,
    resume: bool = False,
    prepare: Callable[[keras.Model], None] | None = None,
    views: LabelledViews | None = None,
    hints: Hints | None = None,
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> TrainingResult:
    """Train from scratch, or go on from the last finished epoch in `out` if `resume`.

    Args:
        config: network, schedule and augmentation.
        training: pictures to learn from.
        validation: pictures to report on after each epoch; never learned from.
        out: folder for checkpoints, history and the averaged network.
        limit_s: wall-clock limit in seconds; the schedule is stretched to end with it.
        resume: go on from `out`.
        prepare: gives a new network its first weights, where they are not random.
        views: what to learn from instead of freshly distorted pictures.
        hints: what the teachers' inner layers see in those views, to be learned too.
        extra_callbacks: further Keras callbacks.

    Raises:
        DatasetError: a validation picture is also a training picture, the views have another size than the
            network's input, or the checkpoint in `out` is of another network.
    """
    if set(training.digests) & set(validation.digests):
        raise DatasetError("a validation picture is also a training picture")
    out.mkdir(parents=True, exist_ok=True)
    settings = config.training
    keras.utils.set_random_seed(settings.seed)
    keras.mixed_precision.set_global_policy(settings.precision)
    steps = settings.epoch_pictures // settings.batch_size
    history = _read_history(out) if resume else []
    model = _compiled(config, out=out, resume=resume, prepare=prepare, hints=hints)
    side_px = int(model.input_shape[1])
    batches = _batches(config, training, views, hints, steps=steps, side_px=side_px, first_epoch=len(history))
    callbacks = [
        CosineByProgress(
            peak=settings.peak_learning_rate,
            warmup_share=settings.warmup_share,
            total_steps=steps * settings.epochs,
            first_step=steps * len(history),
            limit_s=limit_s,
        ),
        keras.callbacks.ModelCheckpoint(out / CHECKPOINT_FILE),
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        EpochReport(out=out, validation=validation, batches=batches, history=history),
        *extra_callbacks,
    ]
    model.fit(batches, initial_epoch=len(history), epochs=settings.epochs, callbacks=callbacks, verbose=0)
    settle_statistics(out / TRAINED_FILE, batches)
    last = {k: v for k, v in history[-1].items() if k not in ("epoch", "loss", "elapsed_s")}
    return TrainingResult(model_path=out / TRAINED_FILE, history_path=out / "history.json", validation=last)


def augmented_batches(
    config: TrainingConfig, training: PackedFaces, *, steps: int, side_px: int, first_epoch: int
) -> AugmentedBatches:
    """Return the training batches that a configuration asks for, from an epoch on."""
    settings = config.training
    return AugmentedBatches(
        training,
        weights=drawing_weights(config, training),
        batch_size=settings.batch_size,
        steps_per_epoch=steps,
        side_px=side_px,
        label_smoothing=settings.label_smoothing,
        augmentation=config.augmentation,
        seed=settings.seed,
        first_epoch=first_epoch,
    )


def drawing_weights(config: TrainingConfig, training: PackedFaces) -> npt.NDArray[np.float64]:
    """Return the probability of each picture of being drawn under a configuration, float64 (n,)."""
    return sampling_weights(
        training.sources,
        training.labels,
        source_shares=config.training.source_shares,
        balance=config.training.class_balance,
    )


def settle_statistics(
    model_path: Path, batches: SeededBatches[Any], *, steps: int = SETTLING_STEPS
) -> keras.Model:
    """Let batch normalisation see the averaged weights, whose activations no training step ever met.

    Args:
        model_path: averaged network; replaced by the settled one.
        batches: training batches.
        steps: batches to look at; the moving averages forget the old figures after about 100.

    Returns:
        The settled network, which also lies at `model_path`.
    """
    model = keras.models.load_model(model_path, compile=False)
    with without_gradients():
        for step in range(min(steps, len(batches))):
            model(batches[step][0], training=True)
    model.save(model_path, include_optimizer=False)
    return model


def describe_run(
    config: TrainingConfig, model: keras.Model, *, n_training: int, n_validation: int
) -> dict[str, object]:
    """Return the facts of a run that its card and manifest repeat."""
    return {
        "parameters": model.count_params(),
        "macs": count_macs(model),
        "training_pictures": n_training,
        "validation_pictures": n_validation,
        "training": {**asdict(config.training), "source_shares": dict(config.training.source_shares)},
        "augmentation": asdict(config.augmentation),
    }


def _batches(
    config: TrainingConfig,
    training: PackedFaces,
    views: LabelledViews | None,
    hints: Hints | None,
    *,
    steps: int,
    side_px: int,
    first_epoch: int,
) -> SeededBatches[Any]:
    if views is None:
        return augmented_batches(config, training, steps=steps, side_px=side_px, first_epoch=first_epoch)
    return _view_batches(config, views, hints, steps=steps, side_px=side_px, first_epoch=first_epoch)


def _view_batches(
    config: TrainingConfig,
    views: LabelledViews,
    hints: Hints | None,
    *,
    steps: int,
    side_px: int,
    first_epoch: int,
) -> ViewBatches:
    if views.grey.shape[1] != side_px:
        raise DatasetError(f"the views have {views.grey.shape[1]} px, the network reads {side_px} px")
    settings = config.training
    return ViewBatches(
        views,
        answer_share=settings.soft_label_share,
        batch_size=settings.batch_size,
        steps_per_epoch=steps,
        seed=settings.seed,
        first_epoch=first_epoch,
        hints=None if hints is None else hints.values,
    )


def _compiled(
    config: TrainingConfig,
    *,
    out: Path,
    resume: bool,
    prepare: Callable[[keras.Model], None] | None,
    hints: Hints | None,
) -> keras.Model:
    settings = config.training
    model = build_from_table(config.network, fast=True)
    checkpoint = out / CHECKPOINT_FILE
    resumes = resume and checkpoint.exists()
    if prepare and not resumes:
        prepare(model)
    answer_loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    if hints is not None:
        model = with_hints(model, hints.values.shape[1])
    if resumes:
        return _resumed(checkpoint, model)
    model.compile(
        optimizer=keras.optimizers.SGD(
            settings.peak_learning_rate,
            momentum=settings.momentum,
            nesterov=True,
            weight_decay=settings.weight_decay,
            use_ema=True,
            ema_momentum=settings.ema_decay,
        ),
        loss=answer_loss if hints is None else [answer_loss, keras.losses.MeanSquaredError()],
        loss_weights=None if hints is None else [1.0, settings.hint_weight],
        jit_compile=False,
    )
    return model


def _resumed(checkpoint: Path, expected: keras.Model) -> keras.Model:
    try:
        model = keras.models.load_model(checkpoint)
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"cannot go on from {checkpoint}: {error}") from error
    if differs := first_difference(expected, model):
        raise DatasetError(
            f"cannot go on from {checkpoint}: it has {differs[1]} where the configuration asks for {differs[0]}; "
            "give the configuration that it was trained with, or another --out"
        )
    return model


def _read_history(out: Path) -> list[dict[str, float]]:
    path = out / "history.json"
    try:
        return list(json.loads(path.read_text("utf-8"))) if path.exists() else []
    except ValueError as error:
        raise DatasetError(f"cannot go on: {path} is damaged: {error}") from error
