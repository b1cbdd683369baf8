"""Write the expression artifact: Keras, float and int8 files with the manifest that ties them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.expression.own_neutral import NEUTRAL_LOGITS, mean_neutral
from models.expression.preprocessing import INPUT_LIMIT, INPUT_SIDE_PX, resize_grey, standardise
from models.expression.prior import AUDIENCE, CONFIDENT_AT_HOME, HOME_SHARES, LOGIT_PRIOR, PRIORS, UNIFORM
from models.expression.scope import in_scope_probability
from models.expression.taxonomy import LABELS, N_LABELS
from models.runtime.manifest import Manifest, TensorSpec, Variant, describe_file, write_manifest
from models.training.expression.calibration.abstention import (
    area_under_roc,
    choose_scope_threshold,
    choose_threshold_for_all,
)
from models.training.expression.calibration.temperature import (
    expected_calibration_error,
    fit_scope_temperature,
    fit_temperature,
    softmax,
)
from models.training.expression.data.datasets import PackedFaces
from models.training.expression.evaluation.engines import Predictor, litert_predictor
from models.training.expression.evaluation.scoring import accuracy
from models.training.expression.exporting.quantise import (
    representative_inputs,
    save_bytes,
    to_float_tflite,
    to_int8_tflite,
)
from models.training.expression.networks.architectures import count_macs
from models.training.expression.networks.building import build_from_table, load_network
from models.training.expression.training.training_config import TrainingConfig

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

LICENCE = (
    "Code Apache-2.0; the weights were trained on FER2013 (no licence found), FER+ votes (MIT) and RAF-DB "
    "(non-commercial research only), on FFHQ faces without labels (CC BY-NC-SA 4.0 as a set; images CC BY, CC BY-NC, public "
    "domain), on generated faces (no licence found), and on answers of teachers of which one began from weights that learned "
    "VGGFace2 (rights not cleared): research and evaluation only until rights are cleared"
)
CONFIDENT_ACCURACY = 0.98
PRIOR_SHIFT = "prior_shift"
"""Parameter of a manifest: what was added to the six logits so that they carry the audience's prior."""
REPRESENTATIVE_PICTURES = 600

