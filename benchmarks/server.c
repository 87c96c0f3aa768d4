/*
 * A provider for benchmarks: answers Chat Completions after a fixed latency, as cheaply as it can.
 *
 * It exists so that a measurement shows the client and not the server. One thread holds thousands of calls in flight:
 * an epoll loop, and a heap of due times in place of a thread or a timer a call. It is no simulator: it knows one
 * answer, sets no limits and makes no faults.
 *
 *   POST .../embeddings  waits --latency-ms, then answers a base64 vector of --dimensions for each "item N" of the body.
 *   POST anything   waits --latency-ms, then answers about --answer-bytes of JSON. When the body asks for a stream
 *                   ("stream": true), answers --events server-sent events, --interval-ms apart (0: back to back).
 *                   The answer quotes the last "item N" of the body, so a client can prove whose answer it holds.
 *   GET /stats      counters as JSON, at once.
 *
 * Prints its port on stdout, ends when its stdin ends (so it cannot outlive the script that started it).
 *
 *   cc -O2 -pthread server.c -o server                              plain HTTP
 *   cc -O2 -pthread -DHAVE_TLS server.c -o server -lssl -lcrypto    and TLS: --certificate FILE (chain and key, PEM)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

#define MAX_REQUEST (64u << 20)       /* bytes; a larger request ends its connection */
#define OUTPUT_HIGH_WATER (64u << 10) /* bytes; a stream back to back pauses here until the client has read */
#define EVENTS_PER_WAKEUP 512

static struct {
    int64_t latency_ns;
    int64_t interval_ns;
    long events;
    long dimensions;
    size_t answer_bytes;
    int threads;
    int port;
    bool limit_headers;
    bool structured; /* answer with the JSON of an invoice */
    const char *certificate;
} options = {
    .latency_ns = 100 * 1000000LL, .interval_ns = 20 * 1000000LL, .events = 100, .dimensions = 1536,
    .answer_bytes = 1000, .threads = 1};

static atomic_long requests, streams, connections, open_connections, in_flight, max_in_flight, aborted, bad_requests;
static char *filler;
static size_t filler_length;
static int listener;
#ifdef HAVE_TLS
static SSL_CTX *tls;
#endif

typedef enum { READING_HEAD, READING_BODY, READING_CHUNKS, WAITING, STREAMING } State;

typedef struct Connection {
    int fd;
    uint32_t generation; /* goes up when the connection ends: a timer that still names it is then recognised as stale */
    State state;
    bool handshaking, wants_output, close_after, wants_usage, head_sent;
    char *in;
    size_t in_length, in_capacity, scanned;
    size_t head_length, body_length; /* of the request that is being read or answered */
    size_t chunk_at;                 /* where the next chunk of a chunked body starts in `in` */
    size_t request_length;           /* bytes of `in` that the request takes, known when it is complete */
    char *out;
    size_t out_length, out_sent, out_capacity;
    char item[24];
    long number, next_event;
    int64_t due;
    struct Connection *next_free;
#ifdef HAVE_TLS
    SSL *ssl;
#endif
} Connection;

typedef struct {
    int64_t due;
    Connection *connection;
    uint32_t generation;
} Timer;

