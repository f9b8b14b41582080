"""How a file begins that is packed, and what unpacks it."""

_FORMATS = (
    (b"\x1f\x8b", "compressed with gzip", "gunzip -k"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "zstd -d"),
    (b"BZh", "compressed with bzip2", "bunzip2 -k"),
    (b"\xfd7zXZ\0", "compressed with xz", "unxz -k"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "7z x"),
    (b"Rar!", "a RAR archive", "unrar x"),
    (b"PK\x03\x04", "a ZIP archive", "unzip"),
)


def packed(head: bytes) -> tuple[str, str] | None:
    """What a file is that begins with `head`, "a ZIP archive", and the cure; None where it is not packed."""
    found = (
        (named, f"unpack it first: {tool} FILE") for magic, named, tool in _FORMATS if head.startswith(magic)
    )
    return next(found, None)
