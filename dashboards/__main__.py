"""Write every dashboard: `python -m dashboards [--to DIR]`."""

import argparse
from pathlib import Path
from typing import Final

from dashboards import health, limits, network, performance, syscall, tcp, validation
from dashboards.board import write

BOARDS: Final = (
    health.BOARD,
    performance.BOARD,
    validation.BOARD,
    network.BOARD,
    tcp.BOARD,
    syscall.BOARD,
    limits.BOARD,
)


def main() -> None:
    """Write one file per dashboard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="folder; default: where this lies")
    to = parser.parse_args().to
    for board in BOARDS:
        (to / f"{board.uid}.json").write_text(write(board))


if __name__ == "__main__":
    main()
