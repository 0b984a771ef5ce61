/*
 * libc.so.7 of the simulated host: FreeBSD's C library calls that Linux does
 * not have, for programs that reach them by ctypes. It stands in front of
 * Linux's C library, which is its dependency and answers all other names.
 *
 * What only the simulated kernel knows is asked of process 1 of the host:
 * a 4-byte length, "S" and a JSON object; the answer is "R" and a JSON object
 * {"result": ...} or {"errno": NAME, "text": TEXT}, with descriptors beside.
 *
 * errno has Linux's numbers, as everything else inside the host.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SOCKET_PATH
#define SOCKET_PATH "/.sim/kernel.sock"
#endif
#define LONGEST_ANSWER (16u << 20)

/* Text that grows. */
struct text {
    char *data;
    size_t length, room;
    int failed;
};

static void add(struct text *text, const char *data, size_t length) {
    if (text->length + length + 1 > text->room) {
        size_t room = (text->room + length + 64) * 2;
        char *grown = realloc(text->data, room);
        if (grown == NULL) {
            text->failed = 1;
            return;
        }
        text->data = grown;
        text->room = room;
    }
    memcpy(text->data + text->length, data, length);
    text->length += length;
    text->data[text->length] = '\0';
}

static void add_plain(struct text *text, const char *words) { add(text, words, strlen(words)); }