typedef struct {
    int epoll, timer_fd;
    int64_t armed;
    Timer *heap;
    size_t heap_length, heap_capacity;
    Connection *free_list;
} Loop;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void *grown(void *memory, size_t bytes) {
    memory = realloc(memory, bytes);
    if (!memory) fail("realloc");
    return memory;
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ---- timers -------------------------------------------------------------------------------------------------------
 */

static void timer_push(Loop *loop, Connection *connection, int64_t due) {
    if (loop->heap_length == loop->heap_capacity) {
        loop->heap_capacity = loop->heap_capacity ? loop->heap_capacity * 2 : 1024;
        loop->heap = grown(loop->heap, loop->heap_capacity * sizeof *loop->heap);
    }
    size_t at = loop->heap_length++;
    while (at && loop->heap[(at - 1) / 2].due > due) {
        loop->heap[at] = loop->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    loop->heap[at] = (Timer){due, connection, connection->generation};
}

static Timer timer_pop(Loop *loop) {
    Timer first = loop->heap[0], last = loop->heap[--loop->heap_length];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < loop->heap_length) {
        if (child + 1 < loop->heap_length && loop->heap[child + 1].due < loop->heap[child].due) child++;
        if (loop->heap[child].due >= last.due) break;
        loop->heap[at] = loop->heap[child];
        at = child;
    }
    loop->heap[at] = last;
    return first;
}

/* ---- connections --------------------------------------------------------------------------------------------------
 */

static void call_started(void) {
    long now = atomic_fetch_add(&in_flight, 1) + 1, seen = atomic_load(&max_in_flight);
    while (now > seen && !atomic_compare_exchange_weak(&max_in_flight, &seen, now)) {}
}

static Connection *connection_new(Loop *loop, int fd) {
    Connection *c = loop->free_list;
    if (c) loop->free_list = c->next_free;
    else c = calloc(1, sizeof *c);
    if (!c) fail("calloc");
    c->fd = fd;
    c->state = READING_HEAD;
    c->in_length = c->scanned = c->out_length = c->out_sent = 0;
    c->handshaking = c->wants_output = c->close_after = false;
    return c;
}

static void connection_close(Loop *loop, Connection *c) {
    if (c->state == WAITING || c->state == STREAMING) {
        atomic_fetch_sub(&in_flight, 1);
        atomic_fetch_add(&aborted, 1);
    }
#ifdef HAVE_TLS
    if (c->ssl) {
        SSL_set_quiet_shutdown(c->ssl, 1);
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
#endif
    close(c->fd);
    c->fd = -1;
    c->generation++;
    c->next_free = loop->free_list;
    loop->free_list = c;
    atomic_fetch_sub(&open_connections, 1);
}

static void interest(Loop *loop, Connection *c, bool output) {
    if (c->wants_output == output) return;
    c->wants_output = output;
    struct epoll_event event = {.events = EPOLLIN | (output ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(loop->epoll, EPOLL_CTL_MOD, c->fd, &event);
}

/* Reads and writes return bytes, 0 for "not now", -1 for "the connection is over". */
static ssize_t connection_read(Connection *c, char *to, size_t room) {
#ifdef HAVE_TLS
    if (c->ssl) {
        ERR_clear_error();
        int n = SSL_read(c->ssl, to, room > 1 << 30 ? 1 << 30 : (int)room);
        if (n > 0) return n;
        int why = SSL_get_error(c->ssl, n);
        return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
#endif
    ssize_t n = recv(c->fd, to, room, 0);
    if (n > 0) return n;
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static ssize_t connection_write(Connection *c, const char *from, size_t length) {
#ifdef HAVE_TLS
    if (c->ssl) {
        ERR_clear_error();
        int n = SSL_write(c->ssl, from, length > 1 << 30 ? 1 << 30 : (int)length);
        if (n > 0) return n;
        int why = SSL_get_error(c->ssl, n);
        return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
#endif
    ssize_t n = send(c->fd, from, length, MSG_NOSIGNAL);
    if (n >= 0) return n;
    return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static void output(Connection *c, const char *bytes, size_t length) {
    if (c->out_length + length > c->out_capacity) {
        c->out_capacity = (c->out_length + length) * 2;
        c->out = grown(c->out, c->out_capacity);
    }
    memcpy(c->out + c->out_length, bytes, length);
    c->out_length += length;
}

/* Writes what it can. False: the connection is closed. */
static bool flush(Loop *loop, Connection *c) {
    while (c->out_sent < c->out_length) {
        ssize_t n = connection_write(c, c->out + c->out_sent, c->out_length - c->out_sent);
        if (n < 0) {
            connection_close(loop, c);
            return false;
        }
        if (n == 0) {
            interest(loop, c, true);
            return true;
        }
        c->out_sent += (size_t)n;
    }
    c->out_length = c->out_sent = 0;
    interest(loop, c, false);
    if (c->close_after && c->state == READING_HEAD) {
        connection_close(loop, c);
        return false;
    }
    return true;
}

/* ---- answers ------------------------------------------------------------------------------------------------------
 */

static const char *limit_headers(void) {
    return options.limit_headers
               ? "x-ratelimit-limit-requests: 1000000\r\nx-ratelimit-limit-tokens: 1000000000\r\n"
                 "x-ratelimit-remaining-requests: 999999\r\nx-ratelimit-remaining-tokens: 999999000\r\n"
                 "x-ratelimit-reset-requests: 1ms\r\nx-ratelimit-reset-tokens: 1ms\r\n"
               : "";
}

/* The request is answered: drop its bytes, and be ready for the next. */
static void request_done(Connection *c) {
    memmove(c->in, c->in + c->request_length, c->in_length - c->request_length);
    c->in_length -= c->request_length;
    c->scanned = 0;
    c->state = READING_HEAD;
}

static void output_reply(Connection *c, const char *status, const char *body, size_t length) {
    char head[1024];
    int n = snprintf(
        head, sizeof head,
        "HTTP/1.1 %s\r\nContent-Type: application/json\r\nx-request-id: req_%ld\r\n%sContent-Length: %zu\r\n%s\r\n",
        status, c->number, limit_headers(), length, c->close_after ? "Connection: close\r\n" : "");
    output(c, head, (size_t)n);
    output(c, body, length);
}

/* An invoice of ten fields, as text inside of JSON; the last one is filled up. */
#define STRUCTURED                                                                                                     \
    "{\\\"item\\\":\\\"%s\\\",\\\"number\\\":4711,\\\"customer\\\":\\\"Ada\\\",\\\"total\\\":99.5,\\\"paid\\\":true," \
    "\\\"currency\\\":\\\"EUR\\\",\\\"lines\\\":[\\\"one\\\",\\\"two\\\",\\\"three\\\"],\\\"discount\\\":null,"         \
    "\\\"date\\\":\\\"2026-11-25\\\",\\\"note\\\":\\\""

static void base64_of(const unsigned char *bytes, size_t length, char *to) { /* length: a multiple of 3 */
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3, to += 4) {
        unsigned bits = (unsigned)bytes[i] << 16 | (unsigned)bytes[i + 1] << 8 | bytes[i + 2];
        for (int place = 0; place < 4; place++) to[place] = digits[bits >> (18 - 6 * place) & 63];
    }
}

/* One vector for each string of the body that holds "item N": its first number is N, the others are the same for all. */
static void output_embeddings(Connection *c) {
    const char *body = c->in + c->head_length, *end = body + c->body_length;
    size_t vector = (size_t)options.dimensions * 4 / 3 * 4, room = 1 << 20, length = 0;
    char *reply = grown(NULL, room);
    long count = 0;
    length += (size_t)sprintf(reply, "{\"object\":\"list\",\"data\":[");
    for (const char *at = body; (at = memmem(at, (size_t)(end - at), "item ", 5)); at += 5) {
        if (length + vector + 256 > room) reply = grown(reply, room *= 2);
        length += (size_t)sprintf(reply + length, "%s{\"object\":\"embedding\",\"index\":%ld,\"embedding\":\"",
                                  count ? "," : "", count);
        float first[3] = {(float)atol(at + 5), 0.25f, -0.5f};
        base64_of((const unsigned char *)first, sizeof first, reply + length);
        for (size_t done = 16; done < vector; done += 4) memcpy(reply + length + done, "PsaJ", 4);
        length += vector;
        length += (size_t)sprintf(reply + length, "\"}");
        count++;
    }
    length += (size_t)sprintf(reply + length,
                              "],\"model\":\"benchmark\",\"usage\":{\"prompt_tokens\":%ld,\"total_tokens\":%ld}}",
                              12 * count, 12 * count);
    output_reply(c, "200 OK", reply, length);
    free(reply);
}

static void output_answer(Connection *c) {
    if (memmem(c->in, c->head_length < 100 ? c->head_length : 100, "/embeddings ", 12)) {
        output_embeddings(c);
        return;
    }
    char start[768], end[512];
    int before = snprintf(
        start, sizeof start,
        "{\"id\":\"chatcmpl-%ld\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"benchmark\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"",
        c->number);
    before += snprintf(start + before, sizeof start - (size_t)before, options.structured ? STRUCTURED : "%s: ", c->item);
    int after =
        snprintf(end, sizeof end, "%s\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{"
                 "\"prompt_tokens\":12,\"completion_tokens\":120,\"total_tokens\":132,\"prompt_tokens_details\":{"
                 "\"cached_tokens\":0,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}},"
                 "\"service_tier\":\"default\",\"system_fingerprint\":null}",
                 options.structured ? "\\\"}" : "");
    size_t frame = (size_t)before + (size_t)after;
    size_t fill = options.answer_bytes > frame ? options.answer_bytes - frame : 0;
    size_t length = frame + fill;
    char *body = grown(NULL, length);
    memcpy(body, start, (size_t)before);
    for (size_t done = 0; done < fill;) {
        size_t part = fill - done < filler_length ? fill - done : filler_length;
        memcpy(body + before + done, filler, part);
        done += part;
    }
    memcpy(body + before + fill, end, (size_t)after);
    output_reply(c, "200 OK", body, length);
    free(body);
}

static void output_chunk(Connection *c, const char *bytes, size_t length) {
    char size[20];
    output(c, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", length));
    output(c, bytes, length);
    output(c, "\r\n", 2);
}

/*
 * One event of the stream: "item N", then a word an event, each in an HTTP chunk of its own as providers send them. The
 * number after the @ is when it was written, in nanoseconds of CLOCK_MONOTONIC: a client on this machine can subtract
 * it.
 */
static void output_event(Connection *c) {
    char event[512];
    char piece[64];
    if (c->next_event == 0) snprintf(piece, sizeof piece, "%s @%" PRId64, c->item, now_ns());
    else snprintf(piece, sizeof piece, " word %ld @%" PRId64, c->next_event, now_ns());
    int n = snprintf(event, sizeof event,
                     "data: {\"id\":\"chatcmpl-%ld\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,"
                     "\"model\":\"benchmark\",\"system_fingerprint\":null,\"choices\":[{\"index\":0,\"delta\":{%"
                     "s\"content\":\"%s\"},"
                     "\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                     c->number, c->next_event == 0 ? "\"role\":\"assistant\"," : "", piece);
    output_chunk(c, event, (size_t)n);
    c->next_event++;
}

static void output_stream_end(Connection *c) {
    char event[512];
    int n = snprintf(event, sizeof event,
                     "data: {\"id\":\"chatcmpl-%ld\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,"
                     "\"model\":\"benchmark\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_"
                     "reason\":\"stop\"}]}\n\n",
                     c->number);
    output_chunk(c, event, (size_t)n);
    if (c->wants_usage) {
        n = snprintf(event, sizeof event,
                     "data: {\"id\":\"chatcmpl-%ld\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,"
                     "\"model\":\"benchmark\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":%ld,"
                     "\"total_tokens\":%ld}}\n\n",
                     c->number, options.events, options.events + 12);
        output_chunk(c, event, (size_t)n);
    }
    output_chunk(c, "data: [DONE]\n\n", 14);
    output(c, "0\r\n\r\n", 5);
}

static void output_stats(Connection *c) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    char body[512];
    int n = snprintf(body, sizeof body,
                     "{\"requests\":%ld,\"streams\":%ld,\"connections\":%ld,\"open_connections\":%ld,\"in_flight\":%ld,"
                     "\"max_in_flight\":%ld,\"aborted\":%ld,\"bad_requests\":%ld,\"cpu_seconds\":%.6f,\"threads\":%d}",
                     atomic_load(&requests), atomic_load(&streams), atomic_load(&connections),
                     atomic_load(&open_connections), atomic_load(&in_flight), atomic_load(&max_in_flight),
                     atomic_load(&aborted), atomic_load(&bad_requests), cpu, options.threads);
    output_reply(c, "200 OK", body, (size_t)n);
}

/* ---- requests -----------------------------------------------------------------------------------------------------
 */

/* Finds the value of a header, or NULL. `head` ends with a NUL in place of its last line end. */
static const char *header(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, name, length) && line[length] == ':') {
            const char *value = line + length + 1;
            while (*value == ' ' || *value == '\t') value++;
            return value;
        }
    }
    return NULL;
}

static bool value_is(const char *value, const char *word) {
    return value && !strncasecmp(value, word, strlen(word));
}

/* Whether `"key"` stands in the body followed by a colon, any space, and `word`. */
static bool body_says(const char *body, size_t length, const char *key, const char *word) {
    const char *end = body + length, *at = body;
    while ((at = memmem(at, (size_t)(end - at), key, strlen(key)))) {
        at += strlen(key);
        const char *value = at;
        while (value < end && (*value == ' ' || *value == ':')) value++;
        if ((size_t)(end - value) >= strlen(word) && !memcmp(value, word, strlen(word))) return true;
    }
    return false;
}

/* Copies the last "item N" of the body: the one in the newest message, whatever the order of the keys. */
static void find_item(Connection *c, const char *body, size_t length) {
    snprintf(c->item, sizeof c->item, "no item");
    for (const char *at = body + length; at > body;) {
        const char *found = memrchr(body, 'i', (size_t)(at - body));
        if (!found) return;
        at = found;
        size_t left = (size_t)(body + length - found);
        if (left > 5 && !memcmp(found, "item ", 5) && found[5] >= '0' && found[5] <= '9') {
            size_t n = 5;
            while (n < left && n < sizeof c->item - 1 && found[n] >= '0' && found[n] <= '9') n++;
            memcpy(c->item, found, n);
            c->item[n] = 0;
            return;
        }
    }
}

static void refuse(Connection *c) {
    static const char body[] =
        "{\"error\":{\"message\":\"this server answers POST, and GET /stats\",\"type\":\"invalid_request_error\"}}";
    atomic_fetch_add(&bad_requests, 1);
    c->close_after = true;
    output_reply(c, "404 Not Found", body, sizeof body - 1);
}

/* The request is complete: answer at once what needs no wait, and set the timer of what does. */
static void request_complete(Loop *loop, Connection *c) {
    if (!memcmp(c->in, "GET /stats", 10)) {
        output_stats(c);
        request_done(c);
        return;
    }
    if (memcmp(c->in, "POST ", 5)) {
        refuse(c);
        request_done(c);
        return;
    }
    const char *body = c->in + c->head_length;
    c->number = atomic_fetch_add(&requests, 1) + 1;
    call_started();
    find_item(c, body, c->body_length);
    c->next_event = 0;
    c->head_sent = false;
    c->state = WAITING;
    if (body_says(body, c->body_length, "\"stream\"", "true")) {
        atomic_fetch_add(&streams, 1);
        c->wants_usage = body_says(body, c->body_length, "\"include_usage\"", "true");
        c->state = STREAMING;
    }
    c->due = now_ns() + options.latency_ns;
    timer_push(loop, c, c->due);
}

/* Moves the chunks of the body together. 1: complete, 0: more must come, -1: not a chunked body. */
static int join_chunks(Connection *c) {
    for (;;) {
        char *line = c->in + c->chunk_at, *end = c->in + c->in_length;
        char *stop = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!stop) return 0;
        char *after;
        unsigned long size = strtoul(line, &after, 16);
        if (after == line || size > MAX_REQUEST) return -1;
        char *data = stop + 2;
        if (size == 0) {
            /* Trailers, if any, end with an empty line. */
            for (;;) {
                stop = memmem(data, (size_t)(end - data), "\r\n", 2);
                if (!stop) return 0;
                bool empty = stop == data;
                data = stop + 2;
                if (empty) break;
            }
            c->request_length = (size_t)(data - c->in);
            return 1;
        }
        if ((size_t)(end - data) < size + 2) return 0;
        memmove(c->in + c->head_length + c->body_length, data, size);
        c->body_length += size;
        c->chunk_at = (size_t)(data - c->in) + size + 2;
    }
}

/* Takes requests out of the input until one must wait or more bytes must come. False: the connection is closed. */
static bool take_requests(Loop *loop, Connection *c) {
    for (;;) {
        if (c->state == WAITING || c->state == STREAMING) return true;
        if (c->close_after && c->state == READING_HEAD) return flush(loop, c); /* the last one was just answered */
        if (c->state == READING_HEAD) {
            size_t from = c->scanned > 3 ? c->scanned - 3 : 0;
            char *end = c->in_length ? memmem(c->in + from, c->in_length - from, "\r\n\r\n", 4) : NULL;
            c->scanned = c->in_length;
            if (!end) break;
            c->head_length = (size_t)(end - c->in) + 4;
            *end = 0; /* so that the head is a string while it is read */
            const char *length = header(c->in, "content-length");
            bool chunked = value_is(header(c->in, "transfer-encoding"), "chunked");
            bool expects = value_is(header(c->in, "expect"), "100-continue");
            c->close_after = value_is(header(c->in, "connection"), "close");
            *end = '\r';
            c->body_length = chunked || !length ? 0 : strtoul(length, NULL, 10);
            c->chunk_at = c->head_length;
            if (c->body_length > MAX_REQUEST) {
                connection_close(loop, c);
                return false;
            }
            c->state = chunked ? READING_CHUNKS : READING_BODY;
            if (expects && c->in_length == c->head_length) {
                output(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
                if (!flush(loop, c)) return false;
            }
        }
        if (c->state == READING_BODY) {
            c->request_length = c->head_length + c->body_length;
            if (c->in_length < c->request_length) break;
        } else {
            int done = join_chunks(c);
            if (done < 0) {
                connection_close(loop, c);
                return false;
            }
            if (done == 0) break;
        }
        request_complete(loop, c);
    }
    return flush(loop, c);
}

static void readable(Loop *loop, Connection *c) {
    for (;;) {
        if (c->in_capacity - c->in_length < 4096) {
            c->in_capacity = c->in_capacity ? c->in_capacity * 2 : 8192;
            if (c->in_capacity > 2 * MAX_REQUEST) {
                connection_close(loop, c);
                return;
            }
            c->in = grown(c->in, c->in_capacity);
        }
        size_t room = c->in_capacity - c->in_length;
        ssize_t n = connection_read(c, c->in + c->in_length, room);
        if (n < 0) {
            connection_close(loop, c);
            return;
        }
        c->in_length += (size_t)n;
        if (n == 0) break;
        /* A short read has emptied a plain socket; OpenSSL may hold another record, so it is asked until it has none.
         */
#ifdef HAVE_TLS
        if (c->ssl) continue;
#endif
        if ((size_t)n < room) break;
    }
    take_requests(loop, c);
}

/* The wait of a call is over, or the next event of its stream is due, or the client has read and there is room again.
 */
static void answer_due(Loop *loop, Connection *c) {
    if (c->state == WAITING) {
        output_answer(c);
    } else {
        if (!c->head_sent) {
            c->head_sent = true;
            char head[1024];
            int n = snprintf(head, sizeof head,
                             "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nx-request-id: req_%ld\r\n%s"
                             "Transfer-Encoding: chunked\r\n%s\r\n",
                             c->number, limit_headers(), c->close_after ? "Connection: close\r\n" : "");
            output(c, head, (size_t)n);
        }
        if (options.interval_ns > 0) {
            if (c->next_event < options.events) output_event(c);
            if (c->next_event < options.events) {
                if (!flush(loop, c)) return;
                c->due += options.interval_ns;
                timer_push(loop, c, c->due);
                return;
            }
        } else {
            while (c->next_event < options.events) {
                if (c->out_length - c->out_sent >= OUTPUT_HIGH_WATER) {
                    if (!flush(loop, c)) return;
                    if (c->wants_output) return;
                }
                output_event(c);
            }
        }
        output_stream_end(c);
    }
    atomic_fetch_sub(&in_flight, 1);
    request_done(c);
    if (flush(loop, c)) take_requests(loop, c);
}

static void writable(Loop *loop, Connection *c) {
    uint32_t generation = c->generation;
    if (!flush(loop, c)) return;
    bool paused = c->generation == generation && c->state == STREAMING && options.interval_ns == 0 && c->next_event > 0;
    if (paused && !c->wants_output) answer_due(loop, c);
}

static void accept_all(Loop *loop) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Connection *c = connection_new(loop, fd);
#ifdef HAVE_TLS
        if (tls) {
            c->ssl = SSL_new(tls);
            SSL_set_fd(c->ssl, fd);
            SSL_set_accept_state(c->ssl);
            c->handshaking = true;
        }
#endif
        atomic_fetch_add(&connections, 1);
        atomic_fetch_add(&open_connections, 1);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event)) connection_close(loop, c);
    }
}

