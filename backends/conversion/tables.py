"""Comma-separated values to text: a paragraph per row, with the column's name before each value.

A row is found, and understood, without the table around it.
"""

import csv
import io

from backends.conversion.values import ConversionError

_DELIMITERS = "\t;|,"


def table_text(text: str) -> str:
    """Write out the rows; the first names the columns, and the delimiter is the one that it has most of.

    Raises:
        ConversionError: a quote is never closed, or a cell is over 128 KiB.
    """
    header = text.lstrip("\n").split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=header.count)
    # Strict: what follows an open quote would else become one cell.
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        filled = [row for row in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ConversionError("damaged", f"The table is damaged in line {rows.line_num} ({error}).") from error
    if len(filled) <= 1:
        return "\n".join(cell for row in filled for cell in row)
    names = [name.strip() for name in filled[0]]
    return "\n\n".join(_paragraph(names, row) for row in filled[1:])


def _paragraph(names: list[str], row: list[str]) -> str:
    lines = []
    for at, cell in enumerate(row):
        name = names[at] if at < len(names) else ""
        # A blank line would end the row's paragraph.
        if value := " ".join(cell.split()):
            lines.append(f"{name or f'column {at + 1}'}: {value}")
    return "\n".join(lines)
