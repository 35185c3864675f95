// SPDX-License-Identifier: Apache-2.0
#include "conn.h"

#include <stdlib.h>
#include <string.h>

int tp_conns_open(struct tp_conns *conns, uint32_t worker, uint32_t max)
{
    *conns = (struct tp_conns){.worker = worker, .max = max};
    conns->chunks = calloc((max + TP_CONN_CHUNK - 1) / TP_CONN_CHUNK, sizeof *conns->chunks);
    return conns->chunks ? 0 : -1;
}

void tp_conns_close(struct tp_conns *conns)
{
    if (!conns->chunks)
        return;
    for (uint32_t i = 0; i < (conns->max + TP_CONN_CHUNK - 1) / TP_CONN_CHUNK; i++)
        free(atomic_load_explicit(&conns->chunks[i], memory_order_relaxed));
    free(conns->chunks);
    conns->chunks = NULL;
}

struct tp_conn *tp_conn_in_slot(struct tp_conns *conns, uint32_t slot)
{
    return atomic_load_explicit(&conns->chunks[slot / TP_CONN_CHUNK], memory_order_relaxed) +
           slot % TP_CONN_CHUNK;
}

/* The generation is never 0, and an id fits a signed 64-bit number. */
static uint64_t next_id(const struct tp_conns *conns, uint64_t last, uint32_t slot)
{
    uint64_t generation = (last >> 32) % 0x7fffffff + 1;
    return generation << 32 | (uint64_t)conns->worker << 24 | slot;
}

static struct tp_conn *take_fresh(struct tp_conns *conns)
{
    uint32_t slot = atomic_load_explicit(&conns->slots, memory_order_relaxed);
    if (slot == conns->max)
        return NULL;
    if (slot % TP_CONN_CHUNK == 0) {
        struct tp_conn *chunk = calloc(TP_CONN_CHUNK, sizeof *chunk);
        if (!chunk)
            return NULL;
        atomic_store_explicit(&conns->chunks[slot / TP_CONN_CHUNK], chunk, memory_order_relaxed);
    }
    struct tp_conn *conn = tp_conn_in_slot(conns, slot);
    conn->card.id = conns->after | slot;
    conn->fd = -1;
    atomic_store_explicit(&conns->slots, slot + 1, memory_order_release);
    return conn;
}

static void begin(const struct tp_conns *conns, struct tp_conn *conn, uint64_t id)
{
    /* Everything before the shared part starts afresh; that part is written by tp_conn_publish alone. */
    memset(conn, 0, offsetof(struct tp_conn, version));
    conn->handle.kind = TP_HANDLE_CONN;
    conn->fd = -1;
    conn->batch_first = conn->batch_last = -1;
    conn->peer = &conn->own_peer;
    conn->ike_port = TP_PORT_4500;
    conn->card.id = id;
    conn->card.worker = conns->worker;
    /* Released, so that a reader who sees one of these also sees that the version has moved since. */
    for (unsigned i = 0; i < TP_STATS; i++)
        atomic_store_explicit(&conn->stat[i], 0, memory_order_release);
}

struct tp_conn *tp_conn_take(struct tp_conns *conns)
{
    struct tp_conn *conn = conns->free;
    if (conn)
        conns->free = conn->next;
    else
        conn = take_fresh(conns);
    if (conn)
        begin(conns, conn, next_id(conns, conn->card.id, tp_id_slot(conn->card.id)));
    return conn;
}

struct tp_conn *tp_conn_restore(struct tp_conns *conns, uint64_t id)
{
    while (tp_conns_slots(conns) < tp_id_slot(id)) {
        struct tp_conn *skipped = take_fresh(conns);
        if (!skipped)
            return NULL;
        tp_conn_recycle(conns, skipped);
    }
    if (tp_conns_slots(conns) != tp_id_slot(id))
        return NULL; /* it has gone by already */
    struct tp_conn *conn = take_fresh(conns);
    if (conn)
        begin(conns, conn, id);
    return conn;
}

uint64_t tp_conns_latest(struct tp_conns *conns)
{
    uint64_t latest = conns->after >> 32;
    for (uint32_t slot = 0; slot < tp_conns_slots(conns); slot++) {
        uint64_t generation = tp_conn_in_slot(conns, slot)->card.id >> 32;
        latest = generation > latest ? generation : latest;
    }
    return latest << 32;
}

