// SPDX-License-Identifier: Apache-2.0
// A pump made of the state that its predecessor wrote: moving.h says in which form.
//
// What does not fit is refused as a whole. The predecessor is of this product and on this machine, and still
// nothing here trusts a length, a number of a descriptor or a state that it names.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "moving.h"
#include "pump.h"
#include "tlv.h"
#include "util.h"

/* A deadline that is still to be set, which must happen in the order of their ends. */
struct pending {
    uint64_t at;
    struct tp_deadlines *list;
    struct tp_deadline *one;
};

struct importing {
    struct tp_pump *pump;
    struct tp_worker *w;
    int *fds; /* -1: somebody's already */
    uint32_t fd_count;
    struct pending *pending;
    size_t count, room;
    struct tp_error *error;
};

static int refuse(const struct importing *from, const char *what)
{
    return tp_fail(from->error, EPROTO, "hand-over: %s of the running gateway cannot be understood", what);
}

static int no_memory(const struct importing *from)
{
    return tp_fail(from->error, ENOMEM, "hand-over: cannot get memory for what is running");
}

/* The descriptor behind a number, for the caller to keep; -1: there is none. */
static int take_fd(struct importing *from, uint32_t number)
{
    if (number >= from->fd_count)
        return -1;
    int fd = from->fds[number];
    from->fds[number] = -1;
    return fd;
}

static int read_link(struct importing *from, const struct tp_view *view)
{
    struct tp_moving_link item;
    if (view->size != sizeof item)
        return refuse(from, "the link");
    memcpy(&item, view->data, sizeof item);
    if (item.family >= TP_LINK_FAMILIES || item.port >= TP_PORTS ||
        from->w->link.socket[item.family][item.port].fd != -1)
        return refuse(from, "the link");
    int fd = take_fd(from, item.fd);
    from->w->link.socket[item.family][item.port] =
        (struct tp_link_socket){.handle.kind = TP_HANDLE_LINK, .fd = fd, .port = (uint8_t)item.port};
    return fd == -1 ? refuse(from, "the link") : 0;
}

static int read_listener(struct importing *from, const struct tp_view *view)
{
    struct tp_moving_listener item;
    if (view->size != sizeof item)
        return refuse(from, "a listener");
    memcpy(&item, view->data, sizeof item);
    struct tp_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return no_memory(from);
    *listener = (struct tp_listener){
        .handle.kind = TP_HANDLE_LISTENER,
        .fd = take_fd(from, item.fd),
        .local = item.local,
        .wildcard = item.wildcard != 0,
    };
    if (listener->fd == -1 ||
        tp_worker_watch(from->w, EPOLL_CTL_ADD, listener->fd, EPOLLIN, &listener->handle) == -1) {
        if (listener->fd != -1)
            close(listener->fd);
        free(listener);
        return refuse(from, "a listener");
    }
    listener->next = from->w->listeners;
    from->w->listeners = listener;
    return 0;
}

/* Under its name: another version may have others, in another order. Unknown ones are left out. */
static int read_counter(struct importing *from, const struct tp_view *view)
{
    uint64_t value;
    char name[64], ours[64];
    if (view->size < sizeof value || view->size - sizeof value >= sizeof name)
        return refuse(from, "a counter");
    memcpy(&value, view->data, sizeof value);
    memcpy(name, view->data + sizeof value, view->size - sizeof value);
    name[view->size - sizeof value] = '\0';
    for (unsigned i = TP_C_GAUGES; i < TP_C_COUNT; i++) {
        tp_counter_name(i, ours, sizeof ours);
        if (strcmp(name, ours) == 0) {
            tp_count(&from->w->counters, i, value);
            break;
        }
    }
    return 0;
}

static int read_pool(struct importing *from, const struct tp_view *view)
{
    struct tp_reader inside = tp_inside(view);
    struct tp_view head_view, returned;
    struct tp_moving_pool head;
    if (tp_read_item(&inside, &head_view) != 1 || head_view.size != sizeof head ||
        tp_read_item(&inside, &returned) != 1)
        return refuse(from, "a pool");
    memcpy(&head, head_view.data, sizeof head);
    struct tp_flows *flows = &from->w->flows;
    if (head.size == 0)
        return 0;
    struct tp_pool *pool = head.first.family == 4 ? &flows->pool4 : &flows->pool6;
    if (pool->size != head.size || pool->stride != head.stride || head.fresh > head.size ||
        head.returned > head.size || returned.size != head.returned * sizeof *pool->ring ||
        !tp_address_same(&pool->first, &head.first))
        return refuse(from, "a pool");
    if (head.returned > 0)
        memcpy(pool->ring, returned.data, returned.size);
    for (uint32_t i = 0; i < head.returned; i++) {
        if (pool->ring[i] >= pool->size)
            return refuse(from, "a pool");
    }
    pool->fresh = head.fresh;
    pool->returned = head.returned;
    pool->oldest = 0;
    return 0;
}

