// SPDX-License-Identifier: Apache-2.0
// What an epoll event points to: the first member of everything a worker waits for.
#ifndef TP_HANDLE_H
#define TP_HANDLE_H

enum tp_handle_kind { TP_HANDLE_WAKE, TP_HANDLE_CONN, TP_HANDLE_LISTENER, TP_HANDLE_LINK, TP_HANDLE_RELAY };

struct tp_handle {
    enum tp_handle_kind kind;
};

#endif
