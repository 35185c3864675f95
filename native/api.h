// SPDX-License-Identifier: Apache-2.0
// What Python calls: the whole outside of the data plane, with reason.h beside it.
//
// Read by the C compiler and, without its preprocessor lines, by cffi: declarations only. Every call may come
// from any thread; none waits for the network, some wait for a worker to come round (well under 10 ms).
// Enums that Python shares (tpkt/pump/events.py) go by order: append at the end.
#ifndef TP_API_H
#define TP_API_H

#include <stddef.h>
#include <stdint.h>

#include "reason.h"

enum tp_role { TP_GATEWAY, TP_CLIENT };

enum tp_state { TP_NEW, TP_OPEN, TP_LINGERING, TP_RELAYING };

enum tp_event_kind {
    TP_EVENT_ACCEPTED,
    TP_EVENT_IDENTIFIED,
    TP_EVENT_FIRST_IKE,
    TP_EVENT_CLOSED,
    TP_EVENT_LIMIT,
    TP_EVENT_LINK_DOWN,
    TP_EVENT_LINK_UP,
    TP_EVENT_LOST,
    TP_EVENT_BAN
};

/* What a prefix is listed for: open is what no rule speaks of. */
enum tp_access { TP_ACCESS_OPEN, TP_ACCESS_ALLOW, TP_ACCESS_DENY };

/* An IPv4 (in the first four bytes) or IPv6 address and a port in host byte order; family 0 is none. */
struct tp_address {
    uint8_t bytes[16];
    uint16_t port;
    uint8_t family; /* 4, 6 or 0 */
    uint8_t prefix; /* of a pool, a rule or a ban: its length in bits; otherwise 0 */
};

/* How much one source may do; can change while the pump runs. */
struct tp_tuning {
    uint32_t max_half_per_source;
    uint32_t max_accepts_per_second;
    uint32_t max_begun_per_source;
    uint32_t ban_closes; /* hostile ends within ban_within_ns until a source is banned; 0: never */
    uint32_t ban_limits; /* 1: refusals by a source's own limits count as well */
    uint64_t ban_within_ns;
    uint64_t ban_ns;
};

struct tp_rule {
    struct tp_address prefix;
    uint32_t access; /* enum tp_access */
};

struct tp_ban {
    struct tp_address prefix;
    uint64_t since_ns;
    uint64_t until_ns;
    uint64_t refused;
    uint32_t reason; /* the last of what it was banned for */
    uint32_t by_hand;
};

struct tp_config {
    uint32_t role;
    uint32_t workers;
    const char *name_space;
    const char *congestion; /* NULL: the system's choice */
    int event_fd;           /* an eventfd of the caller, written to when there are events to poll */
    uint32_t reserved;
    uint32_t notsent_lowat;
    struct tp_address pool4;
    struct tp_address pool6;
    uint32_t max_connections;
    uint32_t max_half;
    uint32_t max_begun; /* identified and not answered by charon yet; 0: any number */
    uint32_t max_bans;
    struct tp_tuning tuning;
    uint64_t first_bytes_ns;
    uint64_t handshake_ns;
    uint64_t frame_ns;
    uint64_t ike_ns;
    uint64_t queue_bytes;
    uint64_t worker_queue_bytes;
    struct tp_address web; /* the web backend that gets HTTP; family 0: none, unless there is a path */
    const char *web_path;  /* of a Unix socket, or NULL */
    uint32_t web_proxy_protocol;
    uint32_t web_connections;
    uint64_t web_connect_ns;
    uint64_t web_idle_ns;
};

enum tp_tls_flag {
    TP_TLS_TRIKESEC = 1, /* ALPN trikesec/1 */
    TP_TLS_RESUMED = 2,
    TP_TLS_KERNEL_SEND = 4,
    TP_TLS_KERNEL_RECEIVE = 8
};

/* A certificate of ours: DER, one after the other, the gateway's own first; the key as PEM or DER. */
struct tp_tls_certificate {
    const uint8_t *chain;
    size_t chain_size;
    const uint8_t *key;
    size_t key_size;
};

