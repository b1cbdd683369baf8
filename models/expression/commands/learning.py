"""The `countenance models` commands that learn: train, distil, prune."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import DatasetError
from models.expression.commands.reading import load_parts, progress_bar, read_chosen_config, read_file

if TYPE_CHECKING:
    import keras

    from models.expression.data.datasets import PackedFaces
    from models.expression.learning.soft_labels import Network
    from models.expression.learning.training_config import TrainingConfig
    from models.expression.learning.views import LabelledViews

LABELS_FOLDER = "labels"
VIEWS_FILE = "views.npz"


def train(arguments: argparse.Namespace) -> int:
    """Train a network into `--out`; returns the exit status, as all commands here do."""
    config = prepare_backend(arguments)
    from models.expression.learning import starting

    training, validation = load_parts(arguments.data, config)
    training = with_soft_labels(training, validation, arguments.soft_labels, config)
    start = None
    if arguments.start:
        start = starting.from_network(arguments.start)
    elif arguments.faces:
        start = starting.from_faces(arguments.faces, config, training)
    return _run(arguments, config, training, validation, start)


def distil(arguments: argparse.Namespace) -> int:
    """Let teachers label the training pictures, then train a student on what they said."""
    from models.expression.learning.soft_labels import SHIPPED_LABELS, check_weight

    if arguments.views is not None and arguments.views < 1:
        raise DatasetError(f"--views must be at least 1, not {arguments.views}")
    for option in ("add_labels", "labels_only", "views"):
        if getattr(arguments, option) and not arguments.teacher:
            name = option.replace("_", "-")
            raise DatasetError(f"--{name} needs a --teacher RUN whose answers are to be written")
    if arguments.views and (arguments.add_labels or arguments.labels_only):
        raise DatasetError("--views writes no soft labels: leave out --add-labels and --labels-only")
    check_weight(arguments.add_weight)
    config = prepare_backend(arguments)
    if arguments.views:
        return _distil_by_views(arguments, config)
    labels = SHIPPED_LABELS
    if arguments.teacher:
        labels = arguments.out / LABELS_FOLDER
        _write_soft_labels(arguments, labels)
    if arguments.labels_only:
        return 0
    arguments.soft_labels, arguments.faces = labels, None
    return train(arguments)


def prune(arguments: argparse.Namespace) -> int:
    """Drop the channels that matter least from a trained network, then let it recover."""
    from models.expression.exporting.prune import prune_network
    from models.expression.learning.training_config import TRAINED_FILE, config_from_run
    from models.expression.networks.building import load_network

    arguments.config = None
    prepare_backend(arguments)
    config = config_from_run(arguments.run)
    trained = load_network(arguments.run / TRAINED_FILE)
    narrow, network = prune_network(trained, config.network, keep=arguments.keep)
    config = config.with_network(network).with_training(
        epochs=arguments.epochs, peak_learning_rate=arguments.learning_rate
    )
    training, validation = load_parts(arguments.data, config)
    training = with_soft_labels(training, validation, arguments.soft_labels, config)
    return _run(
        arguments, config, training, validation, lambda model: model.set_weights(narrow.get_weights())
    )


def prepare_backend(arguments: argparse.Namespace) -> TrainingConfig:
    """Quieten and size the numeric libraries, and read the configuration that `--config` names."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import cv2
    import keras

    cv2.setNumThreads(1)
    if arguments.threads and keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(arguments.threads)
    elif arguments.threads and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    return read_chosen_config(arguments.config)


def with_soft_labels(
    training: PackedFaces, validation: PackedFaces, labels: Path | None, config: TrainingConfig
) -> PackedFaces:
    """Return the pictures with targets moved towards a teacher's answers, if there are any."""
    if labels is None:
        return training
    from models.expression.learning.soft_label_splits import load_student_labels
    from models.expression.learning.soft_labels import soften

    known = load_student_labels(
        labels, validation_share=config.training.validation_share, validation=validation
    )
    return soften(training, known, share=config.training.soft_label_share)


def _run(
    arguments: argparse.Namespace,
    config: TrainingConfig,
    training: PackedFaces,
    validation: PackedFaces,
    start: Callable[[keras.Model], None] | None,
    views: LabelledViews | None = None,
) -> int:
    from models.expression.learning import train as training_run
    from models.expression.networks.building import build_from_table

    arguments.out.mkdir(parents=True, exist_ok=True)
    facts = training_run.describe_run(
        config, build_from_table(config.network), n_training=len(training), n_validation=len(validation)
    )
    facts["command"] = describe_command(arguments)
    facts["network"] = dict(config.network)
    (arguments.out / "run.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    result = training_run.train(
        config,
        training=training,
        validation=validation,
        out=arguments.out,
        limit_s=arguments.minutes * 60 if arguments.minutes else None,
        resume=arguments.resume,
        prepare=start,
        views=views,
    )
    print(f"averaged network in {result.model_path}; validation: {json.dumps(dict(result.validation))}")
    return 0


