"""Plain tables: a title, aligned columns, and notes."""

from collections.abc import Sequence

Cell = str | float | None


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Lay out rows under heads; the first column is text, the others stand to the right; None is a dash."""
    cells = [list(heads), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
    return "\n".join(["", title, "", lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    for least, form in ((1000, ",.0f"), (100, ".0f"), (10, ".1f")):
        if abs(cell) >= least:
            return format(cell, form)
    return format(cell, ".2f")
