/*
 * sysctl(3) for the FreeBSD parts of libvirt on Linux: the values that its
 * node information reads, computed from /proc. Anything else is ENOENT.
 */
#ifndef SIMULATED_SYS_SYSCTL_H
#define SIMULATED_SYS_SYSCTL_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define CTL_HW 6
#define HW_NCPU 3

/* sys/resource.h of FreeBSD */
#define CP_USER 0
#define CP_NICE 1
#define CP_SYS 2
#define CP_INTR 3
#define CP_IDLE 4
#define CPUSTATES 5

/* sys/time.h of FreeBSD */
struct clockinfo {
    int hz;
    int tick;
    int spare;
    int stathz;
    int profhz;
};

#define SIMULATED_STATHZ 127

static inline int simulated_store(void *target, size_t *size, const void *value, size_t length) {
    if (target != NULL && *size < length) {
        errno = ENOMEM;
        return -1;
    }
    if (target != NULL)
        memcpy(target, value, length);
    *size = length;
    return 0;
}

/* FreeBSD's value is an int; libvirt offers a long and wants its upper half clear. */
static inline int simulated_store_int(void *target, size_t *size, unsigned long value) {
    unsigned int narrow = (unsigned int)value;

    if (target != NULL && *size == sizeof(unsigned long))
        return simulated_store(target, size, &value, sizeof value);
    return simulated_store(target, size, &narrow, sizeof narrow);
}

static inline unsigned long long simulated_meminfo(const char *field) {
    char line[128];
    unsigned long long kibibytes = 0;
    size_t length = strlen(field);
    FILE *file = fopen("/proc/meminfo", "re");

    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, field, length) == 0 && line[length] == ':')
            sscanf(line + length + 1, "%llu", &kibibytes);
    if (file != NULL)
        fclose(file);
    return kibibytes << 10;
}

static inline unsigned long simulated_clockrate(void) {
    char line[256];
    double megahertz = 0;
    FILE *file = fopen("/proc/cpuinfo", "re");

    while (file != NULL && megahertz == 0 && fgets(line, sizeof line, file) != NULL)
        sscanf(line, "cpu MHz : %lf", &megahertz);
    if (file != NULL)
        fclose(file);
    return megahertz > 0 ? (unsigned long)megahertz : 2000;
}

/* Lines "cpu", "cpu0", "cpu1"... of /proc/stat as FreeBSD's five counters each; first is 0 for the sum. */
static inline int simulated_cpu_times(void *target, size_t *size, int first, int count) {
    char line[256];
    unsigned long times[CPUSTATES], user, nice, system, idle, iowait, irq, softirq;
    unsigned long tick = (unsigned long)sysconf(_SC_CLK_TCK);
    int number = 0;
    size_t filled = 0;
    FILE *file = fopen("/proc/stat", "re");

    while (file != NULL && fgets(line, sizeof line, file) != NULL && strncmp(line, "cpu", 3) == 0) {
        if (number >= first && number < first + count && (target == NULL || filled + sizeof times <= *size) &&
            sscanf(line, "%*s %lu %lu %lu %lu %lu %lu %lu", &user, &nice, &system, &idle, &iowait, &irq, &softirq) ==
                7) {
            times[CP_USER] = user * SIMULATED_STATHZ / tick;
            times[CP_NICE] = nice * SIMULATED_STATHZ / tick;
            times[CP_SYS] = system * SIMULATED_STATHZ / tick;
            times[CP_INTR] = (irq + softirq) * SIMULATED_STATHZ / tick;
            times[CP_IDLE] = (idle + iowait) * SIMULATED_STATHZ / tick;
            if (target != NULL)
                memcpy((char *)target + filled, times, sizeof times);
            filled += sizeof times;
        }
        number++;
    }
    if (file != NULL)
        fclose(file);
    *size = filled;
    return 0;
}

static inline int sysctlbyname(const char *name, void *target, size_t *size, const void *new_value, size_t new_size) {
    unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
    unsigned long long bytes;

    (void)new_size;
    if (new_value != NULL) {
        errno = EPERM;
        return -1;
    }
    if (strcmp(name, "hw.ncpu") == 0)
        return simulated_store_int(target, size, (unsigned long)sysconf(_SC_NPROCESSORS_ONLN));
    if (strcmp(name, "hw.clockrate") == 0)
        return simulated_store_int(target, size, simulated_clockrate());
    if (strcmp(name, "hw.physmem") == 0 || strcmp(name, "hw.usermem") == 0) {
        bytes = simulated_meminfo(name[3] == 'p' ? "MemTotal" : "MemAvailable");
        return simulated_store(target, size, &bytes, sizeof bytes);
    }
    if (strcmp(name, "vm.stats.vm.v_page_count") == 0)
        return simulated_store_int(target, size, (unsigned long)(simulated_meminfo("MemTotal") / page));
    if (strcmp(name, "vm.stats.vm.v_free_count") == 0)
        return simulated_store_int(target, size, (unsigned long)(simulated_meminfo("MemFree") / page));
    if (strcmp(name, "vm.stats.vm.v_cache_count") == 0)
        return simulated_store_int(target, size, 0);
    if (strcmp(name, "vfs.bufspace") == 0) {
        bytes = simulated_meminfo("Buffers");
        return simulated_store(target, size, &bytes, sizeof bytes);
    }
    if (strcmp(name, "kern.clockrate") == 0) {
        struct clockinfo clock = {.hz = 1000, .tick = 1000, .stathz = SIMULATED_STATHZ, .profhz = 8126};
        return simulated_store(target, size, &clock, sizeof clock);
    }
    if (strcmp(name, "kern.racct.enable") == 0)
        return simulated_store_int(target, size, 0);
    if (strcmp(name, "kern.cp_time") == 0)
        return simulated_cpu_times(target, size, 0, 1);
    if (strcmp(name, "kern.cp_times") == 0)
        return simulated_cpu_times(target, size, 1, (int)sysconf(_SC_NPROCESSORS_ONLN));
    errno = ENOENT;
    return -1;
}

static inline int sysctl(const int *name, unsigned int length, void *target, size_t *size, const void *new_value,
                         size_t new_size) {
    if (length == 2 && name[0] == CTL_HW && name[1] == HW_NCPU)
        return sysctlbyname("hw.ncpu", target, size, new_value, new_size);
    errno = ENOENT;
    return -1;
}

#endif
