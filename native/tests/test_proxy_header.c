// SPDX-License-Identifier: Apache-2.0
// Every row of tests/vectors/proxy.tsv: whole, byte by byte, with bytes behind it; each feed ends where memory
// ends. And what we write ourselves is read back.
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "proxy_header.h"
#include "reason.h"

enum { MOST = 4000 };

static uint8_t *page_end; /* one past the last byte that may be read */

static void open_page_end(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *at = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED && page >= MOST);
    CHECK(mprotect(at + page, page, PROT_NONE) == 0);
    page_end = at + page;
}

static size_t quoted(const char *group, uint8_t *bytes)
{
    size_t size = 0;
    for (const char *at = group + 1; *at != '\''; at++) {
        if (*at == '|')
            bytes[size++] = '\r';
        bytes[size++] = (uint8_t)(*at == '~' ? ' ' : *at == '|' ? '\n' : *at);
    }
    return size;
}

static size_t parse_bytes(char *text, uint8_t *bytes)
{
    size_t size = 0, times;
    unsigned byte;
    char *save = NULL;
    if (strcmp(text, "-") == 0)
        return 0;
    for (char *group = strtok_r(text, " ", &save); group; group = strtok_r(NULL, " ", &save)) {
        if (group[0] == '\'') {
            size += quoted(group, bytes + size);
        } else if (sscanf(group, "%2x*%zu", &byte, &times) == 2) {
            CHECK(size + times < MOST);
            memset(bytes + size, (int)byte, times);
            size += times;
        } else {
            for (; group[0]; group += 2) {
                CHECK(sscanf(group, "%2x", &byte) == 1);
                bytes[size++] = (uint8_t)byte;
            }
        }
    }
    return size;
}

/* What the parser says of the first `size` bytes, in the words of the table. */
static void verdict_of(const uint8_t *bytes, size_t size, char *text, size_t room)
{
    struct tp_proxied proxied;
    char from[64], to[64];
    memcpy(page_end - size, bytes, size);
    int length = tp_proxy_parse(page_end - size, size, &proxied);
    if (length == 0) {
        snprintf(text, room, "more");
    } else if (length < 0) {
        snprintf(text, room, "%s", tp_reason_name((unsigned)-length));
    } else if (!proxied.known) {
        snprintf(text, room, "%d local", length);
    } else {
        tp_address_text(&proxied.from, from, sizeof from);
        tp_address_text(&proxied.to, to, sizeof to);
        snprintf(text, room, "%d %s %s", length, from, to);
    }
}

static bool row(uint8_t *bytes, size_t size, const char *verdict)
{
    char got[200];
    for (size_t seen = 0; seen < size; seen++) {
        verdict_of(bytes, seen, got, sizeof got);
        if (strcmp(got, "more") != 0 && strcmp(got, verdict) != 0)
            return false;
        if (strcmp(got, "more") != 0 && verdict[0] >= '0' && verdict[0] <= '9')
            return false; /* a header is read when it is whole */
    }
    verdict_of(bytes, size, got, sizeof got);
    if (strcmp(got, verdict) != 0)
        return false;
    memset(bytes + size, 0x5a, 12);
    verdict_of(bytes, size + 12, got, sizeof got);
    return strcmp(verdict, "more") == 0 || strcmp(got, verdict) == 0;
}

static void every_row_of_the_proxy_table_holds(const char *frames)
{
    static char line[1 << 14], path[1024];
    static uint8_t bytes[MOST + 16];
    unsigned rows = 0;
    const char *slash = strrchr(frames, '/');
    CHECK(slash);
    snprintf(path, sizeof path, "%.*s/proxy.tsv", (int)(slash - frames), frames);
    FILE *table = fopen(path, "r");
    CHECK(table);
    while (fgets(line, sizeof line, table)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0] == '#' || line[0] == 0)
            continue;
        char *save = NULL, *text = strtok_r(line, "\t", &save), *verdict = strtok_r(NULL, "\t", &save);
        char *sentence = strtok_r(NULL, "\t", &save);
        CHECK(text && verdict && sentence);
        if (!row(bytes, parse_bytes(text, bytes), verdict)) {
            fprintf(stderr, "%s: not %s\n", sentence, verdict);
            exit(1);
        }
        rows++;
    }
    fclose(table);
    CHECK(rows > 55);
    printf("ok  every_row_of_the_proxy_table_holds (%u)\n", rows);
}

static struct tp_address v4(uint8_t last, uint16_t port)
{
    return (struct tp_address){.family = 4, .bytes = {192, 0, 2, last}, .port = port};
}

static struct tp_address v6(uint8_t last, uint16_t port)
{
    return (struct tp_address){.family = 6, .bytes = {0x20, 1, 0xd, 0xb8, [15] = last}, .port = port};
}

static bool equal(const struct tp_address *a, const struct tp_address *b)
{
    return tp_address_same(a, b) && a->port == b->port;
}

static void what_is_written_is_read_back(void)
{
    const struct tp_address four = v4(1, 56324), own4 = v4(2, 80), six = v6(1, 1), own6 = v6(2, 65535);
    uint8_t header[TP_PROXY_V2_WRITTEN];
    struct tp_proxied proxied;
    CHECK(tp_proxy_write(header, &four, &own4) == 28);
    CHECK(tp_proxy_parse(header, 28, &proxied) == 28 && proxied.known);
    CHECK(equal(&proxied.from, &four) && equal(&proxied.to, &own4));
    CHECK(tp_proxy_write(header, &six, &own6) == 52);
    CHECK(tp_proxy_parse(header, 52, &proxied) == 52 && proxied.known);
    CHECK(equal(&proxied.from, &six) && equal(&proxied.to, &own6));
}

static void two_families_are_both_written_as_ipv6(void)
{
    const struct tp_address four = v4(1, 56324), own6 = v6(2, 80);
    static const uint8_t mapped[16] = {[10] = 0xff, 0xff, 192, 0, 2, 1};
    uint8_t header[TP_PROXY_V2_WRITTEN];
    struct tp_proxied proxied;
    CHECK(tp_proxy_write(header, &four, &own6) == 52);
    CHECK(tp_proxy_parse(header, 52, &proxied) == 52 && proxied.from.family == 6);
    CHECK(memcmp(proxied.from.bytes, mapped, 16) == 0 && equal(&proxied.to, &own6));
}

static void a_network_holds_what_shares_its_prefix(void)
{
    struct tp_address network = {.family = 4, .bytes = {192, 0, 2, 0x40}, .prefix = 26};
    struct tp_address in = v4(0x7f, 0), out = v4(0x80, 0), other = v6(1, 0);
    CHECK(tp_address_within(&in, &network) && !tp_address_within(&out, &network));
    CHECK(!tp_address_within(&other, &network));
    network = (struct tp_address){.family = 6, .bytes = {0x20, 1, 0xd, 0xb8, [15] = 1}, .prefix = 128};
    CHECK(tp_address_within(&other, &network));
    other.bytes[15] = 2;
    CHECK(!tp_address_within(&other, &network));
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    open_page_end();
    every_row_of_the_proxy_table_holds(argv[1]);
    RUN(what_is_written_is_read_back);
    RUN(two_families_are_both_written_as_ipv6);
    RUN(a_network_holds_what_shares_its_prefix);
    return 0;
}
