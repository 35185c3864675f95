// SPDX-License-Identifier: Apache-2.0
// The outside of the pump (api.h): starting, stopping, asking.
#include "pump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "prefixes.h"
#include "util.h"

enum { EVENTS_KEPT = 16384 }; /* a burst of thousands of connections fits, 2 MB */

bool tp_pump_enter(struct tp_pump *pump)
{
    uint32_t open = atomic_fetch_add_explicit(&pump->open, 1, memory_order_relaxed);
    if (open < pump->config.max_connections)
        return true;
    tp_pump_leave(pump);
    return false;
}

void tp_pump_leave(struct tp_pump *pump)
{
    atomic_fetch_sub_explicit(&pump->open, 1, memory_order_relaxed);
}

static void tell_seldom(struct tp_pump *pump, _Atomic uint64_t *told_at, const struct tp_event *event)
{
    uint64_t now = event->at_ns, last = atomic_load_explicit(told_at, memory_order_relaxed);
    if (last != 0 && now - last < TP_SECOND && now >= last)
        return;
    if (atomic_compare_exchange_strong_explicit(told_at, &last, now, memory_order_relaxed,
                                                memory_order_relaxed))
        tp_events_put(&pump->events, event); /* otherwise another worker has just told */
}

void tp_pump_tell_limit(struct tp_pump *pump, enum tp_reason reason, const struct tp_address *remote,
                        const struct tp_address *local, uint64_t now)
{
    struct tp_event event = {
        .at_ns = now, .kind = TP_EVENT_LIMIT, .reason = reason, .remote = *remote, .local = *local};
    tell_seldom(pump, &pump->limit_told_at[reason], &event);
}

void tp_pump_tell_ban(struct tp_pump *pump, enum tp_reason reason, const struct tp_address *remote,
                      const struct tp_address *local, uint64_t now)
{
    struct tp_event event = {
        .at_ns = now, .kind = TP_EVENT_BAN, .reason = reason, .remote = *remote, .local = *local};
    tell_seldom(pump, &pump->ban_told_at, &event);
}

struct tp_pump *tp_pump_new(const struct tp_config *config)
{
    struct tp_pump *pump = calloc(1, sizeof *pump);
    if (!pump)
        return NULL;
    pump->config = *config;
    pump->config.name_space = strdup(config->name_space);
    pump->config.congestion = config->congestion ? strdup(config->congestion) : NULL;
    pump->config.web_path = config->web_path ? strdup(config->web_path) : NULL;
    pump->workers = calloc(config->workers, sizeof *pump->workers);
    bool events = tp_events_open(&pump->events, EVENTS_KEPT, config->event_fd) == 0;
    bool sources = tp_sources_open(&pump->sources, config) == 0;
    tp_watch_open(&pump->watch, &pump->events);
    tp_tickets_open(&pump->tickets);
    if (pump->config.name_space && (pump->config.congestion || !config->congestion) &&
        (pump->config.web_path || !config->web_path) && pump->workers && events && sources)
        return pump;
    tp_pump_free(pump);
    return NULL;
}

/* Options that cannot be set are better found here than by the first client. */
static int try_stream_options(const struct tp_config *config, struct tp_error *error)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return tp_fail(error, errno, "cannot make a TCP socket");
    int result = tp_stream_options(fd, config, error);
    close(fd);
    return result;
}

int tp_pump_prepare(struct tp_pump *pump, struct tp_error *error)
{
    const struct tp_config *config = &pump->config;
    if (try_stream_options(config, error) == -1)
        return -1;
    for (; pump->opened < config->workers; pump->opened++) {
        if (tp_worker_open(&pump->workers[pump->opened], pump, pump->opened, error) == -1) {
            pump->opened++; /* half open counts: it is to be closed */
            return -1;
        }
    }
    return 0;
}

