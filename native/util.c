// SPDX-License-Identifier: Apache-2.0
#include "util.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

int tp_fail(struct tp_error *error, int number, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error->number = number;
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return -1;
}

int tp_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited by the new thread */
    int number = pthread_create(thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number == 0)
        pthread_setname_np(*thread, name);
    return number;
}
