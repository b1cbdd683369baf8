"""Names the instruction sets that decide between int8 and float, and hides the newer ones from XNNPACK.

LiteRT has no setting for it. XNNPACK asks the processor once and keeps the answer in one word; a fresh process
lets it ask, then clears bits of that word before any network is loaded, so XNNPACK chooses the kernels that an
older processor would get. The word is trusted only where it says exactly what the operating system says of
this processor; anything else is reported as not possible, and nothing is changed.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from cloud.bench.elf_symbols import loaded_at, read_symbols

_LIBRARY = "libpywrap_litert_common.so"
_CONFIG, _INIT = "hardware_config", "xnn_init_hardware_config"
_FLAGS_AT = 8
_CONFIG_BYTES = 80

NAMED = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm")

_BITS: Mapping[str, int] = MappingProxyType(
    {"ssse3": 2, "sse4_1": 3, "avx": 4, "f16c": 5, "fma": 6, "avx2": 7, "avx512f": 9, "avx_vnni": 14}
    | {"avx512_vnni": 18}
)
"""Bit of XNNPACK's word for each flag of /proc/cpuinfo that is compared, as in its release of LiteRT 2."""

_OLD_BITS = 0xFF
_AVX_VNNI_BIT = 1 << _BITS["avx_vnni"]


class Level(StrEnum):
    """A class of x86 processors, by the best kernels that XNNPACK has for it."""

    AVX2 = "AVX2"
    AVX_VNNI = "AVX2 with AVX-VNNI"
    NATIVE = "everything this processor has"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restriction:
    """What came of asking for a level.

    Attributes:
        level: what was asked for.
        problem: why it is not possible here; empty where it holds.
    """

    level: Level
    problem: str = ""


def cpu_flags(source: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the processor's flags as Linux names them; empty where they cannot be read."""
    try:
        lines = source.read_text("utf-8", "replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def name_best(flags: frozenset[str], machine: str = "") -> str:
    """Name the instructions that int8 networks are run with.

    Args:
        flags: as `cpu_flags` gives them.
        machine: architecture, `platform.machine()` if empty.
    """
    if (machine or platform.machine()) in ("arm64", "aarch64"):
        return "NEON with dot product" if "asimddp" in flags or not flags else "NEON without dot product"
    for flag, name in (("amx_int8", "AMX"), ("avx512_vnni", "AVX-512 VNNI"), ("avx_vnni", "AVX-VNNI")):
        if flag in flags:
            return name
    return "AVX2, no dot product" if "avx2" in flags else "unknown"


def named_flags(flags: frozenset[str]) -> list[str]:
    """Return those flags that matter to a neural network, in a fixed order."""
    return [flag for flag in NAMED if flag in flags]


def levels_below(flags: frozenset[str]) -> tuple[Level, ...]:
    """Return the levels below this processor's own that it can stand in for."""
    if "avx2" not in flags or not {"avx512f", "avx_vnni", "avx512_vnni"} & flags:
        return ()
    return (Level.AVX2, Level.AVX_VNNI) if "avx_vnni" in flags and "avx512f" in flags else (Level.AVX2,)


def restrict_xnnpack(level: Level) -> Restriction:
    """Hide newer instructions from XNNPACK in this process, for good; call it before any network is loaded."""
    if level is Level.NATIVE:
        return Restriction(level=level)
    import ai_edge_litert.interpreter  # noqa: F401  loads the library

    place = loaded_at(_LIBRARY)
    if place is None:
        return Restriction(level=level, problem=f"LiteRT has no {_LIBRARY} here")
    path, base = place
    symbols = read_symbols(path.read_bytes(), frozenset({_CONFIG, _INIT}))
    if set(symbols) != {_CONFIG, _INIT} or symbols[_CONFIG][1] != _CONFIG_BYTES:
        return Restriction(level=level, problem="this build of LiteRT hides where XNNPACK keeps its choice")
    ctypes.CFUNCTYPE(ctypes.c_void_p)(base + symbols[_INIT][0])()
    word = ctypes.c_uint64.from_address(base + symbols[_CONFIG][0] + _FLAGS_AT)
    if not is_trusted(word.value, cpu_flags()):
        return Restriction(level=level, problem="XNNPACK's choice is laid out in another way than was known")
    word.value = masked(word.value, level)
    return Restriction(level=level)


def is_trusted(word: int, flags: frozenset[str]) -> bool:
    """Say whether XNNPACK's word agrees with the operating system on every flag that both know."""
    return word != 0 and all(bool(word >> bit & 1) == (flag in flags) for flag, bit in _BITS.items())


def masked(word: int, level: Level) -> int:
    """Return the word as a processor of that level would have it."""
    if level is Level.NATIVE:
        return word
    return word & (_OLD_BITS | (_AVX_VNNI_BIT if level is Level.AVX_VNNI else 0))
