// SPDX-License-Identifier: Apache-2.0
#include "ticket.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "clock.h"

void tp_tickets_open(struct tp_tickets *tickets)
{
    pthread_mutex_init(&tickets->lock, NULL);
    memset(tickets->keys, 0, sizeof tickets->keys);
}

void tp_tickets_close(struct tp_tickets *tickets)
{
    OPENSSL_cleanse(tickets->keys, sizeof tickets->keys);
    pthread_mutex_destroy(&tickets->lock);
}

static bool too_old(const struct tp_ticket_key *key, uint64_t now)
{
    return now - key->since >= TP_TICKET_KEYS * TP_TICKET_SECONDS * TP_SECOND;
}

/* Under the lock. */
static bool renew(struct tp_tickets *tickets, uint64_t now)
{
    struct tp_ticket_key fresh = {.since = now ? now : 1};
    if (RAND_bytes(fresh.name, sizeof fresh.name) != 1 ||
        RAND_priv_bytes(fresh.cipher, sizeof fresh.cipher) != 1 ||
        RAND_priv_bytes(fresh.mac, sizeof fresh.mac) != 1)
        return false;
    memmove(tickets->keys + 1, tickets->keys, (TP_TICKET_KEYS - 1) * sizeof fresh);
    tickets->keys[0] = fresh;
    OPENSSL_cleanse(&fresh, sizeof fresh);
    return true;
}

bool tp_tickets_newest(struct tp_tickets *tickets, uint64_t now, struct tp_ticket_key *key)
{
    pthread_mutex_lock(&tickets->lock);
    const struct tp_ticket_key *newest = &tickets->keys[0];
    bool good = newest->since != 0 && now - newest->since < TP_TICKET_SECONDS * TP_SECOND;
    if (!good)
        good = renew(tickets, now);
    *key = *newest;
    pthread_mutex_unlock(&tickets->lock);
    return good;
}

int tp_tickets_find(struct tp_tickets *tickets, uint64_t now, const uint8_t name[TP_TICKET_NAME],
                    struct tp_ticket_key *key)
{
    int age = -1;
    pthread_mutex_lock(&tickets->lock);
    for (int i = 0; i < TP_TICKET_KEYS && age == -1; i++) {
        const struct tp_ticket_key *one = &tickets->keys[i];
        if (one->since != 0 && !too_old(one, now) && memcmp(one->name, name, TP_TICKET_NAME) == 0) {
            *key = *one;
            age = i;
        }
    }
    pthread_mutex_unlock(&tickets->lock);
    return age;
}

static bool prepare(const struct tp_ticket_key *key, const uint8_t *iv, EVP_CIPHER_CTX *cipher,
                    EVP_MAC_CTX *mac, bool seal)
{
    char sha256[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, seal) == 1 &&
           EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

/* OpenSSL's answers: 1 use it, 2 use it and give a new one, 0 there is no such key, -1 failed. */
static int key_of_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int seal)
{
    struct tp_tickets *tickets = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct tp_ticket_key key;
    int age = 0, result = -1;
    if (seal) {
        if (!tp_tickets_newest(tickets, tp_now(), &key) || RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1)
            return -1;
        memcpy(name, key.name, sizeof key.name);
    } else {
        age = tp_tickets_find(tickets, tp_now(), name, &key);
        if (age == -1)
            return 0;
    }
    if (prepare(&key, iv, cipher, mac, seal))
        result = age == 0 ? 1 : 2;
    OPENSSL_cleanse(&key, sizeof key);
    return result;
}

void tp_tickets_use(struct tp_tickets *tickets, SSL_CTX *context)
{
    SSL_CTX_set_app_data(context, tickets);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(context, key_of_ticket);
}
