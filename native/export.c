// SPDX-License-Identifier: Apache-2.0
// The state of a frozen pump, written down for its successor: moving.h says in which form.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "moving.h"
#include "pump.h"
#include "tlv.h"
#include "util.h"

/* What is being written, and the descriptors that go with it. */
struct exporting {
    struct tp_writer out;
    int *fds;
    size_t count, room;
};

static uint32_t add_fd(struct exporting *to, int fd)
{
    if (to->count == to->room) {
        size_t room = to->room ? 2 * to->room : 256;
        int *fds = realloc(to->fds, room * sizeof *fds);
        if (!fds) {
            to->out.failed = true;
            return 0;
        }
        to->fds = fds;
        to->room = room;
    }
    to->fds[to->count] = fd;
    return (uint32_t)to->count++;
}

static void write_block(struct exporting *to, uint32_t tag, const struct tp_block *block, bool begun)
{
    struct tp_moving_block head = {
        .since = block->since,
        .room = block->room,
        .payload = block->payload,
        .kind = block->kind,
        .line = block->line,
        .demoted = block->demoted,
        .begun = begun,
    };
    uint32_t length = block->end - block->start;
    uint8_t bytes[sizeof head + TP_MAX_FRAME + 1];
    memcpy(bytes, &head, sizeof head);
    memcpy(bytes + sizeof head, block->data + block->start, length);
    tp_write_item(&to->out, tag, bytes, sizeof head + length);
}

static void write_queued(void *to, const struct tp_block *block, bool begun)
{
    write_block(to, TP_MOVING_FRAME, block, begun);
}

static void write_conn(struct exporting *to, const struct tp_conn *conn)
{
    struct tp_writer *out = &to->out;
    size_t begun = tp_write_begin(out, TP_MOVING_CONN);
#define WRITE_FIELD(tag, member) tp_write_item(out, tag, &conn->member, sizeof conn->member);
    TP_MOVING_FIELDS(WRITE_FIELD)
    TP_MOVING_FLAGS(WRITE_FIELD)
#undef WRITE_FIELD
#define WRITE_DEADLINE(tag, member)                                                                          \
    if (conn->member.later)                                                                                  \
        tp_write_item(out, tag, &conn->member.at, sizeof conn->member.at);
    TP_MOVING_DEADLINES(WRITE_DEADLINE)
#undef WRITE_DEADLINE
    uint64_t stats[TP_STATS];
    for (unsigned i = 0; i < TP_STATS; i++)
        stats[i] = tp_read(&conn->stat[i]);
    tp_write_item(out, TP_MOVING_STATS, stats, sizeof stats);
    if (conn->partial)
        write_block(to, TP_MOVING_PARTIAL, conn->partial, false);
    tp_queue_each(&conn->queue, write_queued, to);
    uint32_t fd = add_fd(to, conn->fd);
    tp_write_item(out, TP_MOVING_FD, &fd, sizeof fd);
    tp_write_end(out, begun);
}

static void write_counters(struct exporting *to, const struct tp_counters *counters)
{
    struct {
        uint64_t value;
        char name[64];
    } item;
    for (unsigned i = TP_C_GAUGES; i < TP_C_COUNT; i++) {
        item.value = tp_read(&counters->value[i]);
        if (item.value == 0)
            continue;
        tp_counter_name(i, item.name, sizeof item.name);
        tp_write_item(&to->out, TP_MOVING_COUNTER, &item, sizeof item.value + strlen(item.name));
    }
}

