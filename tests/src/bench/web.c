/* A client and a server to measure with: HTTP/1.1 POSTs with a JSON body of 600 bytes, over
 * connections that stay open, plain or over TLS.
 *
 *   web serve [CERT KEY]                            prints its ports, serves until its input ends
 *   web post plain|tls PORT CONNECTIONS COUNT       each connection in a thread of its own
 *
 * With NO_TLS it needs no OpenSSL. Else its functions are declared here (openssl/ssl.h), so that
 * the library is enough, and its headers needn't be there. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY 600

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;

#ifndef NO_TLS
const SSL_METHOD *TLS_client_method(void);
const SSL_METHOD *TLS_server_method(void);
SSL_CTX *SSL_CTX_new(const SSL_METHOD *);
int SSL_CTX_use_certificate_file(SSL_CTX *, const char *, int);
int SSL_CTX_use_PrivateKey_file(SSL_CTX *, const char *, int);
SSL *SSL_new(SSL_CTX *);
void SSL_free(SSL *);
int SSL_set_fd(SSL *, int);
int SSL_connect(SSL *);
int SSL_accept(SSL *);
int SSL_read(SSL *, void *, int);
int SSL_write(SSL *, const void *, int);
#define PEM 1
#endif

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* An open connection; `ssl` is null where it is plain. */
struct conn {
    int fd;
    SSL *ssl;
};

static ssize_t get(struct conn *c, char *to, size_t room)
{
#ifndef NO_TLS
    if (c->ssl)
        return SSL_read(c->ssl, to, (int)room);
#endif
    return read(c->fd, to, room);
}

static void put(struct conn *c, const char *from, size_t len)
{
    ssize_t n;
#ifndef NO_TLS
    if (c->ssl)
        n = SSL_write(c->ssl, from, (int)len);
    else
#endif
        n = write(c->fd, from, len);
    if (n != (ssize_t)len)
        die("write");
}

/* Reads one message: a head, and the body that its Content-Length names. 0 at the end. */
static int message(struct conn *c, char *buffer, size_t room)
{
    size_t have = 0;
    for (;;) {
        ssize_t n = get(c, buffer + have, room - 1 - have);
        if (n <= 0)
            return 0;
        have += (size_t)n;
        buffer[have] = 0;
        char *end = strstr(buffer, "\r\n\r\n");
        if (!end)
            continue;
        char *length = strcasestr(buffer, "content-length:");
        size_t whole = (size_t)(end + 4 - buffer) + (length ? strtoul(length + 15, NULL, 10) : 0);
        if (whole >= room)
            die("a message too large");
        if (have >= whole)
            return 1;
    }
}

#ifndef NO_TLS
static SSL_CTX *accepting;
#endif

struct port {
    int fd;
    int tls;
};

static void *served(void *with)
{
    static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                                 "Content-Length: 15\r\n\r\n{\"done\":\"true\"}";
    struct conn *c = with;
    char buffer[8192];
#ifndef NO_TLS
    if (c->ssl && SSL_accept(c->ssl) != 1)
        goto out;
#endif
    while (message(c, buffer, sizeof buffer))
        put(c, ANSWER, sizeof ANSWER - 1);
#ifndef NO_TLS
out:
    if (c->ssl)
        SSL_free(c->ssl);
#endif
    close(c->fd);
    free(c);
    return NULL;
}

static void quick(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void *accepts(void *with)
{
    struct port *port = with;
    for (;;) {
        int fd = accept(port->fd, NULL, NULL);
        if (fd < 0)
            continue;
        quick(fd);
        struct conn *c = calloc(1, sizeof *c);
        if (!c)
            die("calloc");
        c->fd = fd;
#ifndef NO_TLS
        if (port->tls) {
            c->ssl = SSL_new(accepting);
            SSL_set_fd(c->ssl, fd);
        }
#endif
        pthread_t thread;
        if (pthread_create(&thread, NULL, served, c))
            die("pthread_create");
        pthread_detach(thread);
    }
    return NULL;
}

static int listening(int tls)
{
    static struct port ports[2];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (void *)&at, sizeof at) || listen(fd, 64) ||
        getsockname(fd, (void *)&at, &len))
        die("listen");
    ports[tls] = (struct port){fd, tls};
    pthread_t thread;
    if (pthread_create(&thread, NULL, accepts, &ports[tls]))
        die("pthread_create");
    return ntohs(at.sin_port);
}

static int serve(int argc, char **argv)
{
    /* Threads are named as whoever starts them. */
    prctl(PR_SET_NAME, "web-server");
    int plain = listening(0), tls = 0;
#ifndef NO_TLS
    if (argc == 2) {
        accepting = SSL_CTX_new(TLS_server_method());
        if (SSL_CTX_use_certificate_file(accepting, argv[0], PEM) != 1 ||
            SSL_CTX_use_PrivateKey_file(accepting, argv[1], PEM) != 1)
            die("the certificate");
        tls = listening(1);
    }
#else
    (void)argc, (void)argv;
#endif
    printf("%d %d\n", plain, tls);
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
    return 0;
}

/* What each of the client's threads is to do. */
static struct {
    int tls, port, count;
    SSL_CTX *ctx;
} task;

static void *posts(void *unused)
{
    (void)unused;
    char request[BODY + 256], buffer[8192];
    int head = snprintf(request, sizeof request,
                        "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                        "User-Agent: bench\r\nAccept: */*\r\nContent-Type: application/json\r\n"
                        "Content-Length: %d\r\n\r\n{\"text\":\"",
                        task.port, BODY);
    int text = BODY - 11;
    for (int i = 0; i < text; i++)
        request[head + i] = "lorem ipsum dolor sit amet "[i % 27];
    memcpy(request + head + text, "\"}", 2);
    size_t whole = (size_t)(head + text + 2);

    struct conn c = {socket(AF_INET, SOCK_STREAM, 0), NULL};
    struct sockaddr_in to = {AF_INET, htons((unsigned short)task.port), {htonl(INADDR_LOOPBACK)}, {0}};
    if (c.fd < 0 || connect(c.fd, (void *)&to, sizeof to))
        die("connect");
    quick(c.fd);
#ifndef NO_TLS
    if (task.tls) {
        c.ssl = SSL_new(task.ctx);
        SSL_set_fd(c.ssl, c.fd);
        if (SSL_connect(c.ssl) != 1)
            die("the TLS handshake");
    }
#endif
    for (int i = 0; i < task.count; i++) {
        put(&c, request, whole);
        if (!message(&c, buffer, sizeof buffer))
            die("an answer");
    }
    close(c.fd);
    return NULL;
}

static int post(char **argv)
{
    int connections = atoi(argv[2]);
    pthread_t threads[64];
    task.tls = !strcmp(argv[0], "tls");
    task.port = atoi(argv[1]);
    if (connections < 1 || connections > 64)
        die("from 1 to 64 connections");
    task.count = atoi(argv[3]) / connections;
#ifndef NO_TLS
    if (task.tls)
        task.ctx = SSL_CTX_new(TLS_client_method());
#endif
    for (int i = 0; i < connections; i++)
        if (pthread_create(&threads[i], NULL, posts, NULL))
            die("pthread_create");
    for (int i = 0; i < connections; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc >= 2 && !strcmp(argv[1], "serve"))
        return serve(argc - 2, argv + 2);
    if (argc == 6 && !strcmp(argv[1], "post"))
        return post(argv + 2);
    fprintf(stderr, "web serve [CERT KEY] | web post plain|tls PORT CONNECTIONS COUNT\n");
    return 2;
}
