// SPDX-License-Identifier: Apache-2.0
// The whole test framework: CHECK says which line did not hold, RUN names what held.
#ifndef TP_HARNESS_H
#define TP_HARNESS_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s: does not hold\n", __FILE__, __LINE__, #condition);                   \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

/* Test functions are called what they show. */
#define RUN(test)                                                                                            \
    do {                                                                                                     \
        test();                                                                                              \
        printf("ok  %s\n", #test);                                                                           \
    } while (0)

#endif