static void add_format(struct text *text, const char *format, ...) {
    char buffer[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    add_plain(text, buffer);
}

static void add_string(struct text *text, const char *words, size_t length) {
    add_plain(text, "\"");
    for (size_t i = 0; i < length && words[i] != '\0'; i++) {
        unsigned char byte = (unsigned char)words[i];
        if (byte == '"' || byte == '\\' || byte < 0x20)
            add_format(text, "\\u%04x", byte);
        else
            add(text, words + i, 1);
    }
    add_plain(text, "\"");
}

/* JSON: only what the kernel's answers need. */

static const char *skip_string(const char *at) { /* at the opening quote; returns behind the closing one */
    for (at++; *at != '\0' && *at != '"'; at++)
        if (*at == '\\' && at[1] != '\0')
            at++;
    return *at == '"' ? at + 1 : at;
}

static const char *find_key(const char *json, const char *key) {
    size_t length = strlen(key);
    for (const char *at = json; at != NULL && *at != '\0';) {
        if (*at != '"') {
            at++;
            continue;
        }
        const char *end = skip_string(at);
        if (*end == ':' && (size_t)(end - at) == length + 2 && strncmp(at + 1, key, length) == 0) {
            end++;
            return end + strspn(end, " ");
        }
        at = end;
    }
    return NULL;
}

static void put_character(struct text *text, unsigned code) {
    char bytes[4];
    size_t count = 1;
    if (code >= 0xDC80 && code <= 0xDCFF) { /* a byte that is no UTF-8, as Python writes it */
        bytes[0] = (char)(code - 0xDC00);
    } else if (code < 0x80) {
        bytes[0] = (char)code;
    } else if (code < 0x800) {
        bytes[0] = (char)(0xC0 | code >> 6);
        bytes[1] = (char)(0x80 | (code & 0x3F));
        count = 2;
    } else if (code < 0x10000) {
        bytes[0] = (char)(0xE0 | code >> 12);
        bytes[1] = (char)(0x80 | (code >> 6 & 0x3F));
        bytes[2] = (char)(0x80 | (code & 0x3F));
        count = 3;
    } else {
        bytes[0] = (char)(0xF0 | code >> 18);
        bytes[1] = (char)(0x80 | (code >> 12 & 0x3F));
        bytes[2] = (char)(0x80 | (code >> 6 & 0x3F));
        bytes[3] = (char)(0x80 | (code & 0x3F));
        count = 4;
    }
    add(text, bytes, count);
}

static unsigned read_hexadecimal(const char *at) {
    char digits[5] = {0};
    strncpy(digits, at, 4);
    return (unsigned)strtoul(digits, NULL, 16);
}

/* Decodes a string, or takes a number, true or false as it is written. The caller frees the data. */
static struct text take_value(const char *at) {
    struct text text = {0};
    add(&text, "", 0);
    if (at == NULL)
        return text;
    if (*at != '"') {
        add(&text, at, strcspn(at, ",]} "));
        return text;
    }
    const char *plain = "\"\\/bfnrt", *meant = "\"\\/\b\f\n\r\t", *found;
    for (at++; *at != '\0' && *at != '"'; at++) {
        if (*at != '\\') {
            add(&text, at, 1);
        } else if (*++at == 'u') {
            unsigned code = read_hexadecimal(at + 1);
            at += strnlen(at, 5) - 1;
            if (code >= 0xD800 && code < 0xDC00 && at[1] == '\\' && at[2] == 'u') {
                code = 0x10000 + ((code - 0xD800) << 10) + (read_hexadecimal(at + 3) - 0xDC00);
                at += 6;
            }
            put_character(&text, code);
        } else if (*at != '\0' && (found = strchr(plain, *at)) != NULL) {
            add(&text, meant + (found - plain), 1);
        } else {
            break;
        }
    }
    return text;
}

/* The kernel. */

static const struct {
    const char *name;
    int number;
} ERRORS[] = {
    {"EPERM", EPERM},       {"ENOENT", ENOENT}, {"ESRCH", ESRCH},   {"EIO", EIO},       {"ENXIO", ENXIO},
    {"EBADF", EBADF},       {"ENOMEM", ENOMEM}, {"EACCES", EACCES}, {"EBUSY", EBUSY},   {"EEXIST", EEXIST},
    {"ENODEV", ENODEV},     {"EINVAL", EINVAL}, {"ENFILE", ENFILE}, {"EMFILE", EMFILE}, {"ENOTDIR", ENOTDIR},
    {"EISDIR", EISDIR},     {"ENOSPC", ENOSPC}, {"EAGAIN", EAGAIN}, {"ERANGE", ERANGE}, {"ENAMETOOLONG", ENAMETOOLONG},
    {"EOPNOTSUPP", ENOTSUP}, {"ENOSYS", ENOSYS},
};

static int error_number(const char *name) {
    for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (strcmp(ERRORS[i].name, name) == 0)
            return ERRORS[i].number;
    return EIO;
}

static int transfer(int fd, char *data, size_t length, int out) {
    while (length > 0) {
        ssize_t done = out ? send(fd, data, length, MSG_NOSIGNAL) : read(fd, data, length);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return -1;
        data += done;
        length -= (size_t)done;
    }
    return 0;
}

static char *exchange(int fd, struct text *request, int *descriptor) {
    uint32_t header = (uint32_t)request->length;
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {&header, sizeof header};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET_PATH};
    ssize_t got;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        transfer(fd, (char *)&header, sizeof header, 1) != 0 || transfer(fd, request->data, request->length, 1) != 0)
        return NULL;
    do
        got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
    while (got < 0 && errno == EINTR);
    if (got != sizeof header || header == 0 || header > LONGEST_ANSWER)
        return NULL;
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);
    if (item != NULL && item->cmsg_type == SCM_RIGHTS)
        memcpy(descriptor, CMSG_DATA(item), sizeof *descriptor);
    char *answer = malloc((size_t)header + 1);
    if (answer != NULL && transfer(fd, answer, header, 0) != 0) {
        free(answer);
        return NULL;
    }
    if (answer != NULL)
        answer[header] = '\0';
    return answer;
}

/*
 * Makes a system call; frees the request. Returns the answer's JSON, for the
 * caller to free from one byte before, or NULL with errno; the kernel's own
 * text is copied to message if that is given.
 */
