"""Small files in which a kernel tells facts."""

from pathlib import Path


def fact(path: Path) -> str:
    """The content with its white space folded; "" where there is no such file or it may not be read."""
    try:
        return " ".join(path.read_text(errors="replace").replace("\0", " ").split())
    except OSError:
        return ""