#ifdef HAVE_TLS
/* True when the handshake is over and well. */
static bool shake_hands(Loop *loop, Connection *c) {
    ERR_clear_error();
    int done = SSL_do_handshake(c->ssl);
    if (done == 1) {
        c->handshaking = false;
        interest(loop, c, false);
        return true;
    }
    int why = SSL_get_error(c->ssl, done);
    if (why == SSL_ERROR_WANT_READ) interest(loop, c, false);
    else if (why == SSL_ERROR_WANT_WRITE) interest(loop, c, true);
    else connection_close(loop, c);
    return false;
}
#endif

static void arm_timer(Loop *loop) {
    int64_t due = loop->heap_length ? loop->heap[0].due : 0;
    if (due == loop->armed) return;
    loop->armed = due;
    struct itimerspec when = {.it_value = {.tv_sec = due / 1000000000LL, .tv_nsec = due % 1000000000LL}};
    timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void watch(Loop *loop, int fd, uint32_t events, void *tag) {
    struct epoll_event event = {.events = events, .data.ptr = tag};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) && fd != STDIN_FILENO) fail("epoll_ctl");
}

static void *serve(void *first) {
    static char listener_tag, timer_tag, stdin_tag;
    Loop loop = {.epoll = epoll_create1(EPOLL_CLOEXEC),
                 .timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)};
    if (loop.epoll < 0 || loop.timer_fd < 0) fail("epoll_create1 or timerfd_create");
    watch(&loop, listener, EPOLLIN | EPOLLEXCLUSIVE, &listener_tag);
    watch(&loop, loop.timer_fd, EPOLLIN, &timer_tag);
    if (first) watch(&loop, STDIN_FILENO, EPOLLIN, &stdin_tag);
    struct epoll_event events[EVENTS_PER_WAKEUP];
    for (;;) {
        arm_timer(&loop);
        int n = epoll_wait(loop.epoll, events, EVENTS_PER_WAKEUP, -1);
        for (int i = 0; i < n; i++) {
            void *tag = events[i].data.ptr;
            char ignored[256];
            if (tag == &listener_tag) {
                accept_all(&loop);
            } else if (tag == &timer_tag) {
                if (read(loop.timer_fd, ignored, 8) == 8) loop.armed = 0;
            } else if (tag == &stdin_tag) {
                if (read(STDIN_FILENO, ignored, sizeof ignored) == 0) exit(0);
            } else {
                Connection *c = tag;
                if (c->fd < 0) continue;
#ifdef HAVE_TLS
                if (c->handshaking && !shake_hands(&loop, c)) continue;
#endif
                uint32_t generation = c->generation;
                if (events[i].events & EPOLLOUT) writable(&loop, c);
                if (c->generation == generation && events[i].events & ~EPOLLOUT) readable(&loop, c);
            }
        }
        int64_t now = loop.heap_length ? now_ns() : 0;
        while (loop.heap_length && loop.heap[0].due <= now) {
            Timer timer = timer_pop(&loop);
            if (timer.connection->generation == timer.generation) answer_due(&loop, timer.connection);
        }
    }
    return NULL;
}

