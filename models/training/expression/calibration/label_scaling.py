"""Label scales, which artifacts up to 0.4.0 have folded into their last layer: how to take them out (ADR 0096, ended by 0127)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from models.expression.taxonomy import N_LABELS


def unfold_scales(model: keras.Model, parameters: Mapping[str, Any]) -> None:
    """Take out of the last layer what an artifact's manifest says was folded in.

    Args:
        model: network with a dense layer named "logits", changed in place.
        parameters: of the manifest; without `label_scales` nothing is done.
    """
    if "label_scales" not in parameters:
        return
    scales, offsets = (np.asarray(parameters[name], np.float64) for name in ("label_scales", "label_offsets"))
    kernel, bias = model.get_layer("logits").get_weights()
    kernel[:, :N_LABELS] /= scales
    bias[:N_LABELS] = (bias[:N_LABELS] - offsets) / scales
    model.get_layer("logits").set_weights([kernel, bias])