int tp_pump_run(struct tp_pump *pump, struct tp_error *error)
{
    unsigned workers = pump->config.workers;
    int result = 0;
    for (unsigned w = 0; result == 0 && w < workers; w++)
        result = tp_worker_watch_link(&pump->workers[w], error);
    for (; result == 0 && pump->running < workers; pump->running += result == 0)
        result = tp_worker_start(&pump->workers[pump->running], error);
    return result;
}

int tp_pump_start(struct tp_pump *pump, struct tp_error *error)
{
    const struct tp_config *config = &pump->config;
    bool client = config->role == TP_CLIENT;
    const bool wanted[TP_LINK_FAMILIES] = {
        [TP_LINK_V4] = client || config->pool4.family == 4,
        [TP_LINK_V6] = client || config->pool6.family == 6,
    };
    if (tp_pump_prepare(pump, error) == -1)
        return -1;
    struct tp_link **links = calloc(config->workers, sizeof(struct tp_link *));
    if (!links)
        return tp_fail(error, ENOMEM, "cannot get memory for %u workers", config->workers);
    for (unsigned w = 0; w < config->workers; w++)
        links[w] = &pump->workers[w].link;
    int result = tp_links_open(links, config->workers, config->name_space, wanted, client, error);
    free(links);
    return result == 0 ? tp_pump_run(pump, error) : result;
}

int tp_pump_listen(struct tp_pump *pump, const struct tp_address *address, uint32_t tls,
                   const struct tp_address *balancers, size_t balancer_count, struct tp_error *error)
{
    int *fds = calloc(pump->config.workers, sizeof *fds);
    if (!fds)
        return tp_fail(error, ENOMEM, "cannot get memory for %u listeners", pump->config.workers);
    int port = tp_listen(&pump->config, address, fds, error);
    for (unsigned w = 0; port != -1 && w < pump->config.workers; w++) {
        struct tp_command command = {.kind = TP_COMMAND_LISTEN,
                                     .fd = fds[w],
                                     .local = *address,
                                     .may_tls = tls != 0,
                                     .balancers = balancers,
                                     .balancer_count = balancer_count};
        command.local.port = (uint16_t)port;
        tp_worker_ask(&pump->workers[w], &command);
        if (!command.ok) {
            /* Those that were taken serve already; what is left must not swallow connections. */
            for (; w < pump->config.workers; w++)
                close(fds[w]);
            port = tp_fail(error, ENOMEM, "cannot get memory for a listener");
        }
    }
    free(fds);
    return port;
}

int tp_pump_serve_tls(struct tp_pump *pump, const struct tp_tls_server *server, struct tp_error *error)
{
    unsigned made = 0, workers = pump->config.workers;
    struct tp_tls_contexts **contexts = calloc(workers, sizeof(struct tp_tls_contexts *));
    if (!contexts)
        return tp_fail(error, ENOMEM, "TLS: cannot get memory for %u workers", workers);
    for (; server && made < workers; made++) {
        contexts[made] = tp_tls_contexts_new(server, &pump->tickets, error);
        if (!contexts[made])
            break;
    }
    bool all = !server || made == workers;
    for (unsigned w = 0; w < workers; w++) {
        struct tp_command command = {.kind = TP_COMMAND_TLS, .tls = contexts[w]};
        if (all)
            tp_worker_ask(&pump->workers[w], &command);
        else
            tp_tls_contexts_leave(contexts[w]);
    }
    free(contexts);
    return all ? 0 : -1;
}

int tp_pump_relisten(struct tp_pump *pump, const struct tp_address *address, uint32_t tls,
                     const struct tp_address *balancers, size_t balancer_count)
{
    int done = 1;
    for (unsigned w = 0; w < pump->config.workers; w++) {
        struct tp_command command = {.kind = TP_COMMAND_RELISTEN,
                                     .local = *address,
                                     .may_tls = tls != 0,
                                     .balancers = balancers,
                                     .balancer_count = balancer_count};
        tp_worker_ask(&pump->workers[w], &command);
        done &= command.ok;
    }
    return done;
}

