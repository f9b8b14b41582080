"""Texts on which two tokenizers would differ if they did: scripts, spaces, digits, code, emoji, controls."""

from collections.abc import Iterator

_WORDS = """
the The THE hello Hello world! don't Don't DON'T I'm we'll they've it's IT'S 'tis rock'n'roll naïve café Ångström
e-mail state-of-the-art snake_case camelCase HTTPServer foo.bar x=y a+b 50% $9.99 #tag @user ~/path/to/file.txt
https://example.org/a?b=c&d=e#f user@example.com v1.2.3-rc.4 0x1F 1e-5 3.14159 1,234,567.89 2024-02-29 12:34:56
1 12 123 1234 12345 123456 1234567 00001 ٣٤٥٦ १२३४ ½ ² x² H₂O Ⅷ
straße ÆØÅ żółć čeština Ελληνικά κόσμε Привет мир українська ქართული հայերեն עברית שלום العربية مَرْحَبًا فارسی
हिन्दी नमस्ते বাংলা தமிழ் తెలుగు ไทย สวัสดี ລາວ မြန်မာ ខ្មែរ አማርኛ 中文 你好世界 日本語 ひらがな カタカナ ｶﾅ 한국어 안녕하세요 𠮷野家
😀 👍🏽 👩‍👩‍👧‍👦 🇩🇪 ❤️ ☃ ✓ → ≠ ∑ ∫ √2 αβγ ℝ 𝒜 “quoted” ‘single’ «guillemets» … — – • ™ © § ¿Qué? ¡Hola!
!!! ??? ... ---- ==== **** //// \\\\\\ ()[]{}<> <tag> </tag> <|x|> &amp; "" `` '' ,; :-) ^_^
""".split()
_LINES = (
    "The quick brown fox jumps over the lazy dog.",
    "  indented by two, then   three   spaces   ",
    "\tdef f(x):\n\t\treturn x ** 2  # comment\n\n\nprint(f(3))\n",
    "if (a && b) { c[i++] = d->e; }\r\n\r\n// done\r\n",
    '{"key": [1, 2.5, null, true], "text": "line\\n"}',
    "<div class='x'>&nbsp;</div>\n<!-- note -->",
    "SELECT * FROM t WHERE a >= 10 AND b LIKE '%x%';",
    "Dr. Smith's 2nd appointment (on 3/4/2025) cost $1,234.56!",
    "We’ll see; they’ve said “no”…",
    "Привет, как дела? 你好，世界！こんにちは。안녕하세요? مرحبا بالعالم",
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
