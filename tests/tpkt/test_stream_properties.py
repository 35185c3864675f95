# SPDX-License-Identifier: Apache-2.0
"""What holds for every stream, however it was cut, and for every garbage.

The reference is a second, naive reading of the rules, which sees the whole stream at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tpkt.decoder import Decoder
from tpkt.errors import CloseReason, MisuseError, PeerError
from tpkt.sniff import ENOUGH, Protocol, recognise
from tpkt.wire import (
    MAX_PAYLOAD,
    RFC9329_MAX_PAYLOAD,
    Framing,
    Kind,
    encode,
    encode_rfc9329,
    ike_header_ok,
    kind_of,
    parse_ike_header,
)

# How long an example takes says something about the machine's other guests, nothing about the code.
settings.register_profile(
    "patient", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

ENCODERS = {Framing.TPKT: (encode, MAX_PAYLOAD), Framing.RFC9329: (encode_rfc9329, RFC9329_MAX_PAYLOAD)}
FRAMING_ERRORS = {
    CloseReason.BAD_VERSION,
    CloseReason.BAD_RESERVED,
    CloseReason.BAD_LENGTH,
    CloseReason.FIN_IN_FRAME,
}

framings = st.sampled_from(list(Framing))
esp = st.binary(min_size=8, max_size=200).filter(lambda packet: packet[:4] != bytes(4))
ike = st.binary(min_size=28, max_size=200).map(lambda message: bytes(4) + message)
large = st.integers(1400, 9000).map(lambda size: b"\xc0\xff\xee\x01" + bytes(size))
malformed = st.binary(min_size=1, max_size=31).filter(lambda payload: kind_of(payload) is Kind.MALFORMED)
unsendable = st.sampled_from([b"", b"\xff"])
payloads = st.lists(st.one_of(ike, esp, large, malformed, unsendable), max_size=12)
# Garbage that gets far: headers with small edits in front of noise are likelier to be believed for a while.
almost_headers = st.sampled_from(
    [b"\1\0\0\5", b"\1\0\0\4", b"\1\0\0\3", b"\1\0\0\x0c", b"\1\1", b"\3\0", b"\0\3\xff"]
)
garbage = st.lists(st.one_of(almost_headers, st.binary(max_size=20)), max_size=20).map(b"".join)


def frame(framing: Framing, payload: bytes) -> bytes:
    """Any payload in a frame, also those that `encode` refuses to send."""
    if framing is Framing.TPKT:
        return b"\1\0" + (len(payload) + 4).to_bytes(2, "big") + payload
    return (len(payload) + 2).to_bytes(2, "big") + payload


@st.composite
def cut(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """`stream` in pieces, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def reference(framing: Framing, stream: bytes) -> Iterator[bytes | CloseReason]:
    """Read the rules off a whole stream; ends with how the stream ended, NONE for a frame border."""
    while stream:
        if framing is Framing.TPKT:
            if stream[0] != 1:
                yield CloseReason.BAD_VERSION
                return
            if stream[1:2] not in (b"", b"\0"):
                yield CloseReason.BAD_RESERVED
                return
            header = 4
        else:
            header = 2
        size = int.from_bytes(stream[header - 2 : header], "big")
        if len(stream) >= header and size < header:
            yield CloseReason.BAD_LENGTH
            return
        if len(stream) < max(header, size):
            yield CloseReason.FIN_IN_FRAME
            return
        if stream[header:size] not in (b"", b"\xff"):
            yield stream[header:size]
        stream = stream[size:]
    yield CloseReason.NONE


def run(framing: Framing, pieces: list[bytes]) -> list[bytes | CloseReason]:
    """What the decoder makes of it; anything it raises but a PeerError fails the test."""
    decoder = Decoder(framing)
    out: list[bytes | CloseReason] = []
    try:
        for piece in pieces:
            decoder.feed(piece)
            while (payload := decoder.next_payload()) is not None:
                out.append(payload)
        decoder.close()
    except PeerError as error:
        out.append(error.reason)
    else:
        out.append(CloseReason.NONE)
    return out


def failure(decoder: Decoder) -> PeerError | None:
    """Take every payload out; the error that stopped it, if one did."""
    try:
        while decoder.next_payload() is not None:
            pass
    except PeerError as error:
        return error
    return None