_INPUT_MEANING = (
    "One grey face crop per row, made by models.expression.preprocessing.prepare_batch from an aligned uint8 RGB "
    f"or grey crop: luma, resized to {INPUT_SIDE_PX} px, minus its mean, over its standard deviation (at least 10 "
    f"levels), clipped to [-{INPUT_LIMIT:g}, {INPUT_LIMIT:g}]. The first axis may be resized to any batch."
)
_OUTPUT_MEANING = (
    "Uncalibrated logits in the order of labels; divide by parameters.temperature before softmax "
    "(models.expression.inference.score_logits does both, after opt-outs)."
)
_OTHER_MEANING = (
    " A seventh column is 'other' (fear, contempt, unknown, not a face): models.expression.scope reads it, with "
    "parameters.scope_temperature, and a face is out of scope below parameters.in_scope_above."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What goes into an artifact's manifest besides what is measured here."""

    version: str
    command: str
    created: datetime
    sources: tuple[dict[str, str], ...]
    prior: tuple[float, ...] = PRIORS[UNIFORM]
    """What the network's logits carry as it was trained, six shares."""
    home_shares: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Shares of the six labels in each home set's training part, by source."""


def rebuild_float32(model_path: Path, config: TrainingConfig) -> keras.Model:
    """Load trained weights into a float32 network, whatever precision they were trained in."""
    trained = load_network(model_path)
    keras.mixed_precision.set_global_policy("float32")
    model = build_from_table(config.network)
    model.set_weights(trained.get_weights())
    return model


def export_artifact(
    model: keras.Model,
    *,
    training: PackedFaces,
    validation: PackedFaces,
    out: Path,
    request: ExportRequest,
    config: TrainingConfig,
    outside: Sequence[UInt8Array] = (),
) -> Manifest:
    """Quantise, calibrate on validation and write every file of the artifact.

    Args:
        model: float32 network from `rebuild_float32`; the offsets of its last layer are moved in place.
        training: pictures for the quantiser's activation ranges.
        validation: pictures for the temperature and the confidence threshold.
        out: artifact folder; files of the same name are replaced.
        request: version, command, time and sources for the manifest.
        config: configuration the network was trained with.
        outside: validation pictures of none of the six, for a network with the seventh logit.
    """
    out.mkdir(parents=True, exist_ok=True)
    side = int(model.input_shape[1])
    folded = fold_prior(model, validation, request)
    inputs = representative_inputs(
        training, side_px=side, count=REPRESENTATIVE_PICTURES, seed=config.training.seed
    )
    variants = _write_variants(model, inputs, out)
    int8, float32 = (
        litert_predictor((out / v.file).read_bytes(), side_px=side) for v in variants if v.runtime == "litert"
    )
    parameters, metrics = calibrate_on_validation(
        validation, int8=int8, float32=float32, outside=outside, shift=folded
    )
    manifest = Manifest(
        directory=out,
        name="expression",
        version=request.version,
        kind="expression",
        command=request.command,
        created_utc=request.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        licence=LICENCE,
        sources=request.sources,
        input=TensorSpec(name="crop", shape=(1, side, side, 1), dtype="float32", meaning=_INPUT_MEANING),
        outputs=(_logits_of(int(model.output_shape[-1])),),
        labels=LABELS,
        variants=variants,
        default_variant="int8",
        metrics={"validation": metrics},
        parameters={
            **parameters,
            LOGIT_PRIOR: carried_prior(request.prior, folded, float(parameters["temperature"])),
            HOME_SHARES: {name: list(shares) for name, shares in request.home_shares.items()},
            **_facts(model, training=training, validation=validation, config=config),
        },
    )
    write_manifest(manifest)
    return manifest


def fold_prior(model: keras.Model, validation: PackedFaces, request: ExportRequest) -> Float64Array:
    """Move the offsets of the last layer, so that its calibrated answers are for the audience's prior.

    Serving reads the logits as they come: so workers and timelines expect an audience, and whoever wants another prior finds
    in the manifest which one to take out.

    Args:
        model: network with a dense layer named "logits", changed in place.
        validation: pictures that the temperature is fitted on.
        request: states the prior that the network was trained with.

    Returns:
        What was added to the six logits, float64 (6,).
    """
    side_px = int(model.input_shape[1])
    crops = standardise(np.stack([resize_grey(grey, side_px) for grey in validation.grey]))
    logits = np.asarray(model.predict(crops, batch_size=256, verbose=0), np.float64)[:, :N_LABELS]
    chosen = _balanced_sources(validation)
    temperature = fit_temperature(logits[chosen], validation.labels[chosen])
    shift = temperature * (np.log(PRIORS[AUDIENCE]) - np.log(request.prior))
    kernel, bias = model.get_layer("logits").get_weights()
    bias[:N_LABELS] += shift
    model.get_layer("logits").set_weights([kernel, bias])
    return np.asarray(shift, np.float64)


def carried_prior(trained: Sequence[float], shift: Float64Array, temperature: float) -> list[float]:
    """Return the prior that shifted logits carry at a temperature, six shares: the audience's, but for rounding."""
    weights = np.asarray(trained, np.float64) * np.exp(shift / temperature)
    return [round(float(v), 5) for v in weights / weights.sum()]


def _write_variants(model: keras.Model, inputs: Float32Array, out: Path) -> tuple[Variant, ...]:
    int8 = save_bytes(to_int8_tflite(model, inputs), out / "expression.int8.tflite")
    float32 = save_bytes(to_float_tflite(model), out / "expression.float32.tflite")
    kept = out / "expression.keras"
    model.save(kept, include_optimizer=False)
    return (
        describe_file(int8, variant_id="int8", runtime="litert", precision="int8"),
        describe_file(float32, variant_id="float32", runtime="litert", precision="float32"),
        describe_file(kept, variant_id="keras", runtime="keras", precision="float32"),
    )


def _logits_of(n_logits: int) -> TensorSpec:
    meaning = _OUTPUT_MEANING + (_OTHER_MEANING if n_logits > N_LABELS else "")
    return TensorSpec(name="logits", shape=(1, n_logits), dtype="float32", meaning=meaning)


def calibrate_on_validation(
    validation: PackedFaces,
    *,
    int8: Predictor,
    float32: Predictor,
    outside: Sequence[UInt8Array] = (),
    shift: Float64Array | None = None,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Fit temperature (each source counting equally) and confidence threshold (for the worst source) on int8.

    Args:
        validation: pictures of the six.
        int8: the default variant.
        float32: the float variant, for comparison.
        outside: validation pictures of none of the six; needed where the network has the seventh logit.
        shift: what was added to the six logits for another prior than these pictures have; temperature and calibration
            error are fitted without it.

    Returns:
        Parameters for serving (temperature, confident_above, neutral_logits; with seven logits scope_temperature and
        in_scope_above too), and validation figures.

    Raises:
        DatasetError: seven logits, but no picture of none of the six.
    """
    pictures = list(validation.grey)
    given = int8(pictures)
    logits = given[:, :N_LABELS]
    at_home = logits if shift is None else np.asarray(logits - shift, np.float32)
    chosen = _balanced_sources(validation)
    temperature = fit_temperature(at_home[chosen], validation.labels[chosen])
    probabilities = softmax(logits, temperature=temperature)
    expected = softmax(at_home, temperature=temperature)
    predicted = probabilities.argmax(axis=1)
    correct = predicted == validation.labels
    threshold = choose_threshold_for_all(
        probabilities.max(axis=1), correct, validation.sources, wanted_accuracy=CONFIDENT_ACCURACY
    )
    float_predicted = float32(pictures)[:, :N_LABELS].argmax(axis=1)
    parameters: dict[str, Any] = {"temperature": temperature, "confident_above": threshold}
    if shift is not None:
        parameters |= _at_home(expected, validation, shift)
    at_rest = validation.labels == LABELS.index("neutral")
    if at_rest.any():
        parameters[NEUTRAL_LOGITS] = [round(float(v), 4) for v in mean_neutral(logits[at_rest])]
    metrics = {
        "n": float(len(validation)),
        "accuracy_int8": accuracy(validation.labels, predicted),
        "accuracy_float32": accuracy(validation.labels, float_predicted),
        "ece_before": expected_calibration_error(softmax(at_home[chosen]), validation.labels[chosen]),
        "ece_after": expected_calibration_error(expected[chosen], validation.labels[chosen]),
    }
    if given.shape[1] > N_LABELS:
        if not outside:
            raise DatasetError("a network with 'other' needs validation pictures of none of the six")
        scope_parameters, scope_metrics = calibrate_scope(given, int8(list(outside)))
        parameters |= scope_parameters
        metrics |= scope_metrics
    return parameters, metrics


def _at_home(expected: Float64Array, validation: PackedFaces, shift: Float64Array) -> dict[str, Any]:
    """Return what answers without the shift are read by, and the shift."""
    threshold = choose_threshold_for_all(
        expected.max(axis=1),
        expected.argmax(axis=1) == validation.labels,
        validation.sources,
        wanted_accuracy=CONFIDENT_ACCURACY,
    )
    return {PRIOR_SHIFT: [round(float(v), 5) for v in shift], CONFIDENT_AT_HOME: threshold}


def calibrate_scope(inside: Float32Array, outside: Float32Array) -> tuple[dict[str, float], dict[str, float]]:
    """Fit the scope rule on validation logits.

    Args:
        inside: float32 (n, 7) of pictures that show one of the six.
        outside: float32 (m, 7) of pictures that show none.

    Returns:
        scope_temperature and in_scope_above, and validation figures: the share of inside pictures kept, the
        share of outside pictures found, and the area under the ROC curve.
    """
    logits = np.concatenate([inside, outside])
    is_other = np.arange(len(logits)) >= len(inside)
    temperature = fit_scope_temperature(logits, is_other)
    in_scope = in_scope_probability(logits, temperature=temperature)
    threshold = choose_scope_threshold(in_scope[~is_other])
    return {"scope_temperature": temperature, "in_scope_above": threshold}, {
        "n_outside": float(len(outside)),
        "inside_kept": float((in_scope[~is_other] >= threshold).mean()),
        "outside_found": float((in_scope[is_other] < threshold).mean()),
        "scope_auroc": area_under_roc(in_scope[~is_other], in_scope[is_other]),
    }


def with_metrics(manifest: Manifest, name: str, figures: Mapping[str, Any]) -> Manifest:
    """Return the manifest with one more group of figures, and write it beside its files."""
    updated = replace(manifest, metrics={**manifest.metrics, name: dict(figures)})
    write_manifest(updated)
    return updated


def write_notice(out: Path) -> None:
    """Write the terms that travel with the weights."""
    (out / "NOTICE").write_text(
        "Countenance expression network\n\n"
        "Trained by this project's own pipeline (see manifest.json for the command) on:\n"
        "- FER2013 pictures (ICML 2013 challenge; no licence found), exact duplicates across splits removed\n"
        "- FER+ votes (Microsoft, MIT licence)\n"
        "- RAF-DB basic, training split (non-commercial research only)\n"
        "- 6,000 faces of FFHQ without labels (Karras et al.; images CC BY, CC BY-NC or public domain, the set CC BY-NC-SA 4.0,\n"
        "  not for recognising people), less a tenth\n"
        "- 1,788 generated faces without labels (from repositories without a licence), less a fifth\n\n"
        "and on the answers of teachers of ours, one of which began as dlib's face-recognition network (Davis King,\n"
        "CC0 1.0) and one as the MobileNet of HSE_FaceRec_tf (Andrey Savchenko; no licence found at the source), which\n"
        "learned the identities of VGGFace2 (pictures found by web search, rights not cleared), and of one from elsewhere:\n"
        "emotions-recognition-retail-0003 (Open Model Zoo, Intel, Apache-2.0). Some training faces were warped by landmarks of\n"
        "MediaPipe (Google, Apache-2.0). No picture and no\n"
        "third-party weight is part of these files. A network trained on these sets is for research and evaluation\n"
        "only until the rights are cleared. It reads the expression that a face shows, not what a person feels, and\n"
        "must not be used at work or in education (EU AI Act, Article 5(1)(f)).\n",
        "utf-8",
    )


def _balanced_sources(faces: PackedFaces) -> np.ndarray:
    names = np.asarray(faces.sources)
    present = sorted(set(faces.sources))
    size = min(int((names == s).sum()) for s in present)
    # Pictures come in archive order; taking them by digest is a fixed, unbiased draw.
    by_digest = np.argsort(np.asarray(faces.digests), kind="stable")
    return np.concatenate([by_digest[names[by_digest] == s][:size] for s in present])


def _facts(
    model: keras.Model, *, training: PackedFaces, validation: PackedFaces, config: TrainingConfig
) -> dict[str, Any]:
    return {
        "crop_side_px": 96,
        "input_side_px": int(model.input_shape[1]),
        "network_parameters": int(model.count_params()),
        "macs": count_macs(model),
        "training_pictures": len(training),
        "validation_pictures": len(validation),
        "seed": config.training.seed,
    }
