// SPDX-License-Identifier: Apache-2.0
// What an HTTP client is told when nobody serves it, and the time it gets to read that.
#include <string.h>

#include "channel.h"
#include "relay.h"
#include "worker.h"

/* The request is not read to its end, so each answer is the connection's last. */
#define ANSWER(status, length, text)                                                                         \
    "HTTP/1.1 " status "\r\nContent-Type: text/plain\r\nContent-Length: " length                             \
    "\r\nConnection: close\r\n\r\n" text

static const char *const answers[] = {
    [TP_HTTP_NOT_FOUND] = ANSWER("404 Not Found", "28", "There is no web server here\n"),
    [TP_HTTP_BAD_GATEWAY] = ANSWER("502 Bad Gateway", "37", "The web server could not be reached.\n"),
    [TP_HTTP_UNAVAILABLE] = ANSWER("503 Service Unavailable", "38", "Too many web clients; try again soon.\n"),
    [TP_HTTP_GATEWAY_TIMEOUT] = ANSWER("504 Gateway Timeout", "35", "The web server did not respond yet\n"),
};

void tp_stream_linger(struct tp_worker *w, struct tp_conn *conn, enum tp_reason reason)
{
    if (conn->relay)
        tp_relay_drop(w, conn);
    conn->farewell = reason;
    conn->card.state = TP_LINGERING;
    tp_conn_publish(conn);
    tp_deadline_set(&w->lingering, &conn->opening, w->now);
}

void tp_stream_answer(struct tp_worker *w, struct tp_conn *conn, enum tp_http_answer which,
                      enum tp_reason reason)
{
    struct iovec answer = {(void *)(uintptr_t)answers[which], strlen(answers[which])};
    tp_stream_linger(w, conn, reason);
    if (tp_channel_write(conn, &answer, 1, 0) <= 0 || tp_channel_finish(conn) < 0)
        tp_conn_close(w, conn, reason);
    else if (conn->tls && tp_tls_wants_write(conn->tls))
        tp_stream_want_write(w, conn, true);
}