@given(st.data(), framings, payloads)
def test_any_segmentation_of_a_valid_stream_gives_the_same_datagrams(
    data: st.DataObject, framing: Framing, sent: list[bytes]
) -> None:
    stream = b"".join(frame(framing, payload) for payload in sent)
    wanted = [payload for payload in sent if payload not in (b"", b"\xff")]
    assert run(framing, data.draw(cut(stream))) == [*wanted, CloseReason.NONE]


@given(framings, payloads)
def test_keepalives_and_empty_frames_are_counted(framing: Framing, sent: list[bytes]) -> None:
    decoder = Decoder(framing)
    decoder.feed(b"".join(frame(framing, payload) for payload in sent))
    assert failure(decoder) is None
    assert (decoder.keepalives, decoder.empties) == (sent.count(b"\xff"), sent.count(b""))
    assert decoder.buffered == 0


@given(st.data(), framings, garbage)
def test_garbage_gives_what_the_rules_say_and_no_other_error(
    data: st.DataObject, framing: Framing, stream: bytes
) -> None:
    assert run(framing, data.draw(cut(stream))) == list(reference(framing, stream))


@given(st.data(), framings, payloads, garbage)
def test_garbage_behind_good_frames_does_not_touch_them(
    data: st.DataObject, framing: Framing, sent: list[bytes], noise: bytes
) -> None:
    stream = b"".join(frame(framing, payload) for payload in sent) + noise
    assert run(framing, data.draw(cut(stream))) == list(reference(framing, stream))


@given(framings, garbage, garbage)
def test_an_error_stays_the_same_whatever_comes_later(framing: Framing, stream: bytes, later: bytes) -> None:
    decoder = Decoder(framing)
    decoder.feed(stream)
    error = failure(decoder)
    if error is None:
        return
    assert error.reason in FRAMING_ERRORS
    assert decoder.buffered == 0
    decoder.feed(later)
    assert decoder.buffered == 0, "a lost stream must not cost memory"
    again = failure(decoder)
    assert again is not None
    assert (again.reason, str(again)) == (error.reason, str(error))


@given(framings, st.one_of(ike, esp, large, malformed))
def test_what_is_encoded_is_decoded(framing: Framing, payload: bytes) -> None:
    encoder, _ = ENCODERS[framing]
    assert run(framing, [encoder(payload)]) == [payload, CloseReason.NONE]
    assert encoder(memoryview(payload)) == encoder(bytearray(payload)) == frame(framing, payload)


@pytest.mark.parametrize("framing", Framing)
def test_the_largest_payload_is_encoded_and_one_byte_more_is_not(framing: Framing) -> None:
    encoder, limit = ENCODERS[framing]
    largest = b"\xc0" * limit
    assert run(framing, [encoder(largest)]) == [largest, CloseReason.NONE]
    with pytest.raises(MisuseError, match=f"{limit + 1} bytes.* room for {limit}"):
        encoder(largest + b"\xc0")


@given(st.binary(max_size=40))
def test_every_payload_is_of_one_kind_and_only_ike_has_a_header(payload: bytes) -> None:
    kind = kind_of(payload)
    assert (kind is Kind.IKE) == (payload[:4] == bytes(4) and len(payload) >= 32)
    if kind is Kind.IKE:
        header = parse_ike_header(payload[4:])
        assert header.spi_i + header.spi_r == payload[4:20]
        assert ike_header_ok(payload[4:]) == (header.length == len(payload) - 4)
    else:
        assert not ike_header_ok(payload[4:]) or len(payload) >= 32


@given(st.one_of(garbage, st.binary(max_size=8)), st.booleans())
def test_first_bytes_decide_once_and_within_six(first: bytes, inside_tls: bool) -> None:
    answers = [recognise(first[:size], inside_tls=inside_tls) for size in range(len(first) + 1)]
    assert answers[0] is None
    assert all(answer is not None for answer in answers[ENOUGH:])
    decided = [answer for answer in answers if answer is not None]
    assert answers[len(answers) - len(decided) :] == decided
    assert len(set(decided)) <= 1


@given(st.one_of(ike, esp))
def test_what_our_own_ends_send_first_is_recognised(payload: bytes) -> None:
    for inside_tls in (False, True):
        assert recognise(encode(payload), inside_tls=inside_tls) is Protocol.TPKT
        assert recognise(b"IKETCP" + encode_rfc9329(payload), inside_tls=inside_tls) is Protocol.RFC9329


@given(ike)
def test_an_ftt_client_that_begins_with_ike_is_recognised(payload: bytes) -> None:
    assert recognise(encode_rfc9329(payload), inside_tls=True) is Protocol.FTT
