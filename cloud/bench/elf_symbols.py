"""Finds where a loaded library keeps a name that it does not export, from its ELF symbol table."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

_MAGIC_64_LITTLE = b"\x7fELF\x02\x01"
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_SYMTAB = 2
_MAPS = Path("/proc/self/maps")


def read_symbols(content: bytes, wanted: frozenset[str]) -> Mapping[str, tuple[int, int]]:
    """Return address and size of the wanted names in an ELF file.

    Args:
        content: the file.
        wanted: names to look for.

    Returns:
        By name, its address relative to where the library is loaded and its size in bytes; names that the
        table lacks are left out. Empty for anything that is not a 64-bit little-endian ELF file with a table.
    """
    if not content.startswith(_MAGIC_64_LITTLE):
        return {}
    try:
        return _read(content, wanted)
    except (struct.error, IndexError, ValueError, OverflowError):
        return {}


def loaded_at(library: str, maps: Path = _MAPS) -> tuple[Path, int] | None:
    """Return path and base address of a library that this process has loaded; None if it has not.

    Args:
        library: its file name.
        maps: the process's memory map, as Linux gives it.
    """
    try:
        lines = maps.read_text("utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and Path(fields[5]).name == library and int(fields[2], 16) == 0:
            return Path(fields[5]), int(fields[0].partition("-")[0], 16)
    return None


def _read(content: bytes, wanted: frozenset[str]) -> dict[str, tuple[int, int]]:
    (table,) = struct.unpack_from("<Q", content, 0x28)
    entry_bytes, count = struct.unpack_from("<HH", content, 0x3A)
    sections = [_SECTION.unpack_from(content, table + i * entry_bytes) for i in range(count)]
    found: dict[str, tuple[int, int]] = {}
    for section in sections:
        kind, offset, size, link = section[1], section[4], section[5], section[6]
        if kind != _SYMTAB:
            continue
        names = content[sections[link][4] : sections[link][4] + sections[link][5]]
        for at in range(offset, offset + size, _SYMBOL.size):
            name_at, _, _, _, value, length = _SYMBOL.unpack_from(content, at)
            name = names[name_at : names.index(b"\0", name_at)].decode("ascii", "replace")
            if name in wanted:
                found[name] = (value, length)
    return found
