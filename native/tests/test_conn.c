// SPDX-License-Identifier: Apache-2.0
// The slab: ids that never come back, and snapshots that are whole while the owner works on.
#include <pthread.h>
#include <string.h>

#include "conn.h"
#include "harness.h"

enum { TURNS = 30000, SLOTS = 3 };

static struct tp_conns conns;

/* A card all of whose parts say the same number. */
static void fill(struct tp_conn *conn, uint8_t mark)
{
    conn->fd = 0;
    conn->card.since_ns = mark;
    conn->card.state = conn->card.protocol = mark;
    memset(&conn->card.remote, mark, sizeof conn->card.remote);
    memset(&conn->card.flow, mark, sizeof conn->card.flow);
    tp_conn_publish(conn);
}

static void an_old_id_finds_nothing(void)
{
    struct tp_connection_info info;
    CHECK(tp_conns_open(&conns, 5, 100) == 0);
    struct tp_conn *conn = tp_conn_take(&conns);
    uint64_t id = conn->card.id;
    CHECK(tp_id_worker(id) == 5 && tp_id_slot(id) == 0 && id >> 32 == 1);
    CHECK(!tp_conn_by_id(&conns, id)); /* no descriptor yet */
    CHECK(!tp_conn_snapshot(&conns, 0, &info));
    fill(conn, 1);
    CHECK(tp_conn_by_id(&conns, id) == conn && tp_conn_snapshot(&conns, 0, &info) && info.id == id);
    conn->fd = -1;
    tp_conn_retire(conn);
    CHECK(!tp_conn_by_id(&conns, id) && !tp_conn_snapshot(&conns, 0, &info));
    tp_conn_recycle(&conns, conn);
    CHECK(tp_conn_take(&conns) == conn);
    fill(conn, 2);
    CHECK(conn->card.id != id && !tp_conn_by_id(&conns, id) && tp_conn_by_id(&conns, conn->card.id) == conn);
    CHECK(!tp_conn_by_id(&conns, conn->card.id + 1));
    tp_conns_close(&conns);
}

static void the_slab_ends_at_its_limit_and_slots_come_back(void)
{
    struct tp_conn *taken[100];
    CHECK(tp_conns_open(&conns, 0, 100) == 0);
    for (unsigned i = 0; i < 100; i++)
        CHECK((taken[i] = tp_conn_take(&conns)));
    CHECK(!tp_conn_take(&conns) && tp_conns_slots(&conns) == 100);
    tp_conn_recycle(&conns, taken[42]);
    CHECK(tp_conn_take(&conns) == taken[42] && !tp_conn_take(&conns));
    tp_conns_close(&conns);
}

static void a_recycled_slot_remembers_nothing(void)
{
    struct tp_connection_info info;
    CHECK(tp_conns_open(&conns, 0, 1) == 0);
    struct tp_conn *conn = tp_conn_take(&conns);
    fill(conn, 9);
    conn->bad_ike = 9;
    conn->seen_ike = true;
    tp_bump(&conn->stat[TP_STAT_DROPPED], 9);
    tp_conn_retire(conn);
    tp_conn_recycle(&conns, conn);
    conn = tp_conn_take(&conns);
    tp_conn_publish(conn);
    CHECK(tp_conn_snapshot(&conns, 0, &info));
    CHECK(info.dropped == 0 && info.protocol == 0 && info.flow.family == 0 && !conn->seen_ike &&
          !conn->bad_ike);
    tp_conns_close(&conns);
}

static _Atomic bool stop;

static void *work(void *argument)
{
    struct tp_conn *conn[SLOTS] = {NULL};
    (void)argument;
    for (unsigned turn = 0; turn < TURNS; turn++) {
        struct tp_conn **c = &conn[turn % SLOTS];
        if (*c) {
            tp_bump(&(*c)->stat[TP_STAT_DROPPED], 1);
            fill(*c, (uint8_t)(turn + 1));
            tp_conn_retire(*c);
            tp_conn_recycle(&conns, *c);
        }
        *c = tp_conn_take(&conns);
        CHECK(*c);
        fill(*c, (uint8_t)turn);
    }
    atomic_store(&stop, true);
    return NULL;
}

static void snapshots_are_whole_while_the_owner_works_on(void)
{
    pthread_t owner;
    CHECK(tp_conns_open(&conns, 0, SLOTS) == 0);
    CHECK(pthread_create(&owner, NULL, work, NULL) == 0);
    while (!atomic_load(&stop)) {
        for (uint32_t slot = 0; slot < tp_conns_slots(&conns); slot++) {
            struct tp_connection_info info;
            if (!tp_conn_snapshot(&conns, slot, &info))
                continue;
            uint8_t mark = (uint8_t)info.since_ns;
            CHECK(tp_id_slot(info.id) == slot && info.state == mark && info.protocol == mark);
            CHECK(info.remote.bytes[0] == mark && info.remote.bytes[15] == mark && info.flow.family == mark);
        }
    }
    pthread_join(owner, NULL);
    tp_conns_close(&conns);
}

static void an_idle_connection_is_small(void)
{
    CHECK(sizeof(struct tp_conn) <= 1024); /* half of what a connection may cost in all */
}

int main(void)
{
    RUN(an_old_id_finds_nothing);
    RUN(the_slab_ends_at_its_limit_and_slots_come_back);
    RUN(a_recycled_slot_remembers_nothing);
    RUN(snapshots_are_whole_while_the_owner_works_on);
    RUN(an_idle_connection_is_small);
    return 0;
}
