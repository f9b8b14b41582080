"""Keys that are the same in every run, so that tests which name them keep their names."""

from base64 import urlsafe_b64encode
from hashlib import sha256


def fixed_key(name: str) -> tuple[str, str]:
    """A secret of the form that sixgig.server.keys makes, and its digest."""
    secret = "sg-" + urlsafe_b64encode(sha256(name.encode()).digest()).decode().rstrip("=")
    return secret, sha256(secret.encode()).hexdigest()