static char *call_kernel(struct text *request, int *descriptor, char *message, size_t room) {
    int none = -1, *given = descriptor != NULL ? descriptor : &none;
    *given = -1;
    char *answer = NULL;
    int fd = request->failed ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        answer = exchange(fd, request, given);
    if (fd >= 0)
        close(fd);
    free(request->data);
    if (descriptor == NULL && none >= 0)
        close(none);
    if (answer == NULL) {
        errno = EIO;
        return NULL;
    }
    if (strncmp(answer + 1, "{\"errno\"", 8) != 0)
        return answer + 1;
    struct text name = take_value(find_key(answer + 1, "errno")), words = take_value(find_key(answer + 1, "text"));
    if (message != NULL && room > 0)
        snprintf(message, room, "%s", words.data != NULL ? words.data : "");
    int number = error_number(name.data != NULL ? name.data : "");
    free(name.data);
    free(words.data);
    free(answer);
    errno = number;
    return NULL;
}

static void release(char *json) { free(json - 1); }

/* jail(2) */

#define JAIL_ATTACH 0x04

static const char *const JAILSYS[] = {"disable", "new", "inherit"};

static int is_in(const char *name, const char *const *names) {
    for (; *names != NULL; names++)
        if (strcmp(name, *names) == 0)
            return 1;
    return 0;
}

static int is_jailsys(const char *name) {
    static const char *const names[] = {"vnet", "host", "ip4", "ip6", "sysvmsg", "sysvsem", "sysvshm", "zfs", NULL};
    return is_in(name, names);
}

static int is_number(const char *name) {
    static const char *const names[] = {"jid",         "lastjid",        "parent",     "securelevel", "devfs_ruleset",
                                        "children.max", "children.cur", "enforce_statfs", "osreldate",  "cpuset.id",
                                        "host.hostid", "zfs.mount_snapshot", "dying", NULL};
    return is_in(name, names);
}

static int is_truth(const char *name) {
    static const char *const names[] = {"persist", "dying", "ip4.saddrsel", "ip6.saddrsel", NULL};
    return strncmp(name, "allow.", 6) == 0 || is_in(name, names);
}

static void add_addresses(struct text *text, const struct iovec *value, int family) {
    size_t size = family == AF_INET ? 4 : 16;
    char words[INET6_ADDRSTRLEN];
    add_plain(text, "\"");
    for (size_t i = 0; i + size <= value->iov_len; i += size) {
        inet_ntop(family, (char *)value->iov_base + i, words, sizeof words);
        add_format(text, "%s%s", i > 0 ? "," : "", words);
    }
    add_plain(text, "\"");
}

static void add_parameter(struct text *text, const char *name, const struct iovec *value) {
    int number = 0;
    if (value->iov_len >= sizeof number && value->iov_base != NULL)
        memcpy(&number, value->iov_base, sizeof number);
    add_string(text, name, strlen(name));
    add_plain(text, ": ");
    if (value->iov_base == NULL || value->iov_len == 0)
        add_plain(text, "null");
    else if (is_jailsys(name) && number >= 0 && number <= 2)
        add_format(text, "\"%s\"", JAILSYS[number]);
    else if (is_number(name))
        add_format(text, "\"%d\"", number);
    else if (strcmp(name, "ip4.addr") == 0)
        add_addresses(text, value, AF_INET);
    else if (strcmp(name, "ip6.addr") == 0)
        add_addresses(text, value, AF_INET6);
    else
        add_string(text, value->iov_base, value->iov_len);
}

static int write_back(const char *name, struct iovec *value, const char *words) {
    if (value->iov_base == NULL)
        return 0;
    if (is_jailsys(name) || is_number(name) || is_truth(name)) {
        int number = strcmp(words, "true") == 0 ? 1 : atoi(words);
        for (int i = 0; is_jailsys(name) && i < 3; i++)
            if (strcmp(words, JAILSYS[i]) == 0)
                number = i;
        if (value->iov_len != sizeof number)
            return -1;
        memcpy(value->iov_base, &number, sizeof number);
        return 0;
    }
    size_t length = strlen(words) + 1;
    if (length > value->iov_len)
        return -1;
    memcpy(value->iov_base, words, length);
    value->iov_len = length;
    return 0;
}