int tp_pump_unlisten(struct tp_pump *pump, const struct tp_address *address)
{
    int found = 0;
    for (unsigned w = 0; w < pump->config.workers; w++) {
        struct tp_command command = {.kind = TP_COMMAND_UNLISTEN, .local = *address};
        tp_worker_ask(&pump->workers[w], &command);
        found |= command.ok;
    }
    return found;
}

unsigned tp_pump_listeners(struct tp_pump *pump, struct tp_address *addresses, unsigned room)
{
    unsigned count = 0;
    /* All workers have the same, and these change only while somebody asks a worker for it. */
    for (const struct tp_listener *l = pump->workers[0].listeners; l; l = l->next, count++) {
        if (count < room)
            addresses[count] = l->local;
    }
    return count;
}

void tp_pump_freeze(struct tp_pump *pump)
{
    for (unsigned w = 0; w < pump->running; w++) {
        struct tp_command command = {.kind = TP_COMMAND_FREEZE};
        tp_worker_ask(&pump->workers[w], &command);
    }
    pump->frozen = true;
}

void tp_pump_thaw(struct tp_pump *pump)
{
    pump->frozen = false;
    for (unsigned w = 0; w < pump->running; w++) {
        struct tp_command command = {.kind = TP_COMMAND_THAW};
        tp_worker_ask(&pump->workers[w], &command);
    }
}

/* The worker whose socket gets what charon sends to `flow`. */
static unsigned worker_of(struct tp_pump *pump, const struct tp_address *flow)
{
    if (flow)
        return tp_address_low(flow) % pump->config.workers;
    return atomic_fetch_add_explicit(&pump->next_worker, 1, memory_order_relaxed) % pump->config.workers;
}

static int ends_of(int fd, struct tp_address *remote, struct tp_address *local)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    if (getpeername(fd, (struct sockaddr *)&name, &length) == -1)
        return -1;
    bool known = tp_address_from(&name, remote);
    length = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &length) == -1)
        return -1;
    errno = EAFNOSUPPORT;
    return known && tp_address_from(&name, local) ? 0 : -1;
}

uint64_t tp_pump_adopt(struct tp_pump *pump, int fd, const struct tp_address *flow, uint32_t protocol,
                       struct tp_tls_client *tls, const uint8_t *leftover, size_t size,
                       struct tp_error *error)
{
    struct tp_command command = {
        .kind = TP_COMMAND_ADOPT,
        .fd = fd,
        .flow = flow,
        .protocol = protocol,
        .tls_client = tls,
        .leftover = leftover,
        .leftover_size = size,
    };
    if (size > TP_RECEIVE_BYTES) {
        tp_fail(error, EMSGSIZE, "adopt: %zu bytes were left over; at most %d can be", size,
                TP_RECEIVE_BYTES);
        return 0;
    }
    if (ends_of(fd, &command.remote, &command.local) == -1) {
        tp_fail(error, errno, "adopt: not a connected TCP socket");
        return 0;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1) {
        tp_fail(error, errno, "adopt: cannot make the socket non-blocking");
        return 0;
    }
    if (tp_stream_options(fd, &pump->config, error) == -1)
        return 0;
    tp_worker_ask(&pump->workers[worker_of(pump, flow)], &command);
    if (command.ok)
        return command.id;
    tp_fail(error, command.reason == TP_REASON_OUT_OF_MEMORY ? ENOMEM : EUSERS, "adopt: refused: %s",
            tp_reason_name(command.reason));
    return 0;
}

int tp_pump_close_connection(struct tp_pump *pump, uint64_t id, uint32_t reason)
{
    if (tp_id_worker(id) >= pump->config.workers)
        return 0;
    struct tp_command command = {.kind = TP_COMMAND_CLOSE, .id = id, .reason = (enum tp_reason)reason};
    tp_worker_ask(&pump->workers[tp_id_worker(id)], &command);
    return command.ok;
}

