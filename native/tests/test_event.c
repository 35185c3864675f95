// SPDX-License-Identifier: Apache-2.0
// The event ring: order, wake-ups, overflow, and several writers beside a reader.
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "event.h"
#include "harness.h"

enum { SIZE = 8, WRITERS = 3, EACH = 20000 };

static struct tp_events events;
static struct tp_event out[64];
static int fd;

static void fresh(uint32_t size)
{
    fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(fd != -1 && tp_events_open(&events, size, fd) == 0);
}

static void done(void)
{
    tp_events_close(&events);
    close(fd);
}

static void put(uint64_t connection)
{
    tp_events_put(&events, &(struct tp_event){.kind = TP_EVENT_ACCEPTED, .connection = connection});
}

static void events_come_in_order_and_wake_the_reader_once(void)
{
    eventfd_t times;
    fresh(SIZE);
    CHECK(eventfd_read(fd, &times) == -1);
    for (unsigned i = 1; i <= 5; i++)
        put(i);
    CHECK(eventfd_read(fd, &times) == 0 && times == 1);
    CHECK(tp_events_poll(&events, out, 3, 0) == 3 && out[0].connection == 1 && out[2].connection == 3);
    CHECK(tp_events_poll(&events, out, 3, 0) == 2 && out[1].connection == 5);
    CHECK(tp_events_poll(&events, out, 3, 0) == 0);
    put(6);
    CHECK(eventfd_read(fd, &times) == 0);
    done();
}

static void an_overflow_is_told_once_behind_what_was_kept(void)
{
    fresh(SIZE);
    for (unsigned i = 1; i <= SIZE + 5; i++)
        put(i);
    CHECK(tp_events_poll(&events, out, 2, 7) == 2 && out[0].connection == 1);
    put(99); /* there is room again, but not behind a gap that was not told */
    CHECK(tp_events_poll(&events, out, 64, 7) == SIZE - 2 + 1);
    CHECK(out[SIZE - 3].connection == SIZE);
    CHECK(out[SIZE - 2].kind == TP_EVENT_LOST && out[SIZE - 2].at_ns == 7);
    CHECK(atomic_load(&events.ever_lost) == 6);
    put(100);
    CHECK(tp_events_poll(&events, out, 64, 7) == 1 && out[0].connection == 100);
    done();
}

static void *write_many(void *argument)
{
    uint64_t first = (uint64_t)(uintptr_t)argument * EACH;
    for (uint64_t i = 0; i < EACH; i++)
        put(first + i);
    return NULL;
}

static void several_writers_each_keep_their_order(void)
{
    pthread_t threads[WRITERS];
    uint64_t next[WRITERS] = {0}, got = 0;
    fresh(1024);
    for (uintptr_t i = 0; i < WRITERS; i++)
        CHECK(pthread_create(&threads[i], NULL, write_many, (void *)i) == 0);
    while (got + atomic_load(&events.ever_lost) < WRITERS * EACH) {
        unsigned count = tp_events_poll(&events, out, 64, 0);
        for (unsigned i = 0; i < count; i++) {
            if (out[i].kind == TP_EVENT_LOST)
                continue;
            uint64_t writer = out[i].connection / EACH, number = out[i].connection % EACH;
            CHECK(number >= next[writer]);
            next[writer] = number + 1;
            got++;
        }
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    done();
}

int main(void)
{
    RUN(events_come_in_order_and_wake_the_reader_once);
    RUN(an_overflow_is_told_once_behind_what_was_kept);
    RUN(several_writers_each_keep_their_order);
    return 0;
}
