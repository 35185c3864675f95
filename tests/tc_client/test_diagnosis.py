# SPDX-License-Identifier: Apache-2.0
"""Reasons, as strongSwan 5.9.8 writes them into its log, and what the user reads."""

from __future__ import annotations

import pytest

from tc_client.diagnosis import diagnose, end_of
from tc_client.rungs import Why

REFUSED = "received AUTHENTICATION_FAILED notify error"
ROWS: list[tuple[str, list[str], Why, str]] = [
    (
        "the gateway does not know us",
        [
            "initiating IKE_SA tc-x[1] to 198.51.100.2",
            "received SIGNATURE_HASH_ALGORITHMS_SUPPORTED notify",
            "parsed IKE_AUTH response 1 [ N(AUTH_FAILED) ]",
            REFUSED,
        ],
        Why.IKE_REFUSED,
        REFUSED,
    ),
    (
        "no common algorithm",
        ["received NO_PROPOSAL_CHOSEN notify error"],
        Why.IKE_REFUSED,
        "NO_PROPOSAL_CHOSEN",
    ),
    (
        "no common network",
        [
            "received TS_UNACCEPTABLE notify, no CHILD_SA built",
            "failed to establish CHILD_SA, keeping IKE_SA",
        ],
        Why.IKE_REFUSED,
        "TS_UNACCEPTABLE",
    ),
    (
        "we do not believe the gateway",
        [
            'no issuer certificate found for "CN=gw.example"',
            '  issuer is "CN=Another"',
            "no trusted ECDSA public key found for 'gw.example'",
        ],
        Why.IKE_REFUSED,
        "no trusted ECDSA public key",
    ),
    ("a wrong password", ["received EAP_FAILURE, EAP authentication failed"], Why.IKE_REFUSED, "EAP_FAILURE"),
    (
        "nobody answers",
        [
            "retransmit 3 of request with message ID 1",
            "giving up after 3 retransmits",
            "establishing IKE_SA failed, peer not responding",
        ],
        Why.IKE_SILENT,
        "giving up after",
    ),
    (
        "our own fault",
        ["unable to install inbound and outbound IPsec SA (SAD) in kernel"],
        Why.LOCAL,
        "unable to install",
    ),
    ("words nobody knows", ["something else"], Why.IKE_REFUSED, "charon's log says why"),
    ("nothing", [], Why.IKE_REFUSED, "charon's log says why"),
]


@pytest.mark.parametrize(("sentence", "lines", "why", "words"), ROWS, ids=[row[0] for row in ROWS])
def test_the_line_that_says_why_is_found(sentence: str, lines: list[str], why: Why, words: str) -> None:
    failure = diagnose("TCP 80", lines)
    assert failure.why is why, sentence
    assert failure.sentence.startswith("TCP 80: ")
    assert words in failure.sentence


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["received DELETE for IKE_SA tc-x[1]", "IKE_SA deleted"], "the gateway deleted it"),
        (["giving up after 121 retransmits"], "the gateway does not answer any more"),
        (["something else"], "something else"),
        ([], "it was deleted"),
    ],
)
def test_the_end_of_an_sa_has_a_reason(lines: list[str], reason: str) -> None:
    assert end_of(lines) == reason
