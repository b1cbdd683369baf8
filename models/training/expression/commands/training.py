"""The `countenance models` commands train and prune, and what every command that learns shares."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import DatasetError
from models.training.expression.commands.backend import load_keras
from models.training.expression.commands.reading import load_parts, read_chosen_config

if TYPE_CHECKING:
    import keras

    from models.training.expression.data.datasets import PackedFaces
    from models.training.expression.training.hints import Hints
    from models.training.expression.training.training_config import TrainingConfig
    from models.training.expression.training.views import LabelledViews


def train(arguments: argparse.Namespace) -> int:
    """Train a network into `--out`; returns the exit status, as all commands here do."""
    config = prepare_backend(arguments)
    from models.training.expression.training import starting

    refuse_hints(config)
    if arguments.faces:
        starting.check_starts_from_faces(config)
    start = starting.from_network(arguments.start) if arguments.start else None
    training, validation = load_parts(arguments.data, config)
    training = with_soft_labels(training, validation, arguments.soft_labels, config)
    if arguments.faces:
        start = starting.from_faces(arguments.faces, config, training)
    return run_training(arguments, config, training, validation, start)


def prune(arguments: argparse.Namespace) -> int:
    """Drop the channels that matter least from a trained network, then let it recover."""
    from models.training.expression.exporting.prune import prune_network
    from models.training.expression.networks.building import load_network
    from models.training.expression.training.training_config import TRAINED_FILE, config_from_run

    arguments.config = None
    prepare_backend(arguments)
    config = config_from_run(arguments.run)
    trained = load_network(arguments.run / TRAINED_FILE)
    narrow, network = prune_network(trained, config.network, keep=arguments.keep)
    config = config.with_network(network).with_training(
        epochs=arguments.epochs, peak_learning_rate=arguments.learning_rate, hint_directions=0
    )
    training, validation = load_parts(arguments.data, config)
    training = with_soft_labels(training, validation, arguments.soft_labels, config)
    return run_training(
        arguments, config, training, validation, lambda model: model.set_weights(narrow.get_weights())
    )


def refuse_hints(config: TrainingConfig) -> None:
    """Refuse a configuration with hints where no teacher gives any.

    Raises:
        DatasetError: it asks for hints.
    """
    if config.training.hint_directions:
        raise DatasetError(
            "hint_directions needs teachers and views of theirs: distil --views N --teacher RUN"
        )


def prepare_backend(arguments: argparse.Namespace) -> TrainingConfig:
    """Quieten and size the numeric libraries, and read the configuration that `--config` names."""
    load_keras()
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
    from models.training.expression.training.soft_label_splits import load_student_labels
    from models.training.expression.training.soft_labels import soften

    known = load_student_labels(
        labels, validation_share=config.training.validation_share, validation=validation
    )
    return soften(training, known, share=config.training.soft_label_share)


def run_training(
    arguments: argparse.Namespace,
    config: TrainingConfig,
    training: PackedFaces,
    validation: PackedFaces,
    start: Callable[[keras.Model], None] | None,
    views: LabelledViews | None = None,
    hints: Hints | None = None,
    more_facts: Mapping[str, object] | None = None,
) -> int:
    """Train into `--out` and keep the run's facts there; see `train.train`."""
    import keras

    from models.training.expression.networks.building import build_from_table
    from models.training.expression.training import train as training_run

    arguments.out.mkdir(parents=True, exist_ok=True)
    facts = training_run.describe_run(
        config, build_from_table(config.network), n_training=len(training), n_validation=len(validation)
    )
    facts["command"] = describe_command(arguments)
    facts["network"] = dict(config.network)
    facts |= more_facts or {}

    def keep_facts(logs: object = None) -> None:
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
        hints=hints,
        # Not before: what refuses to begin must not replace what an earlier run says of itself.
        extra_callbacks=[keras.callbacks.LambdaCallback(on_train_begin=keep_facts)],
    )
    print(f"averaged network in {result.model_path}; validation: {json.dumps(dict(result.validation))}")
    return 0


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
    if getattr(arguments, "labels_only", False):
        words.append("--labels-only")
    earlier = ""
    if arguments.resume:
        from models.training.expression.training.training_config import read_run

        words.append("--resume")
        earlier = str(read_run(arguments.out).get("command", ""))
    return " && ".join(part for part in (earlier, " ".join(words)) if part)