static int enter(int space, const char *path) {
    int failed = space < 0 || setns(space, CLONE_NEWNET) != 0;
    if (space >= 0)
        close(space);
    if (!failed && path != NULL && *path != '\0' && strcmp(path, "/") != 0)
        failed = chroot(path) != 0 || chdir("/") != 0;
    return failed ? -1 : 0;
}

static int attach(int jid) {
    struct text request = {0};
    int space = -1;
    add_plain(&request, "S{\"call\": \"jail_attach\"");
    add_format(&request, ", \"jid\": %d}", jid);
    char *json = call_kernel(&request, &space, NULL, 0);
    if (json == NULL)
        return -1;
    struct text path = take_value(find_key(json, "path"));
    int result = enter(space, path.data);
    free(path.data);
    release(json);
    return result;
}

static int jail_call(const char *call, struct iovec *iov, unsigned count, int flags) {
    struct text request = {0};
    struct iovec *message = NULL;
    int keys = 0, space = -1, setting = strcmp(call, "jail_set") == 0;
    if (count % 2 != 0) {
        errno = EINVAL;
        return -1;
    }
    add_plain(&request, "S{\"call\": ");
    add_string(&request, call, strlen(call));
    add_format(&request, ", \"flags\": %d, \"params\": {", flags);
    for (unsigned i = 0; i < count; i += 2) {
        const char *name = iov[i].iov_base;
        if (strcmp(name, "errmsg") == 0) {
            message = &iov[i + 1];
            continue;
        }
        if (!setting && strcmp(name, "lastjid") != 0 && strcmp(name, "jid") != 0 && strcmp(name, "name") != 0)
            continue;
        if (keys++ > 0)
            add_plain(&request, ", ");
        add_parameter(&request, name, &iov[i + 1]);
    }
    add_plain(&request, "}}");
    char *json = call_kernel(&request, &space, message != NULL ? message->iov_base : NULL,
                             message != NULL ? message->iov_len : 0);
    if (json == NULL)
        return -1;
    struct text number = take_value(find_key(json, "jid"));
    int jid = atoi(number.data), failed = 0;
    free(number.data);
    for (unsigned i = 0; !setting && i < count; i += 2) {
        const char *name = iov[i].iov_base, *found = find_key(json, name);
        if (strcmp(name, "errmsg") == 0 || strcmp(name, "lastjid") == 0)
            continue;
        struct text words = take_value(found);
        if (found == NULL || write_back(name, &iov[i + 1], words.data) != 0)
            failed = 1;
        free(words.data);
    }
    release(json);
    if (setting && (flags & JAIL_ATTACH) != 0)
        failed = enter(space, NULL) != 0;
    else if (space >= 0)
        close(space);
    if (failed)
        errno = EINVAL;
    return failed ? -1 : jid;
}

int jail_set(struct iovec *iov, unsigned count, int flags) { return jail_call("jail_set", iov, count, flags); }
int jail_get(struct iovec *iov, unsigned count, int flags) { return jail_call("jail_get", iov, count, flags); }
int jail_attach(int jid) { return attach(jid); }

int jail_remove(int jid) {
    struct text request = {0};
    add_format(&request, "S{\"call\": \"jail_remove\", \"jid\": %d}", jid);
    char *json = call_kernel(&request, NULL, NULL, 0);
    if (json == NULL)
        return -1;
    release(json);
    return 0;
}

/* libjail */

char jail_errmsg[1024];

int jail_getid(const char *name) {
    char *end;
    long number = strtol(name, &end, 10);
    int jid = (int)number;
    if (*name == '0' && *end == '\0' && number == 0)
        return 0;
    struct iovec iov[4] = {
        {"name", 5}, {(void *)(uintptr_t)name, strlen(name) + 1}, {"errmsg", 7}, {jail_errmsg, sizeof jail_errmsg}};
    if (*name != '\0' && *end == '\0') {
        iov[0] = (struct iovec){"jid", 4};
        iov[1] = (struct iovec){&jid, sizeof jid};
    }
    jail_errmsg[0] = '\0';
    /* The name is only a key here: jail_get would write it back over the caller's text. */
    char copy[256];
    if (iov[1].iov_base == (void *)(uintptr_t)name) {
        snprintf(copy, sizeof copy, "%s", name);
        iov[1] = (struct iovec){copy, sizeof copy};
    }
    int found = jail_get(iov, 4, 0);
    if (found < 0 && jail_errmsg[0] == '\0')
        snprintf(jail_errmsg, sizeof jail_errmsg, "jail_get: %s", strerror(errno));
    return found;
}

