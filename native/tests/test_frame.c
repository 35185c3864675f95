// SPDX-License-Identifier: Apache-2.0
// Every row of the vector table: whole, byte by byte, with trailing bytes; each feed ends where memory ends,
// so that one byte read too far is a crash. The table itself says how a row is to be fed.
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "frame.h"
#include "harness.h"
#include "sniff.h"

enum { MOST = 70000, WORDS = 4096 };

static uint8_t *page_end; /* one past the last byte that may be read */

static void open_page_end(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (MOST / page + 2) * page;
    uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    CHECK(mprotect(at + size - page, page, PROT_NONE) == 0);
    page_end = at + size - page;
}

/* `size` bytes that end where memory does. */
static uint8_t *at_page_end(const uint8_t *bytes, size_t size)
{
    memcpy(page_end - size, bytes, size);
    return page_end - size;
}

/* The swallowed have no place in the order of what is handed out: they come first, as in Python's test. */
struct verdict {
    char swallowed[WORDS], handed[WORDS], end[64];
};

static void add(char *words, const char *format, const char *name, size_t size)
{
    size_t used = strlen(words);
    snprintf(words + used, WORDS - used, format, name, size);
}

static void hand_out(struct verdict *v, const uint8_t *payload, size_t size)
{
    static const char *const names[] = {"ike", "esp", "keepalive", "empty", "malformed"};
    enum tp_kind kind = tp_kind_of(payload, size);
    bool swallowed = kind == TP_KEEPALIVE || kind == TP_EMPTY;
    add(swallowed ? v->swallowed : v->handed, swallowed ? "%s," : "%s:%zu,", names[kind], size);
}

/* Frames of `bytes`, seen `step` bytes further each time. */
static void decode(enum tp_framing framing, const uint8_t *bytes, size_t size, size_t step, struct verdict *v)
{
    size_t taken = 0, seen = 0, header = tp_frame_header(framing);
    memset(v, 0, sizeof *v);
    while (seen < size) {
        seen = size - seen < step ? size : seen + step;
        int length;
        const uint8_t *at;
        while (at = at_page_end(bytes + taken, seen - taken),
               (length = tp_frame_length(framing, at, seen - taken)) > 0) {
            hand_out(v, at + header, (size_t)length - header);
            taken += (size_t)length;
        }
        if (length < 0) {
            snprintf(v->end, sizeof v->end, "error:%s", tp_reason_name((unsigned)-length));
            return;
        }
    }
    snprintf(v->end, sizeof v->end, "%s", taken == size ? "end" : "more");
}

static void expect(const char *written, const char *extra, struct verdict *v)
{
    char copy[WORDS], *save = NULL, *next;
    memset(v, 0, sizeof *v);
    snprintf(copy, sizeof copy, "%s", written);
    for (char *word = strtok_r(copy, ",", &save); word; word = next) {
        next = strtok_r(NULL, ",", &save);
        if (!next)
            snprintf(v->end, sizeof v->end, "%s", word);
        else
            add(strcmp(word, "keepalive") == 0 || strcmp(word, "empty") == 0 ? v->swallowed : v->handed,
                "%s,", word, 0);
    }
    if (strcmp(v->end, "end") == 0)
        add(v->handed, "%s", extra, 0);
}

static bool same(const struct verdict *a, const struct verdict *b)
{
    return strcmp(a->swallowed, b->swallowed) == 0 && strcmp(a->handed, b->handed) == 0 &&
           strcmp(a->end, b->end) == 0;
}

static bool stream_row(enum tp_framing framing, uint8_t *bytes, size_t size, const char *verdict)
{
    static const uint8_t tpkt[] = {1, 0, 0, 12, 0xc0, 0xff, 0xee, 1, 0, 0, 0, 1};
    static const uint8_t rfc9329[] = {0, 10, 0xc0, 0xff, 0xee, 1, 0, 0, 0, 1};
    struct verdict wanted, got;
    expect(verdict, "", &wanted);
    decode(framing, bytes, size, MOST, &got);
    bool whole = same(&wanted, &got);
    decode(framing, bytes, size, 1, &got);
    if (!whole || !same(&wanted, &got))
        return false;
    if (strcmp(wanted.end, "more") == 0)
        return true;
    size_t trailing = framing == TP_FRAMING_TPKT ? sizeof tpkt : sizeof rfc9329;
    memcpy(bytes + size, framing == TP_FRAMING_TPKT ? tpkt : rfc9329, trailing);
    expect(verdict, "esp:8,", &wanted);
    decode(framing, bytes, size + trailing, MOST, &got);
    return same(&wanted, &got);
}