static struct tp_block *read_block(struct importing *from, const struct tp_view *view,
                                   struct tp_moving_block *head)
{
    if (view->size < sizeof *head)
        return NULL;
    memcpy(head, view->data, sizeof *head);
    uint32_t length = view->size - (uint32_t)sizeof *head;
    if (head->room > TP_MAX_FRAME + 1 || length > head->room || head->kind > TP_MALFORMED)
        return NULL;
    struct tp_block *block = tp_block_take(&from->w->blocks, head->room, true);
    if (!block)
        return NULL;
    memcpy(block->data, view->data + sizeof *head, length);
    block->end = length;
    block->payload = head->payload;
    block->kind = (uint8_t)head->kind;
    block->line = (uint8_t)(head->line < TP_CLASSES ? head->line : TP_CLASSES);
    block->demoted = (uint8_t)(head->demoted <= TP_MARKINGS ? head->demoted : TP_MARKINGS + 1);
    block->since = head->since;
    return block;
}

/* What has arrived of a frame or of a PROXY header: there must be room for more, or reading on would be taken
 * for the end of the stream. */
static int read_partial(struct importing *from, struct tp_conn *conn, const struct tp_view *view)
{
    struct tp_moving_block head;
    if (conn->partial)
        return refuse(from, "a begun frame");
    conn->partial = read_block(from, view, &head);
    return conn->partial && conn->partial->end < conn->partial->room ? 0 : refuse(from, "a begun frame");
}

static int read_frame(struct importing *from, struct tp_conn *conn, const struct tp_view *view)
{
    struct tp_moving_block head;
    struct tp_block *block = read_block(from, view, &head);
    if (block && tp_queue_restore(&conn->queue, block, head.begun != 0))
        return 0;
    if (block)
        tp_block_give(&from->w->blocks, block);
    return refuse(from, "a queued frame");
}

/* What is behind a number that says how long something is, or which of an enum. */
static bool sane(const struct tp_conn *conn)
{
    const struct tp_block *partial = conn->partial;
    if (partial && !conn->wants_introduction &&
        (partial->end >= partial->payload || partial->payload > TP_MAX_FRAME))
        return false;
    return conn->card.state <= TP_LINGERING && conn->farewell < TP_REASON_COUNT &&
           conn->card.protocol < TP_PROTOCOL_COUNT &&
           (conn->standing == TP_UNCOUNTED || conn->standing == TP_HALF || conn->standing == TP_BEGUN) &&
           (conn->framing == TP_FRAMING_TPKT || conn->framing == TP_FRAMING_RFC9329) &&
           conn->unsent.limit >= TP_UNSENT_LEAST && conn->ike_port < TP_PORTS && conn->head_length <= sizeof conn->head;
}

static int put_off(struct importing *from, struct tp_deadlines *list, struct tp_deadline *one, uint64_t at)
{
    if (from->count == from->room) {
        size_t room = from->room ? 2 * from->room : 256;
        struct pending *pending = realloc(from->pending, room * sizeof *pending);
        if (!pending)
            return no_memory(from);
        from->pending = pending;
        from->room = room;
    }
    from->pending[from->count++] = (struct pending){at, list, one};
    return 0;
}

static struct tp_deadlines *opening_list(struct tp_worker *w, const struct tp_conn *conn)
{
    if (conn->card.state == TP_NEW)
        return &w->first_bytes;
    return conn->card.state == TP_OPEN ? &w->ike : &w->lingering;
}

