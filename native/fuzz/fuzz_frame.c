// SPDX-License-Identifier: Apache-2.0
// Any bytes, framed and recognised: never a crash, never a length beyond what is there, and the same answer
// however much of it has been seen. First byte: which framing (bit 0), inside TLS (bit 1).
#include <stdlib.h>

#include "frame.h"
#include "sniff.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An exact copy, so that AddressSanitizer sees a read of one byte too many. */
static int on_copy(const uint8_t *data, size_t size, int framing, int inside)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    int answer = framing >= 0 ? tp_frame_length((enum tp_framing)framing, copy, size)
                              : tp_recognise(copy, size, inside != 0);
    if (framing < 0) {
        (void)tp_kind_of(copy, size);
        (void)tp_ike_header_ok(copy, size);
    }
    free(copy);
    return answer;
}

/* An answer once given does not change with more bytes; "more" is only said while the rest can matter. */
static void answer_is_stable(const uint8_t *data, size_t size, int framing, int inside, int whole)
{
    size_t most = size < 64 ? size : 64;
    for (size_t seen = 0; seen <= most; seen++) {
        int answer = on_copy(data, seen, framing, inside);
        if (answer != 0 && answer != whole)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    enum tp_framing framing = data[0] & 1 ? TP_FRAMING_RFC9329 : TP_FRAMING_TPKT;
    int inside = data[0] & 2;
    data++, size--;

    int protocol = on_copy(data, size, -1, inside);
    answer_is_stable(data, size, -1, inside, protocol);
    if (size >= TP_SNIFF_ENOUGH && protocol == 0)
        abort();

    for (;;) {
        int length = on_copy(data, size, (int)framing, 0);
        answer_is_stable(data, size, (int)framing, 0, length);
        if (length <= 0)
            break;
        size_t header = tp_frame_header(framing);
        if ((size_t)length > size || (size_t)length < header)
            abort();
        if (on_copy(data, (size_t)length - 1, (int)framing, 0) != 0)
            abort();
        (void)on_copy(data + header, (size_t)length - header, -1, 0);
        data += length;
        size -= (size_t)length;
    }
    return 0;
}
