"""The expression network: data, shapes, training, calibration, exporting, evaluation."""
