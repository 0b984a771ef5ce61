/*
 * Stands between ovs-vswitchd and Linux's C library, so that Linux's Open
 * vSwitch meets what FreeBSD's build does (lib/netdev-bsd.c):
 *
 * - A system port is read through BPF with a capture length of 2048 bytes.
 * - A port whose interface was destroyed keeps a handle that is bound to
 *   nothing, and an interface that comes back under the same name is not
 *   opened. Linux's switch does the same with what it reads, but sends
 *   through one socket for all ports, by the interface's present number.
 * - A tap is made and renamed, which fails when the name is taken, and raised.
 *   It outlives the process; only closing its port destroys it.
 * - There is no way to set an MTU.
 * - There is no kernel datapath, and there are no interfaces of type afxdp.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CAPTURE_LENGTH 2048
#define INDEXES 65536     /* of interfaces; what is above is always sent */
#define DESCRIPTORS 65536 /* taps at higher numbers go with the process */

static int readers[INDEXES];     /* the descriptor that reads an interface, by its index */
static char fresh_tap[IFNAMSIZ]; /* opened, and its flags not set yet */

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

int bind(int fd, const struct sockaddr *address, socklen_t length) {
    static int (*next)(int, const struct sockaddr *, socklen_t);
    if (next == NULL)
        next = real("bind");
    int status = next(fd, address, length);
    if (status == 0 && address->sa_family == AF_PACKET) {
        int index = ((const struct sockaddr_ll *)address)->sll_ifindex;
        if (index > 0 && index < INDEXES)
            readers[index] = fd;
    }
    return status;
}

/* Linux takes the number out of a socket's address when the interface goes. */
static int is_read(int index) {
    struct sockaddr_ll address;
    socklen_t length = sizeof address;
    return getsockname(readers[index], (struct sockaddr *)&address, &length) == 0 &&
           address.sll_family == AF_PACKET && address.sll_ifindex == index;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout) {
    static int (*next)(int, struct mmsghdr *, unsigned, int, struct timespec *);
    if (next == NULL)
        next = real("recvmmsg");
    int got = next(fd, messages, count, flags, timeout);
    for (int i = 0; i < got; i++)
        if (messages[i].msg_len > CAPTURE_LENGTH)
            messages[i].msg_len = CAPTURE_LENGTH;
    return got;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    static int (*next)(int, struct mmsghdr *, unsigned, int);
    if (next == NULL)
        next = real("sendmmsg");
    const struct sockaddr_ll *to = count > 0 ? messages[0].msg_hdr.msg_name : NULL;
    if (to != NULL && to->sll_family == AF_PACKET && to->sll_ifindex > 0 && to->sll_ifindex < INDEXES &&
        !is_read(to->sll_ifindex)) {
        errno = ENXIO;
        return -1;
    }
    return next(fd, messages, count, flags);
}

static unsigned char taps[DESCRIPTORS]; /* whether a descriptor is a tap's */

static void raise_tap(int (*next)(int, unsigned long, ...), const char *name) {
    struct ifreq request = {0};
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memcpy(request.ifr_name, name, IFNAMSIZ);
    if (control >= 0 && next(control, SIOCGIFFLAGS, &request) == 0) {
        request.ifr_flags |= IFF_UP;
        next(control, SIOCSIFFLAGS, &request);
    }
    if (control >= 0)
        close(control);
}

static int open_tap(int (*next)(int, unsigned long, ...), int fd, struct ifreq *request) {
    if (if_nametoindex(request->ifr_name) != 0) {
        errno = EEXIST;
        return -1;
    }
    int status = next(fd, TUNSETIFF, request);
    if (status == 0 && fd < DESCRIPTORS) {
        taps[fd] = 1;
        next(fd, TUNSETPERSIST, 1);
        memcpy(fresh_tap, request->ifr_name, IFNAMSIZ);
        raise_tap(next, request->ifr_name);
    }
    return status;
}

int ioctl(int fd, unsigned long request, ...) {
    static int (*next)(int, unsigned long, ...);
    if (next == NULL)
        next = real("ioctl");
    va_list list;
    va_start(list, request);
    struct ifreq *argument = va_arg(list, struct ifreq *);
    va_end(list);
    if (request == TUNSETIFF)
        return open_tap(next, fd, argument);
    if (request == SIOCSIFMTU) {
        errno = EOPNOTSUPP;
        return -1;
    }
    /* It works from the flags that it saw before the tap was raised. */
    if (request == SIOCSIFFLAGS && strncmp(argument->ifr_name, fresh_tap, IFNAMSIZ) == 0) {
        fresh_tap[0] = '\0';
        argument->ifr_flags |= IFF_UP;
    }
    return next(fd, request, argument);
}

int close(int fd) {
    static int (*next)(int);
    if (next == NULL)
        next = real("close");
    if (fd >= 0 && fd < DESCRIPTORS && taps[fd]) {
        taps[fd] = 0;
        ioctl(fd, TUNSETPERSIST, 0);
    }
    return next(fd);
}

/* Linux's module for the kernel datapath may be loaded: its name is asked for in a message. */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    static ssize_t (*next)(int, const struct msghdr *, int);
    static const char family[] = "ovs_";
    if (next == NULL)
        next = real("sendmsg");
    struct sockaddr_storage own;
    socklen_t length = sizeof own;
    int netlink = getsockname(fd, (struct sockaddr *)&own, &length) == 0 && own.ss_family == AF_NETLINK;
    for (size_t i = 0; netlink && i < message->msg_iovlen; i++) {
        char *at = memmem(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len, family, sizeof family - 1);
        if (at != NULL)
            *at = '-';
    }
    return next(fd, message, flags);
}

/* Blanks out the words of a JSON text that stand after a column's name. */
static void blank(char *text, size_t length, const char *column, const char *const *words) {
    char *at = memmem(text, length, column, strlen(column));
    if (at == NULL)
        return;
    char *end = memchr(at, '}', (size_t)(text + length - at));
    for (; *words != NULL; words++) {
        char *limit = end != NULL ? end : text + length;
        char *word = memmem(at, (size_t)(limit - at), *words, strlen(*words));
        if (word != NULL)
            memset(word, ' ', strlen(*words));
    }
}

ssize_t send(int fd, const void *data, size_t length, int flags) {
    static ssize_t (*next)(int, const void *, size_t, int);
    static const char *const interfaces[] = {"\"afxdp\",", "\"afxdp-nonpmd\",", "\"dpdk\",", "\"dpdkvhostuser\",",
                                             "\"dpdkvhostuserclient\",", NULL};
    static const char *const datapaths[] = {",\"system\"", NULL};
    if (next == NULL)
        next = real("send");
    if (memmem(data, length, "\"iface_types\"", 13) == NULL && memmem(data, length, "\"datapath_types\"", 16) == NULL)
        return next(fd, data, length, flags);
    char *copy = malloc(length);
    if (copy == NULL)
        return next(fd, data, length, flags);
    memcpy(copy, data, length);
    blank(copy, length, "\"iface_types\":", interfaces);
    blank(copy, length, "\"datapath_types\":", datapaths);
    ssize_t sent = next(fd, copy, length, flags);
    free(copy);
    return sent;
}
