"""Tables between markers of a page in docs/, written from committed results.

Knows pages and markers. Does not know what stands between them.
"""

from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"
RESULTS = DOCS / "results"


def check_or_write(name: str, blocks: Mapping[str, str], command: str, is_check: bool) -> int:
    """Put each block between its markers, or find out whether it is there.

    Args:
        name: Of the page.
        blocks: What to put, by the name in the marker.
        command: What writes it; stands in the marker.
        is_check: Whether nothing is to be changed.

    Returns:
        The exit status.
    """
    path = DOCS / name
    page = written = path.read_text()
    for block, text in blocks.items():
        begin, end = f"<!-- {block}: written by {command} -->\n", f"<!-- end of {block} -->"
        before, has_begin, rest = written.partition(begin)
        _, has_end, after = rest.partition(end)
        if not has_begin or not has_end:
            raise ValueError(f"{name} has no place for {block!r}: put {begin.strip()} and {end} there")
        written = f"{before}{begin}{text}{end}{after}"
    if is_check:
        if page != written:
            print(f"{name} is not what the results say: run {command}")
        return int(page != written)
    path.write_text(written)
    return 0
