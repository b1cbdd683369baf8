"""Calibration per region: faces, cameras and display rules differ, so a confidence may mean something else there.

A manifest may hold `calibration`, a table from ISO 3166 codes (`DE`, `US-IL`) to a temperature and a confidence
threshold fitted on that region's validation pictures. A session takes the entry of its own code, else that of its
country, else the artifact's own. The six logits are never changed, so which expression leads is the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from models.errors import ManifestError

REGION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
DEFAULT_REGION = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What turns logits into a confidence that means what it says.

    Attributes:
        temperature: divides the six logits, in (0, 100).
        confident_above: confidence below which a score is uncertain, in [0, 1]; above 1, all are.
    """

    temperature: float
    confident_above: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionalCalibration:
    """The artifact's own calibration, and those of the regions that have one."""

    own: Calibration
    regions: Mapping[str, Calibration] = field(default_factory=lambda: MappingProxyType({}))

    def region_of(self, jurisdiction: str) -> str:
        """Name the entry that serves a jurisdiction: its code, its country's, or `DEFAULT_REGION`."""
        for code in (jurisdiction, jurisdiction.partition("-")[0]):
            if code in self.regions:
                return code
        return DEFAULT_REGION

    def for_jurisdiction(self, jurisdiction: str) -> Calibration:
        """Give the calibration that serves a jurisdiction."""
        return self.regions.get(self.region_of(jurisdiction), self.own)


def read_calibration(parameters: Mapping[str, Any]) -> RegionalCalibration:
    """Read a manifest's parameters.

    Raises:
        ManifestError: a temperature or threshold is missing or out of range, or a region has no ISO 3166 code.
    """
    raw = parameters.get("calibration", {})
    if not isinstance(raw, Mapping):
        raise ManifestError(f"the artifact's calibration is no table: {raw!r}")
    unknown = [code for code in raw if not REGION.fullmatch(code)]
    if unknown:
        raise ManifestError(f"the artifact calibrates for what is no region: {', '.join(unknown)}")
    return RegionalCalibration(
        own=_read(parameters, DEFAULT_REGION),
        regions=MappingProxyType({code: _read(entry, code) for code, entry in raw.items()}),
    )


def check_region(region: str) -> None:
    """Refuse what is no region's code.

    Raises:
        ManifestError: it has no ISO 3166 form.
    """
    if not REGION.fullmatch(region):
        raise ManifestError(f"{region!r} is no ISO 3166 code such as DE or US-IL")


def with_region(parameters: Mapping[str, Any], region: str, fitted: Mapping[str, float]) -> dict[str, Any]:
    """Return a manifest's parameters with one region's calibration set.

    Raises:
        ManifestError: the region has no ISO 3166 code.
    """
    check_region(region)
    entry = {name: fitted[name] for name in ("temperature", "confident_above")}
    return {**parameters, "calibration": {**parameters.get("calibration", {}), region: entry}}


def _read(entry: Any, code: str) -> Calibration:
    temperature = entry.get("temperature") if isinstance(entry, Mapping) else None
    if not isinstance(temperature, float) or not 0 < temperature < 100:
        raise ManifestError(f"the artifact has no usable temperature ({code}): {temperature!r}")
    threshold = entry.get("confident_above", 1.0)
    if not isinstance(threshold, float | int) or not threshold >= 0:
        raise ManifestError(f"the artifact has no usable confident_above ({code}): {threshold!r}")
    return Calibration(temperature=temperature, confident_above=float(threshold))
