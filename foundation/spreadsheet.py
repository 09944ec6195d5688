"""Files for spreadsheets, in which no cell is a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

BYTE_ORDER_MARK = "\ufeff"  # without it Excel reads UTF-8 as something else
# OWASP, "CSV injection": a spreadsheet runs a cell that begins so. Full-width twins are read alike by some.
DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class _Line:
    """What csv writes to: keeps one line."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def lines(rows: Iterable[Iterable[object]], *, with_mark: bool = False) -> Iterator[str]:
    """Yield the lines of a CSV file as its rows come. Cells that people wrote go through `safe` before."""
    line = _Line()
    writer = csv.writer(line, lineterminator="\r\n")
    for number, row in enumerate(rows):
        writer.writerow(list(row))
        yield (BYTE_ORDER_MARK if with_mark and not number else "") + line.text


def safe(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: one that begins like it gets an apostrophe before it."""
    return f"'{text}" if text.startswith(DANGEROUS) else text
