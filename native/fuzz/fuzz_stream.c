// SPDX-License-Identifier: Apache-2.0
// Any bytes in any pieces into the real reading of a stream: what reaches the sink and how it ends is what
// the framer alone says about the whole. First byte: how the pieces are cut.
#include "../tests/stage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tp_stage stage;
static uint32_t sum, frames;

static void add(const uint8_t *data, uint32_t length)
{
    frames++;
    for (uint32_t i = 0; i < length; i++)
        sum = sum * 31 + data[i];
}

static void note(struct tp_sink *sink, struct tp_conn *from, const struct tp_datagram *run, unsigned count,
                 uint64_t now)
{
    (void)sink, (void)from, (void)now;
    for (unsigned i = 0; i < count; i++)
        add(run[i].data, run[i].length);
}

/* What should come out of `size` bytes; the reason is for a peer that hangs up behind them. */
static enum tp_reason oracle(const uint8_t *at, size_t size)
{
    unsigned bad = 0;
    int protocol = tp_recognise(at, size, false), length = 0;
    if (protocol == 0)
        return size == 0 ? TP_REASON_FIN : TP_REASON_FIN_IN_FRAME;
    if (protocol < 0)
        return tp_reason_of(protocol);
    if (protocol == TP_PROTOCOL_TLS)
        return TP_REASON_TLS_NOT_CONFIGURED;
    if (protocol == TP_PROTOCOL_HTTP)
        return TP_REASON_HTTP;
    enum tp_framing framing = protocol == TP_PROTOCOL_TPKT ? TP_FRAMING_TPKT : TP_FRAMING_RFC9329;
    size_t prefix = protocol == TP_PROTOCOL_RFC9329 ? TP_SNIFF_ENOUGH : 0, header = tp_frame_header(framing);
    for (at += prefix, size -= prefix; (length = tp_frame_length(framing, at, size)) > 0;) {
        const uint8_t *payload = at + header;
        size_t n = (size_t)length - header;
        enum tp_kind kind = tp_kind_of(payload, n);
        bool ok = kind == TP_IKE && tp_ike_header_ok(payload + TP_MARKER, n - TP_MARKER);
        if (kind == TP_ESP || ok)
            add(payload, (uint32_t)n);
        bad += (kind == TP_IKE && !ok) || (kind == TP_MALFORMED && n >= TP_MARKER && tp_ike_marker(payload));
        if (bad > TP_MAX_BAD_IKE)
            return TP_REASON_BAD_IKE;
        at += length;
        size -= (size_t)length;
    }
    if (length < 0)
        return tp_reason_of(length);
    return size == 0 ? TP_REASON_FIN : TP_REASON_FIN_IN_FRAME;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool open;
    if (!open) {
        struct tp_config config = stage_config();
        stage_open(&stage, &config, &(struct tp_sink){note});
        open = true;
    }
    if (size == 0)
        return 0;
    size_t step = (size_t)(data[0] & 0x1f) + 1, growth = data[0] >> 5;
    data++, size--;
    sum = frames = 0;
    enum tp_reason wanted = oracle(data, size);
    uint32_t wanted_sum = sum, wanted_frames = frames;

    sum = frames = 0;
    stage_enter(&stage);
    for (size_t at = 0; at < size && stage.conn->fd != -1;) {
        size_t n = size - at < step ? size - at : step;
        stage_feed(&stage, data + at, n);
        at += n;
        step += growth * step / 2;
    }
    if (stage.conn->fd != -1) {
        shutdown(stage.peer, SHUT_WR);
        tp_stream_readable(stage.worker, stage.conn);
    }
    if (stage_leave(&stage) != wanted || sum != wanted_sum || frames != wanted_frames)
        abort();
    return 0;
}
