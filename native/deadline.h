// SPDX-License-Identifier: Apache-2.0
// Deadlines of one kind: a list in the order of expiry, because all of a kind last equally long.
//
// Setting, clearing and asking for the next one cost the same with one connection as with a hundred thousand.
// Time comes as an argument. One owner thread.
#ifndef TP_DEADLINE_H
#define TP_DEADLINE_H

#include <stddef.h>
#include <stdint.h>

struct tp_deadline {
    struct tp_deadline *earlier, *later; /* NULL, NULL: not set */
    uint64_t at;
};

struct tp_deadlines {
    struct tp_deadline ring; /* its `later` is the first to expire */
    uint64_t after;          /* 0: this kind is switched off, setting does nothing */
};

static inline void tp_deadlines_open(struct tp_deadlines *list, uint64_t after)
{
    list->ring.earlier = list->ring.later = &list->ring;
    list->after = after;
}

static inline void tp_deadline_clear(struct tp_deadline *one)
{
    if (!one->later)
        return;
    one->earlier->later = one->later;
    one->later->earlier = one->earlier;
    one->earlier = one->later = NULL;
}

/* Starts it afresh when it runs already. */
static inline void tp_deadline_set(struct tp_deadlines *list, struct tp_deadline *one, uint64_t now)
{
    tp_deadline_clear(one);
    if (list->after == 0)
        return;
    one->at = now + list->after;
    one->later = &list->ring;
    one->earlier = list->ring.earlier;
    one->earlier->later = one;
    list->ring.earlier = one;
}

/* One that was set in another process: to be called in the order of `at`, before any other is set. A list that
 * gives less time than that one had left gives no more than its own. */
static inline void tp_deadline_restore(struct tp_deadlines *list, struct tp_deadline *one, uint64_t at,
                                       uint64_t now)
{
    tp_deadline_set(list, one, now);
    if (one->later && at < one->at)
        one->at = at;
}

/* When the first expires; UINT64_MAX when none is set. */
static inline uint64_t tp_deadlines_next(const struct tp_deadlines *list)
{
    return list->ring.later == &list->ring ? UINT64_MAX : list->ring.later->at;
}

/* The one that expires first, NULL when none is set. */
static inline struct tp_deadline *tp_deadlines_first(struct tp_deadlines *list)
{
    return list->ring.later == &list->ring ? NULL : list->ring.later;
}

/* One that has expired, cleared; NULL when there is none (any more). */
static inline struct tp_deadline *tp_deadlines_expired(struct tp_deadlines *list, uint64_t now)
{
    struct tp_deadline *first = list->ring.later;
    if (first == &list->ring || first->at > now)
        return NULL;
    tp_deadline_clear(first);
    return first;
}

#endif
