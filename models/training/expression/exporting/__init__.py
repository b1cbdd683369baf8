"""From a trained network to the artifact: narrower, in int8, with its manifest."""