int tp_pump_connection(struct tp_pump *pump, uint64_t id, struct tp_connection_info *info)
{
    if (tp_id_worker(id) >= pump->config.workers)
        return 0;
    struct tp_conns *conns = &pump->workers[tp_id_worker(id)].conns;
    return tp_id_slot(id) < tp_conns_slots(conns) && tp_conn_snapshot(conns, tp_id_slot(id), info) &&
           info->id == id;
}

unsigned tp_pump_connections(struct tp_pump *pump, uint64_t *cursor, struct tp_connection_info *infos,
                             unsigned room)
{
    unsigned count = 0;
    unsigned w = tp_id_worker(*cursor);
    uint32_t slot = tp_id_slot(*cursor);
    while (count < room && w < pump->config.workers) {
        struct tp_conns *conns = &pump->workers[w].conns;
        if (slot < tp_conns_slots(conns)) {
            count += tp_conn_snapshot(conns, slot, &infos[count]);
            slot++;
        } else {
            w++;
            slot = 0;
        }
    }
    *cursor = (uint64_t)w << 24 | slot;
    return count;
}

unsigned tp_pump_poll(struct tp_pump *pump, struct tp_event *events, unsigned room)
{
    return tp_events_poll(&pump->events, events, room, tp_now());
}

void tp_pump_counters(struct tp_pump *pump, uint64_t *values)
{
    memset(values, 0, TP_C_COUNT * sizeof *values);
    for (unsigned w = 0; w < pump->opened; w++) {
        for (unsigned i = 0; i < TP_C_COUNT; i++)
            values[i] += tp_read(&pump->workers[w].counters.value[i]);
    }
    values[TP_C_bans_active] = tp_sources_banned(&pump->sources, tp_now());
    values[TP_C_events_lost] = tp_read(&pump->events.ever_lost);
}

int tp_pump_set_access(struct tp_pump *pump, const struct tp_rule *rules, size_t count,
                       struct tp_error *error)
{
    struct tp_prefixes *old = pump->access, *made = count > 0 ? tp_prefixes_new(rules, count) : NULL;
    if (count > 0 && !made)
        return tp_fail(error, ENOMEM, "cannot get memory for %zu prefixes", count);
    for (unsigned w = 0; w < pump->running; w++) {
        struct tp_command command = {.kind = TP_COMMAND_ACCESS, .access = made};
        tp_worker_ask(&pump->workers[w], &command);
    }
    pump->access = made;
    tp_prefixes_free(old); /* every worker has answered that it uses the new ones */
    return 0;
}

void tp_pump_tune(struct tp_pump *pump, const struct tp_tuning *tuning)
{
    tp_sources_tune(&pump->sources, tuning);
}

void tp_pump_ban(struct tp_pump *pump, const struct tp_address *prefix, uint64_t ns)
{
    tp_sources_ban(&pump->sources, prefix, tp_now(), ns);
}

int tp_pump_unban(struct tp_pump *pump, const struct tp_address *prefix)
{
    return tp_sources_unban(&pump->sources, prefix);
}

unsigned tp_pump_bans(struct tp_pump *pump, uint32_t *cursor, struct tp_ban *bans, unsigned room)
{
    return tp_sources_bans(&pump->sources, tp_now(), cursor, bans, room);
}

void tp_pump_stop(struct tp_pump *pump)
{
    for (; pump->running > 0; pump->running--)
        tp_worker_join(&pump->workers[pump->running - 1]);
}

void tp_pump_free(struct tp_pump *pump)
{
    tp_pump_stop(pump);
    for (; pump->opened > 0; pump->opened--)
        tp_worker_close(&pump->workers[pump->opened - 1]);
    free(pump->workers);
    tp_watch_close(&pump->watch);
    tp_tickets_close(&pump->tickets);
    tp_sources_close(&pump->sources);
    tp_prefixes_free(pump->access);
    tp_events_close(&pump->events);
    free((char *)(uintptr_t)pump->config.name_space);
    free((char *)(uintptr_t)pump->config.congestion);
    free((char *)(uintptr_t)pump->config.web_path);
    free(pump);
}
