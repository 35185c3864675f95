// SPDX-License-Identifier: Apache-2.0
// Deadline lists: order, restart, removal, and a kind that is switched off.
#include "deadline.h"
#include "harness.h"

static struct tp_deadlines list;
static struct tp_deadline a, b, c;

static void fresh(uint64_t after)
{
    tp_deadlines_open(&list, after);
    a = b = c = (struct tp_deadline){0};
}

static void they_expire_in_the_order_they_were_set(void)
{
    fresh(10);
    tp_deadline_set(&list, &a, 1);
    tp_deadline_set(&list, &b, 2);
    tp_deadline_set(&list, &c, 2);
    CHECK(tp_deadlines_next(&list) == 11);
    CHECK(!tp_deadlines_expired(&list, 10));
    CHECK(tp_deadlines_expired(&list, 11) == &a);
    CHECK(!tp_deadlines_expired(&list, 11));
    CHECK(tp_deadlines_expired(&list, 100) == &b);
    CHECK(tp_deadlines_expired(&list, 100) == &c);
    CHECK(!tp_deadlines_expired(&list, 100) && tp_deadlines_next(&list) == UINT64_MAX);
}

static void setting_again_starts_afresh(void)
{
    fresh(10);
    tp_deadline_set(&list, &a, 1);
    tp_deadline_set(&list, &b, 2);
    tp_deadline_set(&list, &a, 3);
    CHECK(tp_deadlines_expired(&list, 12) == &b);
    CHECK(!tp_deadlines_expired(&list, 12));
    CHECK(tp_deadlines_expired(&list, 13) == &a);
}

static void a_cleared_one_does_not_expire_and_clearing_twice_is_fine(void)
{
    fresh(10);
    tp_deadline_set(&list, &a, 1);
    tp_deadline_set(&list, &b, 1);
    tp_deadline_set(&list, &c, 1);
    tp_deadline_clear(&b);
    tp_deadline_clear(&b);
    tp_deadline_clear(&a);
    CHECK(tp_deadlines_expired(&list, 11) == &c);
    CHECK(!tp_deadlines_expired(&list, 11));
}

static void one_moves_between_kinds(void)
{
    struct tp_deadlines other;
    fresh(10);
    tp_deadlines_open(&other, 5);
    tp_deadline_set(&list, &a, 0);
    tp_deadline_set(&other, &a, 0);
    CHECK(tp_deadlines_next(&list) == UINT64_MAX && tp_deadlines_expired(&other, 5) == &a);
}

static void a_kind_that_is_off_clears_and_sets_nothing(void)
{
    struct tp_deadlines off;
    fresh(10);
    tp_deadlines_open(&off, 0);
    tp_deadline_set(&list, &a, 0);
    tp_deadline_set(&off, &a, 0);
    CHECK(tp_deadlines_next(&list) == UINT64_MAX && tp_deadlines_next(&off) == UINT64_MAX);
}

int main(void)
{
    RUN(they_expire_in_the_order_they_were_set);
    RUN(setting_again_starts_afresh);
    RUN(a_cleared_one_does_not_expire_and_clearing_twice_is_fine);
    RUN(one_moves_between_kinds);
    RUN(a_kind_that_is_off_clears_and_sets_nothing);
    return 0;
}
