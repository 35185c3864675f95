// SPDX-License-Identifier: Apache-2.0
// Which protocol a connection speaks, told from its first bytes; twin of tpkt/sniff.py.
//
// tp_recognise answers > 0: a tp_protocol; 0: need more bytes; < 0: -TP_REASON_UNKNOWN_PROTOCOL. Asked again
// with everything read so far it decides after at most TP_SNIFF_ENOUGH bytes. It must not know what is then
// done with the connection.
#ifndef TP_SNIFF_H
#define TP_SNIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reason.h"

enum { TP_SNIFF_ENOUGH = 6 };

int tp_recognise(const uint8_t *first, size_t size, bool inside_tls);

#endif
