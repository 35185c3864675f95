// SPDX-License-Identifier: Apache-2.0
// The keys of session tickets: made here, shared by all workers, changed every hour, never written anywhere.
//
// A ticket made by one worker is read by any other. Of the keys before the current one two are kept, so a
// ticket lives two hours at least and three at most; what is older finds nobody and costs the client a full
// handshake. The lock is taken once a handshake, never for a packet.
#ifndef TP_TICKET_H
#define TP_TICKET_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    TP_TICKET_KEYS = 3,
    TP_TICKET_SECONDS = 3600, /* a key seals for so long */
    TP_TICKET_NAME = 16,
};

struct tp_ticket_key {
    uint64_t since; /* 0: there is none */
    uint8_t name[TP_TICKET_NAME];
    uint8_t cipher[32], mac[32];
};

struct tp_tickets {
    pthread_mutex_t lock;
    struct tp_ticket_key keys[TP_TICKET_KEYS]; /* the newest first */
};

void tp_tickets_open(struct tp_tickets *tickets);
void tp_tickets_close(struct tp_tickets *tickets);

/* The key to seal with at `now`; false when the system has no randomness to make one. */
bool tp_tickets_newest(struct tp_tickets *tickets, uint64_t now, struct tp_ticket_key *key);

/* The key of this name: its age in keys (0: the newest), or -1 when it is not kept any more. */
int tp_tickets_find(struct tp_tickets *tickets, uint64_t now, const uint8_t name[TP_TICKET_NAME],
                    struct tp_ticket_key *key);

/* Has `context` seal and open its tickets with these; they take its application data. */
void tp_tickets_use(struct tp_tickets *tickets, SSL_CTX *context);

#endif
