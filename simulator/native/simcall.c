/*
 * The client behind every simulated FreeBSD command.
 *
 * It hands its arguments, environment, working directory and its descriptors
 * 0, 1 and 2 to process 1 of the simulated host, waits, and exits with the
 * status that process 1 names; or it becomes the program that process 1 names.
 *
 * A message is a 4-byte length (native order) and that many bytes. Request:
 * "C", then strings that end with NUL: argc, argv..., cwd, environment...
 * Answer: "X" and a decimal status; or "E" (with one descriptor, if a network
 * namespace is to be entered) and strings: uid, gid, number of groups,
 * groups..., cwd, text and status for a failed exec, program, argc, argv...,
 * environment... An id of -1 means "leave as it is".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_PATH "/.sim/kernel.sock"
#define EX_OSERR 71

extern char **environ;

static void die(const char *what) {
    fprintf(stderr, "freebsd-sim: %s: %s\n", what, strerror(errno));
    exit(EX_OSERR);
}

static void append(char **buffer, size_t *length, const char *text) {
    size_t more = strlen(text) + 1;
    char *grown = realloc(*buffer, *length + more);
    if (grown == NULL)
        die("memory");
    memcpy(grown + *length, text, more);
    *buffer = grown;
    *length += more;
}

static void send_request(int fd, const char *data, size_t length) {
    unsigned int header = (unsigned int)length;
    int descriptors[3] = {0, 1, 2};
    char control[CMSG_SPACE(sizeof descriptors)];
    struct iovec part = {&header, sizeof header};
    struct msghdr message = {0};
    memset(control, 0, sizeof control);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof descriptors);
    memcpy(CMSG_DATA(item), descriptors, sizeof descriptors);
    if (sendmsg(fd, &message, MSG_NOSIGNAL) != sizeof header)
        die("cannot reach the simulated kernel");
    while (length > 0) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            die("cannot reach the simulated kernel");
        data += sent;
        length -= (size_t)sent;
    }
}

static void read_all(int fd, char *buffer, size_t length) {
    while (length > 0) {
        ssize_t got = read(fd, buffer, length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            fprintf(stderr, "freebsd-sim: the simulated kernel is gone\n");
            exit(EX_OSERR);
        }
        buffer += got;
        length -= (size_t)got;
    }
}

static char *receive_answer(int fd, size_t *length, int *space) {
    unsigned int header = 0;
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {&header, sizeof header};
    struct msghdr message = {0};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t got;
    do
        got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
    while (got < 0 && errno == EINTR);
    if (got != sizeof header) {
        fprintf(stderr, "freebsd-sim: the simulated kernel is gone\n");
        exit(EX_OSERR);
    }
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);
    if (item != NULL && item->cmsg_type == SCM_RIGHTS)
        memcpy(space, CMSG_DATA(item), sizeof *space);
    *length = header;
    char *data = malloc(*length + 1);
    if (data == NULL)
        die("memory");
    read_all(fd, data, *length);
    data[*length] = '\0';
    return data;
}

static char *cursor;

static char *next_text(void) {
    char *text = cursor;
    cursor += strlen(cursor) + 1;
    return text;
}

static long next_number(void) { return strtol(next_text(), NULL, 10); }

static int become(char *data, size_t length, int space) {
    char *end = data + length;
    cursor = data + 1;
    /* Where the file is set-user-ID (mdo), the kernel has judged the caller by now. */
    if (getuid() != 0 && seteuid(0) != 0 && errno != EPERM)
        die("seteuid");
    long uid = next_number(), gid = next_number(), group_count = next_number();
    gid_t *groups = calloc(group_count > 0 ? (size_t)group_count : 1, sizeof *groups);
    for (long i = 0; i < group_count; i++)
        groups[i] = (gid_t)next_number();
    char *cwd = next_text(), *fail_text = next_text();
    int fail_status = (int)next_number();
    char *program = next_text();
    long argc = next_number();
    char **argv = calloc((size_t)argc + 1, sizeof *argv);
    for (long i = 0; i < argc; i++)
        argv[i] = next_text();
    size_t count = 0, room = 64;
    char **environment = malloc(room * sizeof *environment);
    while (cursor < end) {
        if (count + 2 > room)
            environment = realloc(environment, (room *= 2) * sizeof *environment);
        environment[count++] = next_text();
    }
    environment[count] = NULL;
    if (space >= 0 && setns(space, CLONE_NEWNET) != 0)
        die("cannot enter the jail's network");
    if (*cwd != '\0' && chdir(cwd) != 0)
        die(cwd);
    if (group_count >= 0 && setgroups((size_t)group_count, groups) != 0)
        die("setgroups");
    if (gid >= 0 && setresgid((gid_t)gid, (gid_t)gid, (gid_t)gid) != 0)
        die("setresgid");
    if (uid >= 0 && setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) != 0)
        die("setresuid");
    environ = environment;
    execvpe(program, argv, environment);
    fprintf(stderr, "%s%s\n", fail_text, strerror(errno));
    return fail_status;
}

int main(int argc, char **argv) {
    char *request = NULL, number[24], cwd[4096];
    /* The kernel is to see who calls, not who owns a set-user-ID file; other programs keep their effective user. */
    struct stat file;
    const char *path = (const char *)getauxval(AT_EXECFN);
    int set_user_id = stat(path, &file) == 0 && (file.st_mode & S_ISUID) != 0;
    if (set_user_id && geteuid() != getuid() && seteuid(getuid()) != 0)
        die("seteuid");
    size_t length = 0;
    append(&request, &length, "C");
    length = 1; /* the NUL after the C is not part of the message */
    snprintf(number, sizeof number, "%d", argc);
    append(&request, &length, number);
    /* The command is the file that was executed, whatever argv[0] says. */
    const char *name = strrchr(path, '/');
    append(&request, &length, name != NULL ? name + 1 : path);
    for (int i = 1; i < argc; i++)
        append(&request, &length, argv[i]);
    append(&request, &length, getcwd(cwd, sizeof cwd) != NULL ? cwd : "/");
    for (char **item = environ; *item != NULL; item++)
        append(&request, &length, *item);
    /* A program may be started with one of its three descriptors closed. */
    for (int i = 0; i < 3; i++)
        if (fcntl(i, F_GETFD) < 0 && open("/dev/null", O_RDWR) != i)
            die("/dev/null");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET_PATH};
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("cannot reach the simulated kernel");
    send_request(fd, request, length);
    int space = -1;
    size_t answer_length = 0;
    char *answer = receive_answer(fd, &answer_length, &space);
    if (answer[0] == 'E')
        return become(answer, answer_length, space);
    return atoi(answer + 1);
}
