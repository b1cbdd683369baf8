"""The `countenance models distil` command: teachers answer, a student learns what they say."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import DatasetError
from models.training.expression.commands.reading import load_parts, progress_bar, read_file
from models.training.expression.commands.training import (
    describe_command,
    prepare_backend,
    refuse_hints,
    run_training,
    train,
)

if TYPE_CHECKING:
    import keras

    from models.training.expression.training.hints import Hints
    from models.training.expression.training.soft_labels import Network
    from models.training.expression.training.training_config import TrainingConfig
    from models.training.expression.training.views import LabelledViews

LABELS_FOLDER = "labels"
VIEWS_FILE = "views.npz"
HINTS_FILE = "hints.npz"

EVEN_WEIGHT = 0.5
"""Share of earlier soft labels unless `--add-weight` says another."""


def distil(arguments: argparse.Namespace) -> int:
    """Let teachers label the training pictures, then train a student on what they said."""
    from models.training.expression.training.soft_labels import SHIPPED_LABELS, check_weight

    for option in ("add_labels", "labels_only", "views"):
        if getattr(arguments, option) and not arguments.teacher:
            name = option.replace("_", "-")
            raise DatasetError(f"--{name} needs a --teacher RUN whose answers are to be written")
    if arguments.views and (arguments.add_labels or arguments.labels_only):
        raise DatasetError("--views writes no soft labels: leave out --add-labels and --labels-only")
    if arguments.add_weight is not None and not arguments.add_labels:
        raise DatasetError("--add-weight is the share of --add-labels: give both, or neither")
    if arguments.add_weight is None:
        arguments.add_weight = EVEN_WEIGHT
    check_weight(arguments.add_weight)
    for option in ("config", "start", "minutes", "resume"):
        if arguments.labels_only and getattr(arguments, option):
            raise DatasetError(f"--labels-only trains nothing: leave out --{option}")
    config = prepare_backend(arguments)
    if arguments.views:
        return _distil_by_views(arguments, config)
    refuse_hints(config)
    labels = SHIPPED_LABELS
    if arguments.teacher:
        labels = arguments.out / LABELS_FOLDER
        _write_soft_labels(arguments, labels)
    if arguments.labels_only:
        return 0
    arguments.soft_labels, arguments.faces = labels, None
    return train(arguments)


def _write_soft_labels(arguments: argparse.Namespace, out: Path) -> None:
    from datetime import UTC, datetime

    from models.training.expression.training.soft_label_splits import load_student_labels, teachers_share
    from models.training.expression.training.soft_labels import (
        label_softly,
        mix_labels,
        write_labels_artifact,
    )
    from models.training.expression.training.training_config import config_from_run

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

    from models.training.expression.networks.building import as_function, build_from_table
    from models.training.expression.training import starting
    from models.training.expression.training.soft_label_splits import check_share, teachers_share
    from models.training.expression.training.train import drawing_weights
    from models.training.expression.training.training_config import TRAINED_FILE, config_from_run
    from models.training.expression.training.views import Drawing, label_views, load_views, views_origin

    start = starting.from_network(arguments.start) if arguments.start else None
    student = build_from_table(config.network, fast=True)
    if start:
        start(student)
    networks = _networks(arguments.teacher)
    looks = _inner_views(networks, config.training.hint_directions)
    runs = [config_from_run(run) for run in arguments.teacher]
    check_share(teachers_share(runs), own=config.training.validation_share, whose="the teachers")
    sharp = config.with_training(stored_side_px=max(run.training.stored_side_px for run in runs))
    training, validation = load_parts(arguments.data, sharp)
    path = arguments.out / VIEWS_FILE
    drawing = Drawing(
        count=arguments.views,
        side_px=int(student.input_shape[1]),
        weights=drawing_weights(config, training),
        augmentation=config.augmentation,
        seed=config.training.seed,
    )
    origin = views_origin(
        training,
        drawing,
        teachers=[hashlib.sha256(read_file(run / TRAINED_FILE)).hexdigest() for run in arguments.teacher],
    )
    if arguments.resume and path.exists():
        views = load_views(path, origin=origin)
    else:
        views = label_views(
            training,
            [(as_function(model), side_px) for model, side_px in networks],
            drawing,
            origin=origin,
            progress=progress_bar("labelling views", unit=" batches"),
        )
        arguments.out.mkdir(parents=True, exist_ok=True)
        views.save(path)
    hints = _hints(arguments, config, views, looks) if looks else None
    return run_training(arguments, config, training, validation, start, views, hints)


def _inner_views(networks: Iterable[tuple[keras.Model, int]], directions: int) -> list[tuple[Network, int]]:
    """Return what the teachers compute up to their pooled features, or nothing where no hints are asked for."""
    from models.training.expression.training.hints import check_directions, inner_view, pooled_channels

    if not directions:
        return []
    check_directions(directions, channels=sum(pooled_channels(model) for model, _ in networks))
    return [(inner_view(model), side_px) for model, side_px in networks]


def _hints(
    arguments: argparse.Namespace,
    config: TrainingConfig,
    views: LabelledViews,
    looks: Sequence[tuple[Network, int]],
) -> Hints:
    from models.training.expression.training.hints import gather_hints, load_hints

    path, directions = arguments.out / HINTS_FILE, config.training.hint_directions
    if arguments.resume and path.exists():
        return load_hints(path, origin=views.origin, directions=directions)
    hints = gather_hints(
        views,
        looks,
        directions=directions,
        progress=progress_bar("looking into the teachers", unit=" batches"),
    )
    hints.save(path)
    print(f"{directions} directions hold {hints.explained:.0%} of the variance of the teachers' features")
    return hints


def _teachers(runs: Iterable[Path]) -> list[tuple[Network, int]]:
    from models.training.expression.networks.building import as_function

    return [(as_function(model), side_px) for model, side_px in _networks(runs)]


def _networks(runs: Iterable[Path]) -> list[tuple[keras.Model, int]]:
    """Return what runs trained, each with the side of its input in pixels."""
    from models.training.expression.networks.building import load_network
    from models.training.expression.training.training_config import TRAINED_FILE

    models = [load_network(run / TRAINED_FILE) for run in runs]
    return [(model, int(model.input_shape[1])) for model in models]