/* ---- start --------------------------------------------------------------------------------------------------------
 */

static void usage(void) {
    fprintf(
        stderr,
        "usage: server [--port N] [--latency-ms X] [--answer-bytes N] [--events N] [--interval-ms X] [--threads N]\n"
        "              [--dimensions N] [--limit-headers] [--structured] [--certificate FILE]\n");
    exit(2);
}

static void read_options(int count, char **words) {
    for (int i = 1; i < count; i++) {
        if (!strcmp(words[i], "--limit-headers")) {
            options.limit_headers = true;
            continue;
        }
        if (!strcmp(words[i], "--structured")) {
            options.structured = true;
            continue;
        }
        if (i + 1 == count) usage();
        const char *name = words[i], *value = words[++i];
        if (!strcmp(name, "--port")) options.port = atoi(value);
        else if (!strcmp(name, "--latency-ms")) options.latency_ns = (int64_t)(atof(value) * 1e6);
        else if (!strcmp(name, "--answer-bytes")) options.answer_bytes = strtoul(value, NULL, 10);
        else if (!strcmp(name, "--events")) options.events = atol(value);
        else if (!strcmp(name, "--dimensions")) options.dimensions = atol(value) / 3 * 3;
        else if (!strcmp(name, "--interval-ms")) options.interval_ns = (int64_t)(atof(value) * 1e6);
        else if (!strcmp(name, "--threads")) options.threads = atoi(value);
        else if (!strcmp(name, "--certificate")) options.certificate = value;
        else usage();
    }
    if (options.threads < 1 || options.events < 1 || options.dimensions < 3 || options.latency_ns < 0 || options.interval_ns < 0) usage();
}

static void prepare_tls(void) {
    if (!options.certificate) return;
#ifdef HAVE_TLS
    tls = SSL_CTX_new(TLS_server_method());
    if (!tls || SSL_CTX_use_certificate_chain_file(tls, options.certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, options.certificate, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    SSL_CTX_set_mode(tls,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
#else
    fprintf(stderr, "server: built without TLS (OpenSSL's headers were not there)\n");
    exit(2);
#endif
}

static void prepare_listener(void) {
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) fail("bind or listen");
    socklen_t length = sizeof address;
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(int count, char **words) {
    read_options(count, words);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    static const char words_of_answer[] = "the quick brown fox jumps over the lazy dog and wonders what a token is, ";
    filler_length = sizeof words_of_answer - 1;
    filler = grown(NULL, filler_length);
    memcpy(filler, words_of_answer, filler_length);
    prepare_tls();
    prepare_listener();
    for (int i = 1; i < options.threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, NULL)) fail("pthread_create");
    }
    serve(&options);
    return 0;
}
