"""Texts on which two tokenizers would differ if they did: scripts, spaces, digits, code, emoji, controls."""

from collections.abc import Iterator
from pathlib import Path

_WORDS = Path(__file__).with_name("probes.txt").read_text("utf-8").split()
_LINES = (
    "The quick brown fox jumps over the lazy dog.",
    "  indented by two, then   three   spaces   ",
    "\tdef f(x):\n\t\treturn x ** 2  # comment\n\n\nprint(f(3))\n",
    "if (a && b) { c[i++] = d->e; }\r\n\r\n// done\r\n",
    '{"key": [1, 2.5, null, true], "text": "line\\n"}',
    "<div class='x'>&nbsp;</div>\n<!-- note -->",
    "SELECT * FROM t WHERE a >= 10 AND b LIKE '%x%';",
    "Dr. Smith's 2nd appointment (on 3/4/2025) cost $1,234.56!",
    "We\u2019ll see; they\u2019ve said \u201cno\u201d\u2026",
    "Привет, как дела? 你好\uff0c世界\uff01こんにちは。안녕하세요? مرحبا بالعالم",
    "# Title\n\n- one\n- two\n  - three\n\n| a | b |\n|---|---|\n",
    "x\n\ny\n \nz\n\t\n end",
    "a\u00a0b\u3000c\u2003d\u200be",
    "e\u0301 = é, n\u0303 = ñ, \u1100\u1161 = 가",
)
_SPACES = (" ", "\t", "\n", "\r\n", "\u00a0", "\u3000")


def probes() -> Iterator[str]:
    """Some hundred of them, always the same."""
    yield from _LINES
    for word in _WORDS:
        yield from (word, f" {word}", f"{word} {word}", f"({word}),\n{word}")
    for space in _SPACES:
        for count in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33):
            yield from (space * count, f"a{space * count}b", f"{space * count}word")
    for number in range(1, 21):
        yield "1234567890123456789012"[:number]
        yield f"n={'9' * number};"
    yield from (f"{first}{second}x" for first in _SPACES for second in _SPACES)
    yield from (
        f"a{chr(code)}b" for code in (*range(1, 32), *range(127, 161), 0xFEFF, 0x2028, 0xFFFD, 0x10FFFF)
    )
    yield from (
        "aaaa",
        "aaaaaaaaaaaaaaaa",
        "ababababab",
        "hahahaha",
        "=" * 40,
        "-" * 79,
        "\n" * 12,
        "xX" * 20,
    )
