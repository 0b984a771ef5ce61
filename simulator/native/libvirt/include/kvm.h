/*
 * kvm(3) for libvirt's bhyve driver on Linux: CPU time and arguments of one
 * process, out of /proc. The simulated bhyve runs the guest in a child
 * process, whose CPU time counts as its own.
 */
#ifndef SIMULATED_KVM_H
#define SIMULATED_KVM_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define KERN_PROC_PID 1
#ifndef _POSIX2_LINE_MAX
# define _POSIX2_LINE_MAX 2048
#endif

struct kinfo_proc {
    pid_t ki_pid;
    unsigned long long ki_runtime; /* microseconds */
};

typedef struct {
    struct kinfo_proc process;
    char arguments[4096];
    char *argv[64];
} kvm_t;

static inline kvm_t *kvm_openfiles(const char *execfile, const char *corefile, const char *swapfile, int flags,
                                   char *error) {
    kvm_t *kd = calloc(1, sizeof *kd);

    (void)execfile;
    (void)corefile;
    (void)swapfile;
    (void)flags;
    if (kd == NULL)
        snprintf(error, _POSIX2_LINE_MAX, "Cannot allocate memory");
    return kd;
}

static inline int kvm_close(kvm_t *kd) {
    free(kd);
    return 0;
}

static inline ssize_t simulated_read(const char *path, char *buffer, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length;

    if (fd < 0)
        return -1;
    length = read(fd, buffer, size - 1);
    close(fd);
    if (length >= 0)
        buffer[length] = '\0';
    return length;
}

/* Returns microseconds, or -1 for a process that is not there or is dead. */
static inline long long simulated_runtime(pid_t pid) {
    char path[64], text[1024], *rest;
    char state;
    unsigned long user, system;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (simulated_read(path, text, sizeof text) <= 0 || (rest = strrchr(text, ')')) == NULL)
        return -1;
    if (sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &state, &user, &system) != 3 ||
        state == 'Z')
        return -1;
    return (long long)(user + system) * 1000000 / sysconf(_SC_CLK_TCK);
}

static inline struct kinfo_proc *kvm_getprocs(kvm_t *kd, int operation, int pid, int *count) {
    char path[64], text[1024], *cursor, *end;
    long long runtime = operation == KERN_PROC_PID ? simulated_runtime(pid) : -1;

    *count = 0;
    if (runtime < 0)
        return NULL;
    kd->process.ki_pid = pid;
    kd->process.ki_runtime = (unsigned long long)runtime;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
    if (simulated_read(path, text, sizeof text) > 0)
        for (cursor = text;; cursor = end) {
            long child = strtol(cursor, &end, 10);
            if (end == cursor)
                break;
            if ((runtime = simulated_runtime((pid_t)child)) > 0)
                kd->process.ki_runtime += (unsigned long long)runtime;
        }
    *count = 1;
    return &kd->process;
}

static inline char **kvm_getargv(kvm_t *kd, const struct kinfo_proc *process, int limit) {
    char path[64];
    ssize_t length;
    size_t count = 0;

    (void)limit;
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)process->ki_pid);
    if ((length = simulated_read(path, kd->arguments, sizeof kd->arguments)) <= 0)
        return NULL;
    for (char *text = kd->arguments; text < kd->arguments + length && count < 63; text += strlen(text) + 1)
        kd->argv[count++] = text;
    kd->argv[count] = NULL;
    return kd->argv;
}

#endif
