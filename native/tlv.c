// SPDX-License-Identifier: Apache-2.0
#include "tlv.h"

#include <stdlib.h>
#include <string.h>

static const size_t first_room = 1 << 16;

/* Room for `size` more bytes, or NULL. */
static uint8_t *extend(struct tp_writer *w, size_t size)
{
    if (w->failed)
        return NULL;
    if (w->room - w->size < size) {
        size_t room = w->room ? w->room : first_room;
        while (room - w->size < size)
            room *= 2;
        uint8_t *bytes = realloc(w->bytes, room);
        if (!bytes) {
            w->failed = true;
            return NULL;
        }
        w->bytes = bytes;
        w->room = room;
    }
    uint8_t *at = w->bytes + w->size;
    w->size += size;
    return at;
}

static void write_header(uint8_t *at, uint32_t tag, size_t size)
{
    uint32_t header[2] = {tag, (uint32_t)size};
    memcpy(at, header, sizeof header);
}

void tp_write_item(struct tp_writer *w, uint32_t tag, const void *data, size_t size)
{
    uint8_t *at = extend(w, TP_TLV_HEADER + size);
    if (!at)
        return;
    write_header(at, tag, size);
    if (size > 0)
        memcpy(at + TP_TLV_HEADER, data, size);
}

size_t tp_write_begin(struct tp_writer *w, uint32_t tag)
{
    size_t begun = w->size;
    tp_write_item(w, tag, NULL, 0);
    return begun;
}

void tp_write_end(struct tp_writer *w, size_t begun)
{
    if (w->failed)
        return;
    size_t size = w->size - begun - TP_TLV_HEADER;
    if (size > UINT32_MAX) {
        w->failed = true;
        return;
    }
    uint32_t tag;
    memcpy(&tag, w->bytes + begun, sizeof tag);
    write_header(w->bytes + begun, tag, size);
}

int tp_read_item(struct tp_reader *r, struct tp_view *view)
{
    uint32_t header[2];
    if (r->at == r->end)
        return 0;
    if ((size_t)(r->end - r->at) < TP_TLV_HEADER)
        return -1;
    memcpy(header, r->at, sizeof header);
    r->at += TP_TLV_HEADER;
    if ((size_t)(r->end - r->at) < header[1])
        return -1;
    *view = (struct tp_view){header[0], header[1], r->at};
    r->at += header[1];
    return 1;
}
