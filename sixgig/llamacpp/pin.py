"""The one engine build this package works with."""

WHEEL = "xllamacpp"
WHEEL_VERSION = "2026.10.11549"
BUILD = 11549
CURE = f"pip install {WHEEL}=={WHEEL_VERSION}"
CURE_DAMAGED = f"pip install --force-reinstall {WHEEL}=={WHEEL_VERSION}"
