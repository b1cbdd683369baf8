"""The `countenance models broaden` command: a network goes on with a second teacher and with faces beyond the labelled sets."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import DatasetError
from models.expression.prior import LOGIT_PRIOR
from models.training.expression.commands.developing import SHIPPED_NETWORK
from models.training.expression.commands.reading import progress_bar
from models.training.expression.commands.training import prepare_backend, refuse_hints, run_training

if TYPE_CHECKING:
    import keras
    import numpy as np
    import numpy.typing as npt

    from models.training.expression.data.datasets import PackedFaces, Picture
    from models.training.expression.training.broadening import Answered
    from models.training.expression.training.soft_labels import Network
    from models.training.expression.training.training_config import TrainingConfig

    Float64Array = npt.NDArray[np.float64]


def broaden(arguments: argparse.Namespace) -> int:
    """Go on from a network, with two teachers' answers about labelled and unlabelled faces and with warped ones."""
    config = prepare_backend(arguments)
    refuse_hints(config)
    from models.training.expression.data.corpus import read_parts
    from models.training.expression.data.datasets import pack_pictures
    from models.training.expression.training import starting
    from models.training.expression.training.broadening import join_faces
    from models.training.expression.training.train import drawing_weights

    share = config.training.validation_share
    training, validation = read_parts(
        arguments.data, validation_share=share, progress=progress_bar("reading")
    )
    packed = pack_pictures(validation, side_px=config.training.stored_side_px)
    first = _without_scales(arguments.start or SHIPPED_NETWORK)
    faces = join_faces(_parts(arguments, config, first, training, packed))
    facts = {
        LOGIT_PRIOR: carried_prior(drawing_weights(config, faces), faces),
        "sources": {source: faces.sources.count(source) for source in sorted(set(faces.sources))},
    }
    return run_training(
        arguments, config, faces, packed, starting.from_model(first, name="--start"), more_facts=facts
    )


def carried_prior(weights: Float64Array, faces: PackedFaces) -> list[float]:
    """Return the prior that a network learns from these draws: six mean targets, sum 1."""
    six = (weights[:, None] * faces.targets).sum(axis=0)[:-1]
    return [round(float(v), 5) for v in six / six.sum()]


def _without_scales(path: Path) -> keras.Model:
    """Load a network, and take the label scales out of its last layer that its manifest says were folded in."""
    from models.training.expression.calibration.label_scaling import unfold_scales
    from models.training.expression.networks.building import load_network

    model = load_network(path)
    manifest = path.parent / "manifest.json"
    if manifest.exists():
        unfold_scales(model, json.loads(manifest.read_text("utf-8"))["parameters"])
    return model


def _parts(
    arguments: argparse.Namespace,
    config: TrainingConfig,
    first: keras.Model,
    training: Sequence[Picture],
    validation: PackedFaces,
) -> Iterator[PackedFaces]:
    from models.training.expression.data.face_mesh import TASK_FILE, FaceMesh
    from models.training.expression.training.broadening import pack_answered, warp_at_rest

    settings = config.training
    task = arguments.data / TASK_FILE
    if not task.exists():
        raise DatasetError(
            f"no face landmarks to warp faces by: {TASK_FILE.as_posix()} is not in the data folder"
        )
    mesh = FaceMesh(task)
    for answered in _answered(arguments, config, first, training, validation):
        labelled = answered.labels is not None
        targets = answered.targets(
            second_share=settings.second_teacher_share if labelled else settings.second_teacher_unlabelled,
            label_share=1 - settings.soft_label_share,
        )
        yield pack_answered(answered, targets, side_px=settings.stored_side_px)
        if answered.source == "synthetic_faces":
            continue
        warped = warp_at_rest(
            answered,
            targets,
            mesh,
            limit=settings.warped_each,
            side_px=settings.stored_side_px,
            seed=settings.seed,
            progress=progress_bar(f"warping {answered.source}", unit=" faces"),
        )
        if warped is not None:
            yield warped


def _answered(
    arguments: argparse.Namespace,
    config: TrainingConfig,
    first: keras.Model,
    training: Sequence[Picture],
    validation: PackedFaces,
) -> Iterator[Answered]:
    import numpy as np

    from models.face_detector.runtime import Detector
    from models.runtime.manifest import ARTIFACTS_DIR, load_manifest
    from models.training.expression.data.datasets import seven_way
    from models.training.expression.data.splits import Part
    from models.training.expression.data.unlabelled import FFHQ, SYNTHETIC, read_faces
    from models.training.expression.networks.building import as_function
    from models.training.expression.training.broadening import Answered
    from models.training.expression.training.second_teacher import ask_second_teacher, open_second_teacher
    from models.training.expression.training.soft_label_splits import load_student_labels
    from models.training.expression.training.soft_labels import SHIPPED_LABELS

    known = load_student_labels(
        arguments.soft_labels or SHIPPED_LABELS,
        validation_share=config.training.validation_share,
        validation=validation,
    )
    network, side_px = as_function(first), int(first.input_shape[1])
    read = open_second_teacher(arguments.data, threads=arguments.threads or 1)
    detector = Detector(load_manifest(ARTIFACTS_DIR / "face_detector").read())
    for source in sorted({p.source for p in training}):
        mine = [p for p in training if p.source == source]
        pixels = [p.pixels for p in mine]
        own = _own_answers(pixels, network, side_px)
        found, earlier = known.lookup([p.digest for p in mine])
        own[found] = (own[found] + earlier[found]) / 2
        yield Answered(
            source=source,
            pictures=pixels,
            digests=[p.digest for p in mine],
            own=own,
            second=ask_second_teacher(pixels, read, progress=progress_bar(f"second teacher, {source}")),
            labels=np.stack([seven_way(p) for p in mine]).astype(np.float64),
        )
    for source in (FFHQ, SYNTHETIC):
        bar = progress_bar(f"finding faces, {source}")
        faces = list(read_faces(arguments.data, source, Part.TRAIN, detector=detector, progress=bar))
        if faces:
            crops = [face.crop for face in faces]
            yield Answered(
                source=source,
                pictures=crops,
                digests=[face.digest for face in faces],
                own=_own_answers(crops, network, side_px),
                second=ask_second_teacher(crops, read, progress=progress_bar(f"second teacher, {source}")),
            )


def _own_answers(pictures: Sequence[npt.NDArray[np.uint8]], network: Network, side_px: int) -> Float64Array:
    import numpy as np

    from models.expression.preprocessing import to_grey
    from models.training.expression.training.soft_labels import BATCH, ask_both_ways

    grey = [to_grey(picture) for picture in pictures]
    bar = progress_bar("own answers", unit=" batches")
    said = [ask_both_ways(grey[i : i + BATCH], [(network, side_px)]) for i in bar(range(0, len(grey), BATCH))]
    return np.concatenate(said)
