"""Small files in which a kernel tells facts."""

from pathlib import Path

_MOST = 1 << 16  # numbers in one list: none is so long, and a damaged one must not take the memory


def fact(path: Path) -> str:
    """The content with its white space folded; "" where there is no such file or it may not be read."""
    try:
        return " ".join(path.read_text(errors="replace").replace("\0", " ").split())
    except OSError:
        return ""


def numbers(text: str) -> set[int]:
    """The kernel's lists of numbers, "0-3,8"; empty for anything else."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal()):
            return set()
        found.update(range(int(first), min(int(last), _MOST) + 1))
    return found
