"""Start the numeric libraries that the commands need, and keep their greetings off the terminal."""

from __future__ import annotations

import os

from models.runtime.quiet import quiet_standard_error


def load_keras() -> None:
    """Import Keras and the backend that `KERAS_BACKEND` names."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_standard_error():
        import keras  # noqa: F401


def use_tensorflow() -> None:
    """Let Keras run on TensorFlow, whatever trained the network: the converter and the peers know no other backend."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    load_keras()