static const char *recognised(const uint8_t *bytes, size_t size, bool inside)
{
    int answer = tp_recognise(at_page_end(bytes, size), size, inside);
    if (answer == 0)
        return "more";
    return answer < 0 ? "unknown" : tp_protocol_name((unsigned)answer);
}

static bool sniff_row(uint8_t *bytes, size_t size, bool inside, const char *verdict)
{
    bool decided = false;
    for (size_t seen = 0; seen <= size; seen++) {
        const char *answer = recognised(bytes, seen, inside);
        if (strcmp(answer, "more") != 0)
            decided = true;
        if (decided && strcmp(answer, verdict) != 0)
            return false;
    }
    if (size >= TP_SNIFF_ENOUGH && !decided)
        return false;
    if (strcmp(recognised(bytes, size, inside), verdict) != 0)
        return false;
    memset(bytes + size, 0x5a, 12);
    return !decided || strcmp(recognised(bytes, size + 12, inside), verdict) == 0;
}

static bool row(const char *what, uint8_t *bytes, size_t size, const char *verdict)
{
    static const char *const kinds[] = {"ike", "esp", "keepalive", "empty", "malformed"};
    if (strcmp(what, "tpkt") == 0)
        return stream_row(TP_FRAMING_TPKT, bytes, size, verdict);
    if (strcmp(what, "rfc9329") == 0)
        return stream_row(TP_FRAMING_RFC9329, bytes, size, verdict);
    if (strcmp(what, "sniff") == 0)
        return sniff_row(bytes, size, false, verdict);
    if (strcmp(what, "sniff-tls") == 0)
        return sniff_row(bytes, size, true, verdict);
    if (strcmp(what, "kind") == 0)
        return strcmp(kinds[tp_kind_of(at_page_end(bytes, size), size)], verdict) == 0;
    CHECK(strcmp(what, "ike") == 0);
    return tp_ike_header_ok(at_page_end(bytes, size), size) == (strcmp(verdict, "ok") == 0);
}

/* Groups of hex digits and hh*N, `-` for nothing. */
static size_t parse_bytes(char *text, uint8_t *bytes)
{
    size_t size = 0;
    char *save = NULL;
    if (strcmp(text, "-") == 0)
        return 0;
    for (char *group = strtok_r(text, " ", &save); group; group = strtok_r(NULL, " ", &save)) {
        unsigned byte;
        size_t times;
        if (sscanf(group, "%2x*%zu", &byte, &times) == 2) {
            CHECK(MOST - 100 - size >= times);
            memset(bytes + size, (int)byte, times);
            size += times;
            continue;
        }
        for (; group[0]; group += 2) {
            CHECK(sscanf(group, "%2x", &byte) == 1 && size < MOST - 100);
            bytes[size++] = (uint8_t)byte;
        }
    }
    return size;
}

static void every_row_of_the_table_holds(const char *path)
{
    static char line[1 << 18];
    static uint8_t bytes[MOST];
    unsigned rows = 0;
    FILE *table = fopen(path, "r");
    CHECK(table);
    while (fgets(line, sizeof line, table)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0] == '#' || line[0] == 0)
            continue;
        char *save = NULL, *what = strtok_r(line, "\t", &save), *hex = strtok_r(NULL, "\t", &save);
        char *verdict = strtok_r(NULL, "\t", &save), *sentence = strtok_r(NULL, "\t", &save);
        CHECK(what && hex && verdict && sentence);
        size_t size = parse_bytes(hex, bytes);
        if (!row(what, bytes, size, verdict)) {
            fprintf(stderr, "%s: %s: not %s\n", what, sentence, verdict);
            exit(1);
        }
        rows++;
    }
    fclose(table);
    CHECK(rows > 100);
    printf("ok  every_row_of_the_table_holds (%u)\n", rows);
}

static void a_written_header_is_read_back(void)
{
    static uint8_t frame[TP_MAX_FRAME + 1];
    const enum tp_framing framings[] = {TP_FRAMING_TPKT, TP_FRAMING_RFC9329};
    const size_t sizes[] = {1, 8, 252, 253, 254, 1400, 65531};
    for (unsigned f = 0; f < 2; f++) {
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            size_t header = tp_frame_write_header(framings[f], frame, sizes[i]);
            CHECK(header == tp_frame_header(framings[f]));
            CHECK(tp_frame_length(framings[f], frame, header + sizes[i]) == (int)(header + sizes[i]));
            CHECK(tp_frame_length(framings[f], frame, header + sizes[i] - 1) == 0);
            CHECK(tp_frame_announced(framings[f], frame, header) == (int)(header + sizes[i]));
        }
    }
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    open_page_end();
    every_row_of_the_table_holds(argv[1]);
    RUN(a_written_header_is_read_back);
    return 0;
}
