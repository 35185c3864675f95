// SPDX-License-Identifier: Apache-2.0
// Items of a tag, a length and as many bytes, one after the other; an item's bytes may be items again.
//
// The form in which a pump's state goes to its successor on the same machine: numbers are in its own byte
// order. A reader skips tags it does not know and leaves alone what it finds no tag for, so that two versions
// understand each other. Must not know what the items mean.
#ifndef TP_TLV_H
#define TP_TLV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TP_TLV_HEADER = 8 };

struct tp_writer {
    uint8_t *bytes; /* the caller's to free */
    size_t size, room;
    bool failed; /* no memory: what was written is not whole */
};

void tp_write_item(struct tp_writer *writer, uint32_t tag, const void *data, size_t size);

/* Everything written until tp_write_end(that number) is the new item's. */
size_t tp_write_begin(struct tp_writer *writer, uint32_t tag);
void tp_write_end(struct tp_writer *writer, size_t begun);

struct tp_view {
    uint32_t tag, size;
    const uint8_t *data; /* not aligned */
};

struct tp_reader {
    const uint8_t *at, *end;
};

/* 1: here is an item; 0: that was all; -1: the bytes end inside an item. */
int tp_read_item(struct tp_reader *reader, struct tp_view *view);

static inline struct tp_reader tp_inside(const struct tp_view *view)
{
    return (struct tp_reader){view->data, view->data + view->size};
}

#endif