/* A sequence lock without fences: each word is released and acquired, so a reader that saw a new word also
 * sees that the version has moved. */
static void show(struct tp_conn *conn, const struct tp_card *card)
{
    uint64_t words[TP_CARD_WORDS];
    memcpy(words, card, sizeof words);
    uint32_t version = atomic_load_explicit(&conn->version, memory_order_relaxed);
    atomic_store_explicit(&conn->version, version + 1, memory_order_relaxed);
    for (unsigned i = 0; i < TP_CARD_WORDS; i++)
        atomic_store_explicit(&conn->shown[i], words[i], memory_order_release);
    atomic_store_explicit(&conn->version, version + 2, memory_order_release);
}

void tp_conn_publish(struct tp_conn *conn)
{
    show(conn, &conn->card);
}

void tp_conn_retire(struct tp_conn *conn)
{
    show(conn, &(struct tp_card){0});
}

void tp_conn_recycle(struct tp_conns *conns, struct tp_conn *conn)
{
    conn->next = conns->free;
    conns->free = conn;
}

struct tp_conn *tp_conn_by_id(struct tp_conns *conns, uint64_t id)
{
    if (tp_id_worker(id) != conns->worker ||
        tp_id_slot(id) >= atomic_load_explicit(&conns->slots, memory_order_relaxed))
        return NULL;
    struct tp_conn *conn = tp_conn_in_slot(conns, tp_id_slot(id));
    return conn->card.id == id && conn->fd != -1 ? conn : NULL;
}

uint32_t tp_conns_slots(struct tp_conns *conns)
{
    return atomic_load_explicit(&conns->slots, memory_order_acquire);
}

bool tp_conn_snapshot(struct tp_conns *conns, uint32_t slot, struct tp_connection_info *info)
{
    struct tp_conn *conn = tp_conn_in_slot(conns, slot);
    uint64_t words[TP_CARD_WORDS], stat[TP_STATS];
    struct tp_card card;
    uint32_t before, after;
    do {
        before = atomic_load_explicit(&conn->version, memory_order_acquire);
        for (unsigned i = 0; i < TP_CARD_WORDS; i++)
            words[i] = atomic_load_explicit(&conn->shown[i], memory_order_acquire);
        for (unsigned i = 0; i < TP_STATS; i++)
            stat[i] = atomic_load_explicit(&conn->stat[i], memory_order_acquire);
        after = atomic_load_explicit(&conn->version, memory_order_relaxed);
    } while (before != after || before % 2 != 0);
    memcpy(&card, words, sizeof card);
    if (card.id == 0)
        return false;
    *info = (struct tp_connection_info){
        .id = card.id,
        .worker = card.worker,
        .state = card.state,
        .protocol = card.protocol,
        .remote = card.remote,
        .local = card.local,
        .flow = card.flow,
        .tls_version = card.tls_version,
        .tls_cipher = card.tls_cipher,
        .tls_flags = card.tls_flags,
        .since_ns = card.since_ns,
        .last_active_ns = stat[TP_STAT_LAST_ACTIVE],
        .stream_to_link_bytes = stat[TP_STAT_STREAM_TO_LINK_BYTES],
        .stream_to_link_frames = stat[TP_STAT_STREAM_TO_LINK_FRAMES],
        .stream_to_link_esp_frames = stat[TP_STAT_STREAM_TO_LINK_ESP],
        .link_to_stream_bytes = stat[TP_STAT_LINK_TO_STREAM_BYTES],
        .link_to_stream_frames = stat[TP_STAT_LINK_TO_STREAM_FRAMES],
        .link_to_stream_esp_frames = stat[TP_STAT_LINK_TO_STREAM_ESP],
        .queued_bytes = stat[TP_STAT_QUEUED],
        .dropped = stat[TP_STAT_DROPPED],
        .dropped_late = stat[TP_STAT_DROPPED_LATE],
        .dropped_full = stat[TP_STAT_DROPPED_FULL],
        .queued_expedited = stat[TP_STAT_EXPEDITED],
        .queued_bulk = stat[TP_STAT_BULK],
        .unsent_limit = stat[TP_STAT_UNSENT_LIMIT],
    };
    return true;
}