struct tp_tls_server {
    const struct tp_tls_certificate *certificates; /* the first for clients that name none of these */
    uint32_t count;
    uint32_t minimum; /* 0x0303 or 0x0304 */
    uint32_t tickets; /* 0: every handshake is a full one */
    uint32_t ktls;    /* 0: the kernel is not asked */
};

enum { TP_TLS_PIN = 32 };

/* Whom a client believes; tls_client.h. */
struct tp_tls_client_config {
    const char *server_name; /* or its address */
    const uint8_t *authorities; /* DER, one after the other */
    size_t authorities_size;
    const uint8_t *pins; /* TP_TLS_PIN bytes each */
    size_t pin_count;
    uint32_t system_authorities; /* those of this machine instead */
    uint32_t minimum;            /* 0x0303 or 0x0304 */
    uint32_t ktls;
};

struct tp_tls_client;

/* What went wrong and where; the caller knows the cure. */
struct tp_error {
    int number; /* an errno */
    char text[200];
};

struct tp_event {
    uint64_t at_ns;
    uint64_t connection;
    uint32_t kind;
    uint32_t reason;
    uint32_t protocol;
    struct tp_address remote;
    struct tp_address local;
    struct tp_address flow;
    uint8_t spi_i[8];
};

struct tp_connection_info {
    uint64_t id;
    uint32_t worker;
    uint32_t state;
    uint32_t protocol;
    struct tp_address remote;
    struct tp_address local;
    struct tp_address flow;
    uint32_t tls_version; /* 0x0303, 0x0304; 0: no TLS, or not yet */
    uint32_t tls_cipher;  /* IANA's number */
    uint32_t tls_flags;   /* tp_tls_flag */
    uint64_t since_ns;
    uint64_t last_active_ns;
    uint64_t stream_to_link_bytes;
    uint64_t stream_to_link_frames;
    uint64_t stream_to_link_esp_frames;
    uint64_t link_to_stream_bytes;
    uint64_t link_to_stream_frames;
    uint64_t link_to_stream_esp_frames;
    uint64_t queued_bytes;
    uint64_t dropped;
    uint64_t dropped_late;
    uint64_t dropped_full;
    uint64_t queued_expedited;
    uint64_t queued_bulk;
    uint64_t unsent_limit;
};

struct tp_pump;

/* A pump as its successor wants it. The bytes are for the same machine; the descriptors are the old pump's. */
struct tp_moving {
    uint8_t *bytes;
    uint64_t size;
    int *descriptors;
    uint32_t descriptor_count;
};

/* NULL with `error` filled. Everything is copied. */
struct tp_tls_client *tp_tls_client_new(const struct tp_tls_client_config *config, struct tp_error *error);

/* Its connections may outlive it. NULL is nobody's. */
void tp_tls_client_free(struct tp_tls_client *client);

/* NULL when memory is short. The configuration is copied. */
struct tp_pump *tp_pump_new(const struct tp_config *config);

/* 0 or -1. Opens the link's sockets and starts the workers; after -1 only tp_pump_free is left. */
int tp_pump_start(struct tp_pump *pump, struct tp_error *error);

/* The port bound (`address` may ask for 0), or -1. `tls`: what comes may begin TLS, where that is served.
 * `balancers` are networks of load balancers, each with its `prefix`: who comes from one of them must begin
 * with a PROXY header, which nobody else may. */
int tp_pump_listen(struct tp_pump *pump, const struct tp_address *address, uint32_t tls,
                   const struct tp_address *balancers, size_t balancer_count, struct tp_error *error);

/* 0 or -1, and nothing has changed then. TLS is served with these from the next handshake on (NULL: not at
 * all); connections that stand keep what they have. Everything is copied. */
int tp_pump_serve_tls(struct tp_pump *pump, const struct tp_tls_server *server, struct tp_error *error);

/* 1: an address that it listens on has these from now on; 0: it does not listen there, or memory is short. */
int tp_pump_relisten(struct tp_pump *pump, const struct tp_address *address, uint32_t tls,
                     const struct tp_address *balancers, size_t balancer_count);

