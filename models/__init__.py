"""Training, quantisation, evaluation, and the artifacts that come of them."""
