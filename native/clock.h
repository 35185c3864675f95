// SPDX-License-Identifier: Apache-2.0
// Time: nanoseconds of CLOCK_MONOTONIC, which never jumps. Workers read it once a turn.
#ifndef TP_CLOCK_H
#define TP_CLOCK_H

#include <stdint.h>
#include <time.h>

#define TP_SECOND      UINT64_C(1000000000)
#define TP_MILLISECOND UINT64_C(1000000)

static inline uint64_t tp_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * TP_SECOND + (uint64_t)t.tv_nsec;
}

#endif