/* The items that are more than bytes to copy. */
static int read_special(struct importing *from, struct tp_conn *conn, const struct tp_view *view)
{
    uint32_t number;
    uint64_t value;
    switch (view->tag) {
    case TP_MOVING_FD:
        if (view->size != sizeof number || conn->fd != -1)
            return refuse(from, "a connection");
        memcpy(&number, view->data, sizeof number);
        conn->fd = take_fd(from, number);
        return conn->fd == -1 ? refuse(from, "a connection") : 0;
    case TP_MOVING_STATS:
        for (unsigned i = 0; i < TP_STATS && (i + 1) * sizeof value <= view->size; i++) {
            memcpy(&value, view->data + i * sizeof value, sizeof value);
            tp_write(&conn->stat[i], value);
        }
        return 0;
    case TP_MOVING_PARTIAL:
        return read_partial(from, conn, view);
    case TP_MOVING_FRAME:
        return read_frame(from, conn, view);
#define READ_FIELD(number_, member)                                                                          \
    case number_:                                                                                            \
        if (view->size != sizeof conn->member)                                                               \
            return refuse(from, "a connection");                                                             \
        memcpy(&conn->member, view->data, sizeof conn->member);                                              \
        return 0;
        TP_MOVING_FIELDS(READ_FIELD)
#undef READ_FIELD
#define READ_FLAG(number_, member)                                                                           \
    case number_:                                                                                            \
        conn->member = view->size == 1 && view->data[0] != 0;                                                \
        return 0;
        TP_MOVING_FLAGS(READ_FLAG)
#undef READ_FLAG
#define READ_DEADLINE(number_, member)                                                                       \
    case number_:                                                                                            \
        if (view->size != sizeof value)                                                                      \
            return refuse(from, "a deadline");                                                               \
        memcpy(&conn->member.at, view->data, sizeof value);                                                  \
        return 0;
        TP_MOVING_DEADLINES(READ_DEADLINE)
#undef READ_DEADLINE
    default:
        return 0; /* of a later version */
    }
}

/* A limit that is lower now than when it was let in ends nobody: it is only not counted. */
static void count_standing(struct tp_worker *w, struct tp_conn *conn)
{
    const struct tp_address *from = conn->wants_introduction ? NULL : &conn->card.remote;
    enum tp_standing was = conn->standing;
    uint32_t source;
    conn->standing = TP_UNCOUNTED;
    if (was == TP_UNCOUNTED || tp_source_admit(w->sources, from, w->now, &source) != TP_REASON_NONE)
        return;
    tp_conn_admitted(w, conn, source);
    if (was == TP_BEGUN && tp_conn_begin(w, conn) != TP_REASON_NONE)
        tp_conn_settle(w, conn);
}

/* Into the tables of the worker and of the pump, once all of it is read. */
static int place(struct importing *from, struct tp_conn *conn)
{
    struct tp_worker *w = from->w;
    if (!sane(conn) || conn->fd == -1 || !tp_flow_restore(&w->flows, &conn->card.flow, conn))
        return refuse(from, "a connection");
    conn->wants_write = !tp_queue_empty(&conn->queue);
    if (tp_worker_watch(w, EPOLL_CTL_ADD, conn->fd, conn->wants_write ? EPOLLIN | EPOLLOUT : EPOLLIN,
                        &conn->handle) == -1)
        return tp_fail(from->error, errno, "hand-over: cannot watch a connection");
    count_standing(w, conn);
    if (conn->opening.at && put_off(from, opening_list(w, conn), &conn->opening, conn->opening.at) == -1)
        return -1;
    if (conn->frame.at && put_off(from, &w->frame, &conn->frame, conn->frame.at) == -1)
        return -1;
    atomic_fetch_add_explicit(&from->pump->open, 1, memory_order_relaxed);
    tp_count(&w->counters, TP_C_connections_open, 1);
    tp_write(&conn->stat[TP_STAT_QUEUED], conn->queue.bytes);
    tp_conn_publish(conn);
    return 0;
}

static int read_conn(struct importing *from, const struct tp_view *view)
{
    struct tp_reader inside = tp_inside(view);
    struct tp_view first, item;
    uint64_t id;
    if (tp_read_item(&inside, &first) != 1 || first.size != sizeof id)
        return refuse(from, "a connection");
    memcpy(&id, first.data, sizeof id); /* the first of its fields */
    if (tp_id_worker(id) != from->w->index)
        return refuse(from, "a connection");
    if (tp_id_slot(id) >= from->w->conns.max)
        return tp_fail(from->error, EUSERS, "hand-over: more connections than limits.connections allows");
    struct tp_conn *conn = tp_conn_restore(&from->w->conns, id);
    if (!conn)
        return refuse(from, "a connection");
    int more;
    tp_unsent_open(&conn->unsent, from->pump->config.notsent_lowat);
    while ((more = tp_read_item(&inside, &item)) == 1) {
        if (read_special(from, conn, &item) == -1)
            return -1;
    }
    conn->card.id = id;
    conn->card.worker = from->w->index;
    return more == -1 ? refuse(from, "a connection") : place(from, conn);
}

