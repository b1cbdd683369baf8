"""The `countenance models` commands that measure a part alone; `models.audit` measures everything."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from models.errors import ModelsError
from models.expression.loading import load_expression
from models.runtime.writing import check_place, write_figures
from models.training.expression.commands.reading import (
    load_parts,
    progress_bar,
    read_chosen_config,
    read_file,
)


def choose(arguments: argparse.Namespace) -> int:
    """Compare networks and their means on validation pictures, paired with the first."""
    from models.training.expression.commands.training import prepare_backend
    from models.training.expression.evaluation.validation import compare_answers, mean_answer, probabilities
    from models.training.expression.networks.building import as_function, load_network

    config = prepare_backend(arguments)
    means = {words: [Path(word) for word in words.split(",")] for words in arguments.networks}
    paths = sorted({path for several in means.values() for path in several})
    models = {path: load_network(path) for path in paths}
    sides = {path: int(model.input_shape[1]) for path, model in models.items()}
    stored = max(config.training.stored_side_px, *sides.values())
    _, validation = load_parts(arguments.data, config.with_training(stored_side_px=stored))
    said = {
        path: probabilities(
            as_function(models[path]), validation, side_px=sides[path], mirrored=arguments.mirrored
        )
        for path in progress_bar("answering", unit=" networks")(paths)
    }
    body = compare_answers(
        {words: mean_answer([said[path] for path in several]) for words, several in means.items()}, validation
    )
    if arguments.json:
        print(json.dumps(body, indent=2))
        return 0
    for words, figures in body.items():
        print(
            f"{words}: {figures['mean_gain_points']:+.2f} +- {figures['mean_gain_standard_error']:.2f} points"
        )
        for source, row in figures["sources"].items():
            print(
                f"  {source:10} {row['accuracy']:.4f} / {row['macro_recall']:.4f}  loss {row['loss']:.4f}  "
                f"{row['gain_points']:+.2f} +- {row['gain_standard_error']:.2f}"
            )
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Measure several files on the test sets: accuracy against the first, size, time."""
    from models.training.expression.evaluation.compare import compare_files
    from models.training.expression.evaluation.evaluate import load_test_sets
    from models.training.face_detector.evaluation.evaluate import describe_machine

    check_place(arguments.out)
    files = {"/".join(path.parts[-2:]): read_file(path) for path in arguments.files}
    if len(files) < len(arguments.files):
        raise ModelsError("two of the files have the same name in folders of the same name; rename one")
    body = {"files": compare_files(files, load_test_sets(arguments.data, progress_bar("reading")))}
    body["machine"] = describe_machine()
    write_figures(arguments.out, body)
    for name, figures in body["files"].items():
        sets = "; ".join(
            f"{s} {v['accuracy']:.4f} ({-v['loss_points'][0]:+.2f} points)"
            for s, v in figures["sets"].items()
        )
        print(f"{name}: {figures['size_bytes']} bytes, {figures['ms_1_thread']:.3f} ms; {sets}")
    return 0


def framing(arguments: argparse.Namespace) -> int:
    """Say how well the network reads validation faces at each framing of the crop."""
    from dataclasses import asdict

    from models.face_crop.alignment import FRAMING
    from models.face_detector.runtime import Detector
    from models.runtime.manifest import ARTIFACTS_DIR, load_manifest
    from models.training.expression.data.corpus import read_parts
    from models.training.expression.evaluation.engines import litert_predictor
    from models.training.expression.evaluation.framing import framings, score_framing, see_faces

    if arguments.out:
        check_place(arguments.out)
    artifact = load_expression(arguments.artifact)
    content = load_manifest(ARTIFACTS_DIR / "face_detector").read("float32")
    read = litert_predictor(artifact.manifest.read(), side_px=artifact.input_side_px)
    share = read_chosen_config(arguments.config).training.validation_share
    _, validation = read_parts(arguments.data, validation_share=share, progress=progress_bar("reading"))
    faces = see_faces(validation, lambda: Detector(content), progress=progress_bar("finding faces"))
    grid = [FRAMING, *(f for f in framings() if f != FRAMING)]
    rows = [
        {**asdict(tried), "accuracy": score_framing(faces, tried, read)}
        for tried in progress_bar("framings", unit=" framings")(grid)
    ]
    body = {"faces": len(faces), "pictures": len(validation), "shipped": rows[0], "tried": rows[1:]}
    if arguments.out:
        write_figures(arguments.out, body)
    print(f"{len(faces)} of {len(validation)} validation faces found; accuracy after crop and codec")
    ranked = sorted(rows, key=lambda row: -sum(row["accuracy"].values()))
    for row in ranked:
        scores = "  ".join(f"{source} {share:.4f}" for source, share in row["accuracy"].items())
        mark = "  (shipped)" if row is rows[0] else ""
        print(f"eyes {row['eye_left_x']:.3f}, {row['eye_y']:.3f}  mouth {row['mouth_y']:.3f}  {scores}{mark}")
    return 0
