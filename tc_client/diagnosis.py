# SPDX-License-Identifier: Apache-2.0
"""Why an IKE_SA did not come up, read from what charon logged about it.

VICI reports only that an attempt is over; the reason is in the log, in words that have been the same for ten
years. What none of the patterns knows is shown as it is. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tc_client.rungs import Failure, Why

# The first that matches a line decides; of all lines that match, the last but the ones of LESSER counts.
PATTERNS: tuple[tuple[str, Why], ...] = (
    (r"giving up after \d+ retransmits|peer not responding", Why.IKE_SILENT),
    (r"received \w+ notify", Why.IKE_REFUSED),
    (r"received EAP_FAILURE|EAP authentication failed|EAP.* failed", Why.IKE_REFUSED),
    (r"no (private|shared) key found|no trusted .*public key found", Why.IKE_REFUSED),
    (r"constraint check failed|is not (yet )?valid|expired|no issuer certificate found", Why.IKE_REFUSED),
    (r"IDr.* does not match|does not confirm|authentication of .* failed", Why.IKE_REFUSED),
    (r"no acceptable (proposal|traffic selectors)|no IKE config found|no virtual IP", Why.IKE_REFUSED),
    (r"no socket implementation|unable to (install|add|allocate|create)|installing .* failed", Why.LOCAL),
)
# True and of no help: they follow the line that says why.
LESSER = re.compile(r"establishing IKE_SA failed|issuer is|received \S+ notify error.*INFORMATIONAL")
# Traffic of notifications that are no errors.
HARMLESS = re.compile(
    r"received (IKEV2_\w+|\w+_SUPPORTED|NAT_\w+|SIGNATURE_\w+|CHDLESS\w+|MULTIPLE_AUTH\w*|EAP_ONLY\w*|"
    r"MOBIKE\w*|REDIRECT\w*|FRAGMENTATION\w*|COOKIE2?|USE_\w+|INITIAL_CONTACT|ESP_TFC\w*) "
)
TELLS = re.compile("|".join(f"(?:{pattern})" for pattern, _ in PATTERNS), re.IGNORECASE)


def diagnose(name: str, lines: Iterable[str]) -> Failure:
    """Say why the attempt on the rung called `name` ended, after charon logged `lines` about it."""
    telling = [line for line in lines if TELLS.search(line) and not HARMLESS.search(line)]
    strong = [line for line in telling if not LESSER.search(line)]
    if not telling:
        return Failure(
            Why.IKE_REFUSED, f"{name}: the IKE exchange ended without an SA; charon's log says why"
        )
    line = (strong or telling)[-1]
    why = next(why for pattern, why in PATTERNS if re.search(pattern, line, re.IGNORECASE))
    return Failure(why, f"{name}: {line.strip()}")


ENDINGS = (
    ("received DELETE", "the gateway deleted it"),
    ("giving up after", "the gateway does not answer any more"),
    ("peer not responding", "the gateway does not answer any more"),
)


def end_of(lines: Sequence[str]) -> str:
    """Say why an established SA ended, after charon logged `lines`."""
    for line in reversed(lines[-10:]):
        for pattern, reason in ENDINGS:
            if pattern in line:
                return reason
    return lines[-1].strip() if lines else "it was deleted"