char *jail_getname(int jid) {
    char name[256] = "";
    struct iovec iov[6] = {{"jid", 4},  {&jid, sizeof jid}, {"name", 5},
                           {name, sizeof name}, {"errmsg", 7}, {jail_errmsg, sizeof jail_errmsg}};
    jail_errmsg[0] = '\0';
    if (jail_get(iov, 6, 0) < 0) {
        if (jail_errmsg[0] == '\0')
            snprintf(jail_errmsg, sizeof jail_errmsg, "jail_get: %s", strerror(errno));
        return NULL;
    }
    return strdup(name);
}

/* sysctl(3) */

static int give_back(const char *data, size_t length, void *old, size_t *room) {
    if (room == NULL)
        return 0;
    size_t given = *room;
    *room = length;
    if (old == NULL)
        return 0;
    memcpy(old, data, length < given ? length : given);
    if (length > given) {
        *room = given;
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

static size_t size_of_kind(const char *kind) {
    if (strcmp(kind, "u8") == 0)
        return 1;
    return strstr(kind, "long") != NULL || strstr(kind, "64") != NULL ? 8 : 4;
}

static int read_variable(const char *json, void *old, size_t *room) {
    struct text kind = take_value(find_key(json, "kind")), data = {0};
    const char *format = find_key(json, "format");
    const char *at = find_key(json, "value");
    int result;
    if (at != NULL && *at == '"') {
        struct text words = take_value(at);
        result = give_back(words.data, words.length + 1, old, room);
        free(words.data);
    } else if (at != NULL && format != NULL && strncmp(format, "\"S", 2) != 0) {
        size_t size = size_of_kind(kind.data);
        if (*at == '[')
            at++;
        for (; *at != '\0' && *at != ']' && *at != '}'; at += strcspn(at, ",]}"), at += strspn(at, ", ")) {
            long long number = *at == '-' ? strtoll(at, NULL, 10) : (long long)strtoull(at, NULL, 10);
            add(&data, (const char *)&number, size);
        }
        result = give_back(data.data, data.length, old, room);
        free(data.data);
    } else {
        errno = ENOTSUP; /* a structure: not simulated */
        result = -1;
    }
    free(kind.data);
    return result;
}

static int write_variable(const char *name, const char *kind, const void *new, size_t length) {
    struct text request = {0};
    add_plain(&request, "S{\"call\": \"sysctl.write\", \"name\": ");
    add_string(&request, name, strlen(name));
    add_plain(&request, ", \"value\": ");
    if (strcmp(kind, "string") == 0) {
        add_string(&request, new, length);
    } else {
        long long number = 0;
        if (length != size_of_kind(kind)) {
            free(request.data);
            errno = EINVAL;
            return -1;
        }
        memcpy(&number, new, length);
        if (*kind != 'u' && length == 4)
            number = (int)number;
        add_format(&request, "%lld", number);
    }
    add_plain(&request, "}");
    char *json = call_kernel(&request, NULL, NULL, 0);
    if (json == NULL)
        return -1;
    release(json);
    return 0;
}

int sysctlbyname(const char *name, void *old, size_t *room, const void *new, size_t length) {
    struct text request = {0};
    add_plain(&request, "S{\"call\": \"sysctl.read\", \"name\": ");
    add_string(&request, name, strlen(name));
    add_plain(&request, "}");
    char *json = call_kernel(&request, NULL, NULL, 0);
    if (json == NULL)
        return -1;
    int result = read_variable(json, old, room);
    if (result == 0 && new != NULL) {
        struct text kind = take_value(find_key(json, "kind"));
        result = write_variable(name, kind.data, new, length);
        free(kind.data);
    }
    release(json);
    return result;
}

/* Only CTL_KERN, KERN_PROC (1, 14) with ARGS 7, PATHNAME 12 and ENV 35. */
int sysctl(const int *mib, unsigned count, void *old, size_t *room, const void *new, size_t length) {
    (void)length;
    const char *call = NULL;
    if (count == 4 && mib[0] == 1 && mib[1] == 14 && new == NULL)
        call = mib[2] == 7 ? "proc.get" : mib[2] == 12 ? "proc.pathname" : mib[2] == 35 ? "proc.environment" : NULL;
    if (call == NULL) {
        errno = ENOENT;
        return -1;
    }
    struct text request = {0}, data = {0};
    add_format(&request, "S{\"call\": \"%s\", \"pid\": %d}", call, mib[3]);
    char *json = call_kernel(&request, NULL, NULL, 0);
    if (json == NULL)
        return -1;
    const char *at = find_key(json, mib[2] == 7 ? "argv" : "result");
    for (at = at != NULL && *at == '[' ? at + 1 : at; at != NULL && *at == '"'; at += strspn(at, ", ")) {
        struct text words = take_value(at);
        add(&data, words.data, words.length + 1);
        free(words.data);
        at = skip_string(at);
    }
    release(json);
    int result = give_back(data.data != NULL ? data.data : "", data.length, old, room);
    free(data.data);
    return result;
}

/* procctl(2) */

enum {
    REAP_ACQUIRE = 2, REAP_RELEASE, REAP_STATUS, TRACE_CTL = 7, TRACE_STATUS, PDEATHSIG_CTL = 11, PDEATHSIG_STATUS,
    NO_NEW_PRIVS_CTL = 19, NO_NEW_PRIVS_STATUS
};

int procctl(int idtype, int64_t id, int command, void *data) {
    int *number = data;
    if (idtype != 0 || (id != 0 && id != getpid())) {
        errno = idtype == 0 ? EPERM : EINVAL; /* other processes: not simulated */
        return -1;
    }
    switch (command) {
    case REAP_ACQUIRE:
        return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    case REAP_RELEASE:
        return prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    case TRACE_CTL:
        if (*number < 1 || *number > 3)
            break;
        return prctl(PR_SET_DUMPABLE, *number == 1, 0, 0, 0);
    case TRACE_STATUS:
        *number = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 ? 0 : -1; /* no debugger; -1: tracing is off */
        return 0;
    case PDEATHSIG_CTL:
        if (*number < 0 || *number >= NSIG)
            break;
        return prctl(PR_SET_PDEATHSIG, *number, 0, 0, 0);
    case PDEATHSIG_STATUS:
        return prctl(PR_GET_PDEATHSIG, number, 0, 0, 0);
    case NO_NEW_PRIVS_CTL:
        if (*number != 1)
            break;
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    case NO_NEW_PRIVS_STATUS:
        *number = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 1 : 2;
        return 0;
    }
    errno = EINVAL;
    return -1;
}

/* The rest. */

int *__error(void) { return &errno; }

int getpeereid(int fd, uid_t *uid, gid_t *gid) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
        return -1;
    if (peer.pid == 0 && peer.gid == (gid_t)-1) {
        errno = ENOTCONN;
        return -1;
    }
    *uid = peer.uid;
    *gid = peer.gid;
    return 0;
}

int setfib(int fib) { /* net.fibs is 1 */
    if (fib == 0)
        return 0;
    errno = EINVAL;
    return -1;
}

int issetugid(void) { return getauxval(AT_SECURE) != 0; }

int getosreldate(void) {
    int number = 0;
    size_t length = sizeof number;
    return sysctlbyname("kern.osreldate", &number, &length, NULL, 0) == 0 ? number : -1;
}
