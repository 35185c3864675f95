# SPDX-License-Identifier: Apache-2.0
"""Who is blamed for what: our misuse, the peer's faults; with sentences that name the place and the cure."""

from __future__ import annotations

import pytest

from tpkt.decoder import MAX_BUFFERED, Decoder
from tpkt.errors import CloseReason, MisuseError, PeerError, TpktError
from tpkt.wire import Framing, encode, encode_rfc9329, parse_ike_header

ESP = bytes.fromhex("0100000cc0ffee0100000001")


@pytest.mark.parametrize("encoder", [encode, encode_rfc9329])
@pytest.mark.parametrize("payload", [b"", b"\xff"])
def test_keepalives_and_nothing_are_never_sent(encoder: type[bytes], payload: bytes) -> None:
    with pytest.raises(MisuseError, match="never sent on TCP; drop them"):
        encoder(payload)


def test_misuse_is_a_value_error_and_a_peers_fault_is_not() -> None:
    assert issubclass(MisuseError, ValueError)
    assert issubclass(MisuseError, TpktError)
    assert issubclass(PeerError, TpktError)
    assert not issubclass(PeerError, ValueError)


def test_an_error_names_the_place_in_the_stream_and_both_values() -> None:
    decoder = Decoder(Framing.TPKT)
    decoder.feed(ESP)
    assert decoder.next_payload() == ESP[4:]
    decoder.feed(ESP + b"\3\0\0\x0c")
    assert decoder.next_payload() == ESP[4:]
    with pytest.raises(PeerError) as caught:
        decoder.next_payload()
    assert caught.value.reason is CloseReason.BAD_VERSION
    assert (
        str(caught.value) == "bad_version: the frame at byte 24 of the stream: its version is 3, TPKT' has 1"
    )


@pytest.mark.parametrize(
    ("framing", "stream", "sentence"),
    [
        (Framing.TPKT, b"\1\x07", "its reserved byte is 7, not 0"),
        (Framing.TPKT, b"\1\0\0\3", "its length is 3, its header has 4"),
        (Framing.RFC9329, b"\0\1", "its length is 1, its header has 2"),
    ],
)
def test_every_framing_error_shows_what_was_found(framing: Framing, stream: bytes, sentence: str) -> None:
    decoder = Decoder(framing)
    decoder.feed(stream)
    with pytest.raises(PeerError, match=sentence):
        decoder.next_payload()


def test_a_fin_inside_a_frame_is_the_peers_fault_and_drops_the_part() -> None:
    decoder = Decoder(Framing.TPKT)
    decoder.feed(ESP[:7])
    assert decoder.next_payload() is None
    assert decoder.buffered == 7
    with pytest.raises(PeerError, match="the stream ended 7 bytes into it") as caught:
        decoder.close()
    assert caught.value.reason is CloseReason.FIN_IN_FRAME
    assert decoder.buffered == 0


def test_a_fin_at_a_frame_border_is_no_error() -> None:
    decoder = Decoder(Framing.TPKT)
    decoder.feed(ESP)
    assert decoder.next_payload() == ESP[4:]
    decoder.close()


def test_closing_before_the_payloads_were_taken_is_misuse() -> None:
    decoder = Decoder(Framing.TPKT)
    decoder.feed(ESP)
    with pytest.raises(MisuseError, match="until it answers None"):
        decoder.close()
    assert decoder.next_payload() == ESP[4:]


def test_feeding_after_the_end_is_misuse() -> None:
    decoder = Decoder(Framing.TPKT)
    decoder.close()
    with pytest.raises(MisuseError, match="after close"):
        decoder.feed(ESP)


def test_a_caller_who_never_takes_payloads_meets_the_limit() -> None:
    decoder = Decoder(Framing.TPKT)
    decoder.feed(bytes(MAX_BUFFERED))
    with pytest.raises(MisuseError, match=f"{MAX_BUFFERED + 1} bytes held, limit {MAX_BUFFERED}"):
        decoder.feed(b"\0")


def test_an_ike_header_that_is_not_there_is_the_peers_fault() -> None:
    with pytest.raises(PeerError, match="an IKE message of 27 bytes; its header alone has 28") as caught:
        parse_ike_header(bytes(27))
    assert caught.value.reason is CloseReason.BAD_IKE


def test_an_ike_header_is_read_in_host_order() -> None:
    header = parse_ike_header(bytes.fromhex("0102030405060708 1112131415161718 21202208 00000007 00000130"))
    assert header.spi_i.hex() == "0102030405060708"
    assert header.spi_r.hex() == "1112131415161718"
    assert (header.next_payload, header.version, header.exchange, header.flags) == (33, 0x20, 34, 8)
    assert (header.message_id, header.length) == (7, 304)


def test_close_reasons_are_named_in_lower_case_and_each_has_a_sentence() -> None:
    for reason in CloseReason:
        assert reason.value == reason.name.lower()
        assert reason.sentence
        assert not reason.sentence.endswith(".")
    assert len({reason.sentence for reason in CloseReason}) == len(CloseReason)
    assert CloseReason("bad_ike") is CloseReason.BAD_IKE
    assert f"{CloseReason.FIN}" == "fin"
