"""Errors of the `models` package.

ModelsError
├── ManifestError          a manifest is missing, malformed or names an unknown variant
├── ArtifactDigestError    an artifact's bytes do not match its manifest
├── DatasetError           a data set is missing, malformed or wrongly split
└── TensorShapeError       an array has another shape or dtype than documented
"""


class ModelsError(Exception):
    """Anything that `models` refuses."""


class ManifestError(ModelsError):
    """A manifest is missing, malformed or names an unknown variant."""


class ArtifactDigestError(ModelsError):
    """An artifact's bytes do not match the digest in its manifest."""


class DatasetError(ModelsError):
    """A data set is missing, malformed or wrongly split."""


class TensorShapeError(ModelsError):
    """An array has another shape or dtype than documented."""