static int read_generation(struct importing *from, const struct tp_view *view)
{
    if (view->size != sizeof from->w->conns.after)
        return refuse(from, "a worker");
    memcpy(&from->w->conns.after, view->data, sizeof from->w->conns.after);
    from->w->conns.after = from->w->conns.after >> 32 << 32;
    return 0;
}

static int read_worker(struct importing *from, const struct tp_view *view)
{
    struct tp_reader inside = tp_inside(view);
    struct tp_view item;
    int more, result = 0;
    while (result == 0 && (more = tp_read_item(&inside, &item)) != 0) {
        if (more == -1)
            return refuse(from, "a worker");
        switch (item.tag) {
        case TP_MOVING_LINK:
            result = read_link(from, &item);
            break;
        case TP_MOVING_LISTENER:
            result = read_listener(from, &item);
            break;
        case TP_MOVING_COUNTER:
            result = read_counter(from, &item);
            break;
        case TP_MOVING_POOL:
            result = read_pool(from, &item);
            break;
        case TP_MOVING_GENERATION:
            result = read_generation(from, &item);
            break;
        case TP_MOVING_CONN:
            result = read_conn(from, &item);
            break;
        default: /* of a later version */
            break;
        }
    }
    return result;
}

static int read_ban(struct importing *from, const struct tp_view *view)
{
    struct tp_ban ban;
    if (view->size != sizeof ban)
        return refuse(from, "a ban");
    memcpy(&ban, view->data, sizeof ban);
    if ((ban.prefix.family != 4 && ban.prefix.family != 6) || ban.reason >= TP_REASON_COUNT ||
        ban.prefix.prefix > (ban.prefix.family == 4 ? 32 : 128))
        return refuse(from, "a ban");
    tp_sources_restore(&from->pump->sources, &ban);
    return 0;
}

static int by_end(const void *a, const void *b)
{
    const struct pending *one = a, *other = b;
    return (one->at > other->at) - (one->at < other->at);
}

static int read_all(struct importing *from, const struct tp_moving *moving)
{
    struct tp_reader reader = {moving->bytes, moving->bytes + moving->size};
    struct tp_moving_header header;
    struct tp_view item;
    if (tp_read_item(&reader, &item) != 1 || item.size != sizeof header)
        return refuse(from, "the state");
    memcpy(&header, item.data, sizeof header);
    if (header.magic != TP_MOVING_MAGIC || header.version != TP_MOVING_VERSION)
        return refuse(from, "the version");
    if (header.workers != from->pump->config.workers || header.descriptors != from->fd_count)
        return refuse(from, "the number of workers");
    unsigned worker = 0;
    int more;
    while ((more = tp_read_item(&reader, &item)) == 1) {
        if (item.tag == TP_MOVING_BAN && read_ban(from, &item) == -1)
            return -1;
        if (item.tag != TP_MOVING_WORKER)
            continue; /* of a later version */
        if (worker == header.workers)
            return refuse(from, "the number of workers");
        from->w = &from->pump->workers[worker++];
        from->w->now = tp_now();
        if (read_worker(from, &item) == -1)
            return -1;
    }
    if (more == -1 || worker != header.workers)
        return refuse(from, "the state");
    if (from->count > 0)
        qsort(from->pending, from->count, sizeof *from->pending, by_end);
    for (size_t i = 0; i < from->count; i++)
        tp_deadline_restore(from->pending[i].list, from->pending[i].one, from->pending[i].at, from->w->now);
    return 0;
}

int tp_pump_import(struct tp_pump *pump, const struct tp_moving *moving, struct tp_error *error)
{
    struct importing from = {
        .pump = pump, .fds = moving->descriptors, .fd_count = moving->descriptor_count, .error = error};
    int result = read_all(&from, moving);
    for (uint32_t i = 0; i < from.fd_count; i++) {
        if (from.fds[i] != -1)
            close(from.fds[i]);
        from.fds[i] = -1;
    }
    free(from.pending);
    if (result == -1)
        return -1;
    pump->frozen = true;
    for (unsigned w = 0; w < pump->config.workers; w++)
        pump->workers[w].frozen = true;
    return tp_pump_run(pump, error);
}
