/*
 * kqueue(2) for libvirt's bhyve driver on Linux: EVFILT_PROC with NOTE_EXIT
 * and nothing else. A kqueue is a descriptor that becomes a pidfd when its
 * process is registered, so that an event loop can poll it.
 */
#ifndef SIMULATED_SYS_EVENT_H
#define SIMULATED_SYS_EVENT_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define EVFILT_PROC (-5)
#define EV_ADD 0x0001
#define EV_ONESHOT 0x0010
#define EV_EOF 0x8000
#define EV_ERROR 0x4000
#define NOTE_EXIT 0x80000000u

#define SIMULATED_QUEUES 4096
#define SIMULATED_KILLED 9 /* wait status of a process that left no exit file */

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned int fflags;
    int64_t data;
    void *udata;
};

#define EV_SET(event, id, filt, flag, fflag, value, user) \
    do { \
        (event)->ident = (uintptr_t)(id); \
        (event)->filter = (filt); \
        (event)->flags = (flag); \
        (event)->fflags = (fflag); \
        (event)->data = (value); \
        (event)->udata = (user); \
    } while (0)

static pid_t simulated_watched[SIMULATED_QUEUES];

static inline int kqueue(void) {
    int queue = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (queue >= SIMULATED_QUEUES) {
        close(queue);
        errno = EMFILE;
        return -1;
    }
    if (queue >= 0)
        simulated_watched[queue] = 0;
    return queue;
}

/* The simulated bhyve leaves "exit N" here just before it exits. */
static inline int simulated_wait_status(pid_t pid) {
    char path[64];
    int code = -1;
    FILE *file;

    snprintf(path, sizeof path, "/.sim/exits/%d", (int)pid);
    if ((file = fopen(path, "re")) == NULL)
        return SIMULATED_KILLED;
    if (fscanf(file, "exit %d", &code) != 1)
        code = -1;
    fclose(file);
    unlink(path);
    return code < 0 ? SIMULATED_KILLED : (code & 0xff) << 8;
}

static inline int simulated_watch(int queue, const struct kevent *change) {
    int descriptor;

    if (change->filter != EVFILT_PROC || (change->flags & EV_ADD) == 0 || queue < 0 || queue >= SIMULATED_QUEUES) {
        errno = EINVAL;
        return -1;
    }
    if ((descriptor = (int)syscall(SYS_pidfd_open, (pid_t)change->ident, 0)) < 0)
        return -1;
    if (dup3(descriptor, queue, O_CLOEXEC) < 0) {
        close(descriptor);
        return -1;
    }
    close(descriptor);
    simulated_watched[queue] = (pid_t)change->ident;
    return 0;
}

static inline int kevent(int queue, const struct kevent *changes, int change_count, struct kevent *events,
                         int event_count, const struct timespec *timeout) {
    struct pollfd poller = {.fd = queue, .events = POLLIN};
    int quiet;

    for (int i = 0; i < change_count; i++)
        if (simulated_watch(queue, &changes[i]) < 0)
            return -1;
    if (event_count == 0)
        return 0;
    if (poll(&poller, 1, timeout == NULL ? -1 : (int)(timeout->tv_sec * 1000 + timeout->tv_nsec / 1000000)) <= 0)
        return 0;
    memset(events, 0, sizeof *events);
    EV_SET(events, simulated_watched[queue], EVFILT_PROC, EV_EOF | EV_ONESHOT, NOTE_EXIT,
           simulated_wait_status(simulated_watched[queue]), NULL);
    /* The event is reported once; a pidfd would stay readable for ever. */
    if ((quiet = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) >= 0) {
        dup3(quiet, queue, O_CLOEXEC);
        close(quiet);
    }
    return 1;
}

#endif