def _write_soft_labels(arguments: argparse.Namespace, out: Path) -> None:
    from datetime import UTC, datetime

    from models.expression.learning.soft_label_splits import load_student_labels, teachers_share
    from models.expression.learning.soft_labels import label_softly, mix_labels, write_labels_artifact
    from models.expression.learning.training_config import config_from_run

    validation_share = teachers_share(config_from_run(run) for run in arguments.teacher)
    networks = _teachers(arguments.teacher)
    # Pictures are kept as large as the last teacher was trained on; the others shrink them.
    training, validation = load_parts(arguments.data, config_from_run(arguments.teacher[-1]))
    earlier = None
    if arguments.add_labels:
        earlier = load_student_labels(
            arguments.add_labels, validation_share=validation_share, validation=validation
        )
    labels = label_softly(training, networks, progress=progress_bar("labelling", unit=" batches"))
    if earlier:
        labels = mix_labels(labels, earlier, weight=arguments.add_weight)
    manifest = write_labels_artifact(
        labels,
        out,
        command=describe_command(arguments),
        created=datetime.now(UTC),
        sources=tuple(
            {"name": s, "pictures": str(training.sources.count(s))} for s in sorted(set(training.sources))
        ),
        validation_share=validation_share,
    )
    print(f"{out}: {len(training)} pictures, {manifest.variant().size_bytes} bytes")


def _distil_by_views(arguments: argparse.Namespace, config: TrainingConfig) -> int:
    import hashlib

    from models.expression.learning import starting
    from models.expression.learning.soft_label_splits import check_share, teachers_share
    from models.expression.learning.train import drawing_weights
    from models.expression.learning.training_config import TRAINED_FILE, config_from_run
    from models.expression.learning.views import label_views, load_views, views_origin

    runs = [config_from_run(run) for run in arguments.teacher]
    check_share(teachers_share(runs), own=config.training.validation_share, whose="the teachers")
    sharp = config.with_training(stored_side_px=max(run.training.stored_side_px for run in runs))
    training, validation = load_parts(arguments.data, sharp)
    path = arguments.out / VIEWS_FILE
    origin = views_origin(
        training,
        seed=config.training.seed,
        count=arguments.views,
        teachers=[hashlib.sha256(read_file(run / TRAINED_FILE)).hexdigest() for run in arguments.teacher],
    )
    if arguments.resume and path.exists():
        views = load_views(path, origin=origin)
    else:
        views = label_views(
            training,
            _teachers(arguments.teacher),
            count=arguments.views,
            side_px=int(config.network["input_side_px"]),
            weights=drawing_weights(config, training),
            augmentation=config.augmentation,
            seed=config.training.seed,
            origin=origin,
            progress=progress_bar("labelling views", unit=" batches"),
        )
        arguments.out.mkdir(parents=True, exist_ok=True)
        views.save(path)
    start = starting.from_network(arguments.start) if arguments.start else None
    return _run(arguments, config, training, validation, start, views)


def _teachers(runs: Iterable[Path]) -> list[tuple[Network, int]]:
    from models.expression.learning.training_config import TRAINED_FILE
    from models.expression.networks.building import as_function, load_network

    models = [load_network(run / TRAINED_FILE) for run in runs]
    return [(as_function(model), int(model.input_shape[1])) for model in models]


def describe_command(arguments: argparse.Namespace) -> str:
    """Return the command line of a run without its folders, for the manifest."""
    words = [f"countenance models {arguments.models_command} --data DIR --out RUN"]
    for name in ("config", "faces", "start", "soft_labels", "run", "add_labels"):
        value = getattr(arguments, name, None)
        # `distil` has no such option: it finds the labels by itself.
        if value and (name, arguments.models_command) != ("soft_labels", "distil"):
            words.append(f"--{name.replace('_', '-')} {value.name}")
    words += [f"--teacher {run.name}" for run in getattr(arguments, "teacher", None) or ()]
    for name in ("views", "minutes", "keep", "epochs", "learning_rate", "add_weight"):
        value = getattr(arguments, name, None)
        if value and (name != "add_weight" or arguments.add_labels):
            words.append(
                f"--{name.replace('_', '-')} {value if isinstance(value, int) else format(value, 'g')}"
            )
    earlier = ""
    if arguments.resume:
        from models.expression.learning.training_config import read_run

        words.append("--resume")
        earlier = str(read_run(arguments.out).get("command", ""))
    return " && ".join(part for part in (earlier, " ".join(words)) if part)
