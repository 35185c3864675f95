// SPDX-License-Identifier: Apache-2.0
// Two things everybody needs: an error filled in, and a thread that leaves signals to Python.
#ifndef TP_UTIL_H
#define TP_UTIL_H

#include <pthread.h>

#include "api.h"

/* Always -1, so that a failing branch is one line. */
int tp_fail(struct tp_error *error, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* 0 or an errno. All signals are blocked in the thread; `name` has at most 15 characters. */
int tp_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument);

#endif
