// SPDX-License-Identifier: Apache-2.0
// The names of counters, families included: closed_fin, identified_tpkt, unknown_first_byte_03.
#include "counters.h"

#include <stdio.h>

#include "api.h"

static const char *const names[] = {
#define TP_COUNTER_NAME(name) #name,
    TP_COUNTERS(TP_COUNTER_NAME)
#undef TP_COUNTER_NAME
};

unsigned tp_counter_count(void)
{
    return TP_C_COUNT;
}

void tp_counter_name(unsigned index, char *name, size_t size)
{
    if (index < TP_C_closed)
        snprintf(name, size, "%s", names[index]);
    else if (index < TP_C_identified)
        snprintf(name, size, "closed_%s", tp_reason_name(index - TP_C_closed));
    else if (index < TP_C_unknown_first_byte)
        snprintf(name, size, "identified_%s", tp_protocol_name(index - TP_C_identified));
    else
        snprintf(name, size, "unknown_first_byte_%02x", index - TP_C_unknown_first_byte);
}
