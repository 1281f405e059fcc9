"""How a secret is encrypted on the user's machine: AES-256-GCM under a data key of its own, which transit has wrapped.

Pure: key and nonce are given. A data key encrypts one version of one secret.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from axon_operator.cli.cluster import CommandError

FORM: Final = 1
NONCE_BYTES: Final = 12


class SealedError(CommandError):
    """A ciphertext does not open. Why, is not told apart."""

    def __init__(self) -> None:
        super().__init__(
            "the secret does not decrypt: it was changed, or moved here from another place or user; put it anew"
        )


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is stored of a secret."""

    key: str
    """Wrapped by transit with the user's key."""
    nonce: bytes
    ciphertext: bytes

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return {"v": FORM, "key": self.key, "nonce": _to_text(self.nonce), "ciphertext": _to_text(self.ciphertext)}

    @classmethod
    def from_json(cls, stored: object) -> "Envelope":
        """Raises `SealedError` if it is none."""
        match stored:
            case {"v": 1, "key": str(key), "nonce": str(nonce), "ciphertext": str(ciphertext)}:
                return cls(key, from_text(nonce), from_text(ciphertext))
        raise SealedError


def seal(values: Mapping[str, str], data_key: bytes, wrapped: str, nonce: bytes, bound_to: bytes) -> Envelope:
    """Encrypts. The same data key and nonce are never used twice."""
    return Envelope(wrapped, nonce, AESGCM(data_key).encrypt(nonce, as_text(values), bound_to))


def unseal(envelope: Envelope, data_key: bytes, bound_to: bytes) -> dict[str, str]:
    """Decrypts. Raises `SealedError` if it was made with another key, or for another place."""
    try:
        values: dict[str, str] = json.loads(AESGCM(data_key).decrypt(envelope.nonce, envelope.ciphertext, bound_to))
    except (InvalidTag, ValueError):
        raise SealedError from None
    return values


def as_text(values: Mapping[str, str]) -> bytes:
    """The values as they are encrypted, for the user and for a runtime."""
    return json.dumps(values, ensure_ascii=False, sort_keys=True).encode()


def _to_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def from_text(text: str) -> bytes:
    """Raises `SealedError` if it is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SealedError from None