/* 1: nobody is accepted there any more; 0: nobody was. */
int tp_pump_unlisten(struct tp_pump *pump, const struct tp_address *address);

/* How many listening addresses there are; the first `room` of them are filled in. */
unsigned tp_pump_listeners(struct tp_pump *pump, struct tp_address *addresses, unsigned room);

/* All workers stop at the border of a turn, until thawed: nothing is read, written, accepted or expired. To be
 * frozen when it is freed means to have a successor: no connection is closed then, only its descriptor here. */
void tp_pump_freeze(struct tp_pump *pump);
void tp_pump_thaw(struct tp_pump *pump);

/* 0 or -1. Of a frozen gateway's pump, which keeps everything and may be thawed again; tp_moving_free frees. */
int tp_pump_export(struct tp_pump *pump, struct tp_moving *moving, struct tp_error *error);
void tp_moving_free(struct tp_moving *moving);

/* Instead of tp_pump_start, 0 or -1: first what takes time and needs nobody, then the state of the other pump,
 * whose descriptors belong to this one from the call on. It is frozen afterwards and thaws without failing. */
int tp_pump_prepare(struct tp_pump *pump, struct tp_error *error);
int tp_pump_import(struct tp_pump *pump, const struct tp_moving *moving, struct tp_error *error);

/* The connection's id, or 0; `fd` belongs to the pump after success and to the caller otherwise. With `tls`
 * (clients, or NULL) a handshake comes first: TP_EVENT_IDENTIFIED tells that it is done, TP_EVENT_CLOSED why it
 * is not. */
uint64_t tp_pump_adopt(struct tp_pump *pump, int fd, const struct tp_address *flow, uint32_t protocol,
                       struct tp_tls_client *tls, const uint8_t *leftover, size_t size,
                       struct tp_error *error);

/* 1: closed; 0: there is no such connection (any more). */
int tp_pump_close_connection(struct tp_pump *pump, uint64_t id, uint32_t reason);

/* 1 and fills `info`, or 0 when there is no such connection. */
int tp_pump_connection(struct tp_pump *pump, uint64_t id, struct tp_connection_info *info);

/* Up to `room` connections from `*cursor` on (first 0), which moves; 0: that was all. */
unsigned tp_pump_connections(struct tp_pump *pump, uint64_t *cursor, struct tp_connection_info *infos,
                             unsigned room);

/* How many events were fetched, at most `room`. */
unsigned tp_pump_poll(struct tp_pump *pump, struct tp_event *events, unsigned room);

/* Whether this OpenSSL can let the kernel do the cryptography (kTLS). */
int tp_ktls_built(void);

unsigned tp_counter_count(void);
void tp_counter_name(unsigned index, char *name, size_t size);

/* Fills tp_counter_count() values, summed over the workers. */
void tp_pump_counters(struct tp_pump *pump, uint64_t *values);

/* 0 or -1. From here on these rules hold, instead of those before, for who connects. */
int tp_pump_set_access(struct tp_pump *pump, const struct tp_rule *rules, size_t count,
                       struct tp_error *error);

void tp_pump_tune(struct tp_pump *pump, const struct tp_tuning *tuning);

/* Keeps a prefix out for so long; open connections stay. */
void tp_pump_ban(struct tp_pump *pump, const struct tp_address *prefix, uint64_t ns);

/* 1: lifted; 0: there was no ban of exactly this prefix. */
int tp_pump_unban(struct tp_pump *pump, const struct tp_address *prefix);

/* Up to `room` bans from `*cursor` on (first 0), which moves; 0: that was all. */
unsigned tp_pump_bans(struct tp_pump *pump, uint32_t *cursor, struct tp_ban *bans, unsigned room);

/* Closes every connection (reason shutdown) and ends the threads; events can still be polled. */
void tp_pump_stop(struct tp_pump *pump);

void tp_pump_free(struct tp_pump *pump);

#endif
