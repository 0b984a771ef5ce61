/* expand_number(3) for libvirt's bhyve driver on Linux: "2G" and the like. */
#ifndef SIMULATED_LIBUTIL_H
#define SIMULATED_LIBUTIL_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

static inline int expand_number(const char *text, uint64_t *result) {
    char *end;
    unsigned shift;

    errno = 0;
    *result = strtoull(text, &end, 0);
    if (end == text || errno != 0) {
        if (errno == 0)
            errno = EINVAL;
        return -1;
    }
    switch (*end | 0x20) {
    case 'e': shift = 60; break;
    case 'p': shift = 50; break;
    case 't': shift = 40; break;
    case 'g': shift = 30; break;
    case 'm': shift = 20; break;
    case 'k': shift = 10; break;
    case 'b':
    case 0x20: shift = 0; break;
    default: errno = EINVAL; return -1;
    }
    if ((*result << shift) >> shift != *result) {
        errno = ERANGE;
        return -1;
    }
    *result <<= shift;
    return 0;
}

#endif
