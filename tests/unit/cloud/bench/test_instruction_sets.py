from __future__ import annotations

import platform
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.bench.elf_symbols import loaded_at, read_symbols
from cloud.bench.instruction_sets import (
    Level,
    cpu_flags,
    is_trusted,
    levels_below,
    masked,
    name_best,
    named_flags,
    restrict_xnnpack,
)
from cloud.bench.isolated import in_fresh_process

ZEN_4 = frozenset(
    [
        "ssse3",
        "sse4_1",
        "avx",
        "f16c",
        "fma",
        "avx2",
        "avx512f",
        "avx_vnni",
        "avx512_vnni",
        "avx512_bf16",
        "fpu",
        "sse",
    ]
)
ZEN_4_WORD = 0xF6FFF
HASWELL = frozenset(["ssse3", "sse4_1", "avx", "f16c", "fma", "avx2"])


def elf(names: dict[str, tuple[int, int]]) -> bytes:
    """A 64-bit ELF file that is nothing but a symbol table."""
    strings, symbols = b"\0", b"\0" * 24
    for name, (value, size) in names.items():
        symbols += struct.pack("<IBBHQQ", len(strings), 0, 0, 1, value, size)
        strings += name.encode() + b"\0"
    at = 64
    sections = struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, at, len(symbols), 1, 0, 8, 24)
    sections += struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, at + len(symbols), len(strings), 0, 0, 1, 0)
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 0x28, at + len(symbols) + len(strings))
    struct.pack_into("<HH", header, 0x3A, 64, 2)
    return bytes(header) + symbols + strings + sections


def test_the_flags_are_read_from_the_first_processor(tmp_path: Path) -> None:
    source = tmp_path / "cpuinfo"
    source.write_text("processor : 0\nflags\t\t: fpu avx2 avx512_vnni\nbugs : none\nflags : avx\n")
    assert cpu_flags(source) == {"fpu", "avx2", "avx512_vnni"}
    assert cpu_flags(tmp_path / "absent") == frozenset()


@pytest.mark.parametrize(
    ("flags", "machine", "name"),
    [
        (ZEN_4, "x86_64", "AVX-512 VNNI"),
        (frozenset({"avx2", "avx_vnni"}), "x86_64", "AVX-VNNI"),
        (HASWELL, "x86_64", "AVX2, no dot product"),
        (frozenset({"asimddp"}), "aarch64", "NEON with dot product"),
        (frozenset({"asimd"}), "aarch64", "NEON without dot product"),
        (frozenset(), "x86_64", "unknown"),
    ],
)
def test_the_best_instructions_are_named(flags: frozenset[str], machine: str, name: str) -> None:
    assert name_best(flags, machine) == name


def test_only_flags_that_matter_are_listed() -> None:
    assert named_flags(ZEN_4) == ["avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16"]


def test_a_processor_stands_in_for_older_ones_alone() -> None:
    assert levels_below(ZEN_4) == (Level.AVX2, Level.AVX_VNNI)
    assert levels_below(HASWELL | {"avx_vnni"}) == (Level.AVX2,)
    assert levels_below(HASWELL) == ()


def test_a_word_is_trusted_only_where_it_says_what_the_system_says() -> None:
    assert is_trusted(ZEN_4_WORD, ZEN_4)
    assert not is_trusted(ZEN_4_WORD, HASWELL)
    assert not is_trusted(ZEN_4_WORD << 2, ZEN_4)
    assert not is_trusted(0, frozenset())


def test_masking_hides_what_is_newer_and_nothing_else() -> None:
    assert masked(ZEN_4_WORD, Level.AVX2) == 0xFF
    assert masked(ZEN_4_WORD, Level.AVX_VNNI) == 0x40FF
    assert masked(ZEN_4_WORD, Level.NATIVE) == ZEN_4_WORD


def test_a_symbol_is_found_by_its_name() -> None:
    content = elf({"other": (1, 2), "hardware_config": (0x1234, 80)})
    assert read_symbols(content, frozenset({"hardware_config", "absent"})) == {
        "hardware_config": (0x1234, 80)
    }


@given(st.binary(max_size=300), st.integers(0, 240))
def test_any_bytes_give_symbols_or_none(noise: bytes, at: int) -> None:
    content = elf({"hardware_config": (1, 2)})
    damaged = content[:at] + noise + content[at + len(noise) :]
    for given_bytes in (noise, damaged):
        found = read_symbols(given_bytes, frozenset({"hardware_config"}))
        assert set(found) <= {"hardware_config"}


def test_a_library_that_is_not_loaded_has_no_address(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f10 r--p 00000000 08:01 12  /opt/my lib/x.so\n7f10-7f20 r-xp 00001000 08:01 12  /opt/my lib/x.so\n"
    )
    assert loaded_at("x.so", maps) == (Path("/opt/my lib/x.so"), 0x7F00)
    assert loaded_at("y.so", maps) is None
    assert loaded_at("x.so", tmp_path / "absent") is None


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 processors have older kernels to show")
def test_hiding_instructions_says_that_it_worked_or_why_not() -> None:
    restriction = in_fresh_process(restrict_xnnpack, Level.AVX2)
    assert restriction.level is Level.AVX2
    assert restriction.problem == "" or "XNNPACK" in restriction.problem or "LiteRT" in restriction.problem