/* The addresses of connections that cannot move wait for somebody else in the successor. */
static void write_pool(struct exporting *to, struct tp_worker *w, struct tp_pool *pool, unsigned family)
{
    uint32_t *returned = calloc((size_t)pool->size + 1, sizeof *returned);
    if (!returned) {
        to->out.failed = true;
        return;
    }
    uint32_t count = pool->returned;
    for (uint32_t i = 0; i < count; i++)
        returned[i] = pool->ring[(pool->oldest + i) % pool->size];
    for (uint32_t slot = 0; slot < tp_conns_slots(&w->conns); slot++) {
        const struct tp_conn *conn = tp_conn_in_slot(&w->conns, slot);
        if (conn->fd != -1 && !tp_conn_can_move(conn) && conn->card.flow.family == family &&
            count < pool->size && tp_flow_index(&w->flows, &conn->card.flow, &returned[count]))
            count++;
    }
    struct tp_moving_pool head = {pool->first, pool->stride, pool->size, pool->fresh, count};
    size_t begun = tp_write_begin(&to->out, TP_MOVING_POOL);
    tp_write_item(&to->out, TP_MOVING_POOL, &head, sizeof head);
    tp_write_item(&to->out, TP_MOVING_POOL, returned, count * sizeof *returned);
    tp_write_end(&to->out, begun);
    free(returned);
}

static void write_worker(struct exporting *to, struct tp_worker *w)
{
    size_t begun = tp_write_begin(&to->out, TP_MOVING_WORKER);
    for (unsigned i = 0; i < TP_LINK_FAMILIES * TP_PORTS; i++) {
        const struct tp_link_socket *socket = &w->link.socket[i / TP_PORTS][i % TP_PORTS];
        if (socket->fd == -1)
            continue;
        struct tp_moving_link item = {i / TP_PORTS, i % TP_PORTS, add_fd(to, socket->fd)};
        tp_write_item(&to->out, TP_MOVING_LINK, &item, sizeof item);
    }
    for (const struct tp_listener *l = w->listeners; l; l = l->next) {
        struct tp_moving_listener item = {l->local, l->wildcard, add_fd(to, l->fd)};
        tp_write_item(&to->out, TP_MOVING_LISTENER, &item, sizeof item);
    }
    write_counters(to, &w->counters);
    write_pool(to, w, &w->flows.pool4, 4);
    write_pool(to, w, &w->flows.pool6, 6);
    uint64_t latest = tp_conns_latest(&w->conns);
    tp_write_item(&to->out, TP_MOVING_GENERATION, &latest, sizeof latest);
    for (uint32_t slot = 0; slot < tp_conns_slots(&w->conns); slot++) {
        const struct tp_conn *conn = tp_conn_in_slot(&w->conns, slot);
        if (conn->fd != -1 && tp_conn_can_move(conn))
            write_conn(to, conn);
    }
    tp_write_end(&to->out, begun);
}

static void write_bans(struct exporting *to, struct tp_sources *sources)
{
    struct tp_ban ban;
    uint32_t cursor = 0;
    uint64_t now = tp_now();
    while (tp_sources_bans(sources, now, &cursor, &ban, 1) == 1)
        tp_write_item(&to->out, TP_MOVING_BAN, &ban, sizeof ban);
}

int tp_pump_export(struct tp_pump *pump, struct tp_moving *moving, struct tp_error *error)
{
    *moving = (struct tp_moving){0};
    if (!pump->frozen || pump->config.role != TP_GATEWAY)
        return tp_fail(error, EINVAL, "hand-over: only a gateway's pump that was frozen has a state to give");
    struct exporting to = {0};
    struct tp_moving_header header = {TP_MOVING_MAGIC, TP_MOVING_VERSION, pump->config.workers, 0};
    tp_write_item(&to.out, 0, &header, sizeof header);
    for (unsigned w = 0; w < pump->config.workers; w++)
        write_worker(&to, &pump->workers[w]);
    write_bans(&to, &pump->sources);
    if (to.out.failed) {
        free(to.out.bytes);
        free(to.fds);
        return tp_fail(error, ENOMEM, "hand-over: cannot get memory for the state");
    }
    header.descriptors = (uint32_t)to.count;
    memcpy(to.out.bytes + TP_TLV_HEADER, &header, sizeof header);
    *moving = (struct tp_moving){to.out.bytes, to.out.size, to.fds, header.descriptors};
    return 0;
}

void tp_moving_free(struct tp_moving *moving)
{
    free(moving->bytes);
    free(moving->descriptors);
    *moving = (struct tp_moving){0};
}
