// What BoringSSL's functions for plaintext do, in small: the same questions in the same order, with
// the same numbers of errors. Not a line of it is BoringSSL's.
typedef unsigned long size;
void *memcpy(void *, const void *, size);
struct tls;
struct method {
    int (*message)(struct tls *);
    int (*put)(struct tls *, int *again, size *put, const char *from, size len);
};
struct state { const char *data; size len; int kind; void *handshake; };
struct tls { const struct method *method; int (*shake)(struct tls *); struct state *state; void *quic; };

volatile int sink;
#define apart __attribute__((noinline))
apart void error(int library, int unused, int reason, const char *file, unsigned line) {
    sink = library + unused + reason + (int)line + file[0];
}
#define ERROR(reason) error(16, 0, reason, "vendor/boringssl/ssl/ssl_lib.cc", __LINE__)

apart int handshake(struct tls *tls) {
    if (!tls->shake) { ERROR(68); return -1; }
    return tls->shake(tls);
}

apart int fill(struct tls *tls) {
    tls->state->kind = 0;
    if (!tls->shake) { ERROR(226); return -1; }
    while (tls->state->len == 0) {
        while (tls->state->handshake) {
            int done = handshake(tls);
            if (done < 0) return done;
            if (done == 0) { ERROR(215); return -1; }
        }
        int got = tls->method->message(tls);
        if (got <= 0) return got;
    }
    return 1;
}

#ifdef PEEK_APART
apart
#else
static inline __attribute__((always_inline))
#endif
int peek(struct tls *tls, void *to, int len) {
    if (tls->quic) { ERROR(66); return -1; }
    int got = fill(tls);
    if (got <= 0) return got;
    if (len <= 0) return len;
    size some = tls->state->len < (size)len ? tls->state->len : (size)len;
    memcpy(to, tls->state->data, some);
    return (int)some;
}

apart int take(struct tls *tls, void *to, int len) {
    int got = peek(tls, to, len);
    if (got <= 0) return got;
    tls->state->data += got;
    tls->state->len -= (size)got;
    return got;
}

apart int put(struct tls *tls, const void *from, int len) {
    tls->state->kind = 0;
    if (tls->quic) { ERROR(66); return -1; }
    if (!tls->shake) { ERROR(226); return -1; }
    int did = 0, again = 0;
    size done = 0;
    do {
        if (tls->state->handshake) {
            did = handshake(tls);
            if (did < 0) return did;
            if (did == 0) { ERROR(215); return -1; }
        }
#ifndef NO_LENGTH
        if (len < 0) { ERROR(111); return -1; }
#endif
        did = tls->method->put(tls, &again, &done, from, (size)len);
    } while (again);
    return did <= 0 ? did : (int)done;
}

apart int shut(struct tls *tls) {
    if (!tls->shake) { ERROR(226); return -1; }
    if (tls->state->kind == 2) {
        if (fill(tls) > 0) { ERROR(291); return -1; }
        return 0;
    }
    return tls->state->kind == 1;
}

#ifdef TWO
apart int put_too(struct tls *tls, int len) {
    if (len < 0) { ERROR(111); return -1; }
    return tls->state->kind == len;
}
#else
#define put_too(tls, len) 0
#endif

int main(int n, char **all) {
    struct tls *tls = (struct tls *)all[1];
    char room[64];
    return put(tls, all[2], n) + take(tls, room, n) + peek(tls, room, n) + shut(tls) + put_too(tls, n);
}
