# SPDX-License-Identifier: Apache-2.0
"""Which keys a TLS server of our profile can prove itself with; the same as native/profile.c accepts."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

MIN_RSA_BITS = 2048
CURVES = (ec.SECP256R1, ec.SECP384R1)


def unfit(key: PublicKeyTypes) -> str | None:
    """Say why no client of the profile could be served with this key; None when it can be."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA of {key.key_size} bits" if key.key_size < MIN_RSA_BITS else None
    if isinstance(key, ec.EllipticCurvePublicKey):
        return None if isinstance(key.curve, CURVES) else f"the curve {key.curve.name}"
    return None if isinstance(key, ed25519.Ed25519PublicKey) else f"a key of the kind {type(key).__name__}"
