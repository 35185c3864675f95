// SPDX-License-Identifier: Apache-2.0
// Any bytes as a PROXY header: never a crash, never a length beyond what is there or beyond what one may be,
// the same answer however much has been seen, and what was read can be written and read again.
#include <stdlib.h>
#include <string.h>

#include "proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An exact copy, so that AddressSanitizer sees a read of one byte too many. */
static int on_copy(const uint8_t *data, size_t size, struct tp_proxied *proxied)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    int answer = tp_proxy_parse(copy, size, proxied);
    free(copy);
    return answer;
}

static int same(const struct tp_address *a, const struct tp_address *b)
{
    return tp_address_same(a, b) && a->port == b->port;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tp_proxied whole, part, again;
    uint8_t written[TP_PROXY_V2_WRITTEN];
    int answer = on_copy(data, size, &whole);
    if (answer > TP_PROXY_MAX || (answer > 0 && (size_t)answer > size) ||
        (answer == 0 && size >= TP_PROXY_MAX))
        abort();
    size_t most = size < 160 ? size : 160;
    for (size_t seen = 0; seen <= most; seen++) {
        int early = on_copy(data, seen, &part);
        if (early != 0 && early != answer)
            abort();
        if (early > 0 && seen < (size_t)early)
            abort();
    }
    if (answer > 0 && whole.known) {
        size_t length = tp_proxy_write(written, &whole.from, &whole.to);
        if (tp_proxy_parse(written, length, &again) != (int)length || !again.known ||
            !same(&again.from, &whole.from) || !same(&again.to, &whole.to))
            abort();
    }
    return 0;
}
