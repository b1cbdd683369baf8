"""Errors of the `models` package.

ModelsError
├── ManifestError          a manifest is missing, malformed or names an unknown variant
├── ArtifactDigestError    an artifact's bytes do not match its manifest
├── DatasetError           a data set is missing, malformed or wrongly split
├── PictureError           a file is no picture that can be read
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


class PictureError(ModelsError):
    """A file is missing, too large, or no picture that can be read."""


class TensorShapeError(ModelsError):
    """An array has another shape or dtype than documented."""
