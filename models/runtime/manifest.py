"""Read an artifact's manifest; refuse bytes that do not match it.

An artifact is a *family*: one network in several variants (int8, float, Keras), because int8 is
faster only where the CPU has dot-product instructions. A manifest declares the layout that every
variant shares and the digest of each variant's file; nothing loads bytes that it has not checked.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import ArtifactDigestError, ManifestError

ARTIFACTS_DIR = Path(__file__).parents[1] / "artifacts"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Layout of one tensor: NHWC shape, dtype at the interface, and what its numbers mean."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One file of the family; `runtime` is `litert` or `keras`, `precision` is `int8` or `float32`."""

    id: str
    file: str
    sha256: str
    size_bytes: int
    runtime: str
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an artifact is, where it came from, and how to feed it."""

    directory: Path
    name: str
    version: str
    kind: str
    command: str
    created_utc: str
    licence: str
    sources: tuple[dict[str, str], ...]
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    variants: tuple[Variant, ...]
    default_variant: str
    metrics: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)

    def variant(self, variant_id: str | None = None) -> Variant:
        """Return one variant, the default one if `variant_id` is None.

        Raises:
            ManifestError: no such variant.
        """
        wanted = variant_id or self.default_variant
        for candidate in self.variants:
            if candidate.id == wanted:
                return candidate
        known = ", ".join(v.id for v in self.variants)
        raise ManifestError(f"artifact {self.name} has no variant {wanted!r}; it has: {known}")

    def read(self, variant_id: str | None = None) -> bytes:
        """Return the verified bytes of a variant.

        Raises:
            ManifestError: no such variant, or its file is missing.
            ArtifactDigestError: the file's SHA-256 is not the manifest's.
        """
        variant = self.variant(variant_id)
        path = self.directory / variant.file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ManifestError(
                f"artifact file {variant.file} of {self.name} cannot be read: {error.strerror}"
            ) from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != variant.sha256:
            raise ArtifactDigestError(
                f"artifact file {variant.file} of {self.name} has SHA-256 {digest[:16]}..., "
                f"but its manifest says {variant.sha256[:16]}...; reinstall or rebuild it"
            )
        return content


def load_manifest(directory: Path) -> Manifest:
    """Read `manifest.json` in `directory`.

    Raises:
        ManifestError: it is missing, is not JSON or lacks a field.
    """
    path = directory / "manifest.json"
    try:
        raw = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ManifestError(f"no manifest at {path}: {error.strerror}") from error
    except ValueError as error:
        raise ManifestError(f"manifest {path} is not JSON: {error}") from error
    try:
        return Manifest(
            directory=directory,
            name=raw["name"],
            version=raw["version"],
            kind=raw["kind"],
            command=raw["command"],
            created_utc=raw["created_utc"],
            licence=raw["licence"],
            sources=tuple(raw["sources"]),
            input=_tensor(raw["input"]),
            outputs=tuple(_tensor(t) for t in raw["outputs"]),
            labels=tuple(raw["labels"]),
            variants=tuple(Variant(**v) for v in raw["variants"]),
            default_variant=raw["default_variant"],
            metrics=raw.get("metrics", {}),
            parameters=raw.get("parameters", {}),
        )
    except (KeyError, TypeError) as error:
        raise ManifestError(f"manifest {path} lacks or misspells a field: {error}") from error


def write_manifest(manifest: Manifest) -> None:
    """Write `manifest.json` beside its files, keys in a fixed order.

    Raises:
        ManifestError: it cannot be written.
    """
    body = {
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind,
        "command": manifest.command,
        "created_utc": manifest.created_utc,
        "licence": manifest.licence,
        "sources": list(manifest.sources),
        "input": _tensor_json(manifest.input),
        "outputs": [_tensor_json(t) for t in manifest.outputs],
        "labels": list(manifest.labels),
        "default_variant": manifest.default_variant,
        "variants": [
            {
                "id": v.id,
                "file": v.file,
                "sha256": v.sha256,
                "size_bytes": v.size_bytes,
                "runtime": v.runtime,
                "precision": v.precision,
            }
            for v in manifest.variants
        ],
        "parameters": manifest.parameters,
        "metrics": manifest.metrics,
    }
    path = manifest.directory / "manifest.json"
    try:
        path.write_text(json.dumps(body, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise ManifestError(f"{path} cannot be written: {error.strerror}") from error


def describe_file(path: Path, *, variant_id: str, runtime: str, precision: str) -> Variant:
    """Measure a freshly written file into a `Variant` entry."""
    content = path.read_bytes()
    return Variant(
        id=variant_id,
        file=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        runtime=runtime,
        precision=precision,
    )


def _tensor(raw: dict[str, Any]) -> TensorSpec:
    return TensorSpec(name=raw["name"], shape=tuple(raw["shape"]), dtype=raw["dtype"], meaning=raw["meaning"])


def _tensor_json(tensor: TensorSpec) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "meaning": tensor.meaning,
    }
