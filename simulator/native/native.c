/*
 * Runs a Linux program of the simulated host that cannot live without /proc,
 * /sys and /dev/net/tun, in a mount namespace of its own where they are there.
 * Root only; for others the program is run as it is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: native program [argument ...]\n");
        return 64;
    }
    if (geteuid() == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0 ||
            mount("proc", "/proc", "proc", 0, NULL) != 0 || mount("sysfs", "/sys", "sysfs", 0, NULL) != 0 ||
            mount("/.sim/net", "/dev/net", NULL, MS_BIND, NULL) != 0) {
            fprintf(stderr, "native: %s\n", strerror(errno));
            return 71;
        }
    }
    /* A Python that is started so is Linux's own. */
    setenv("FREEBSD_SIM_NATIVE", "1", 1);
    execv(argv[1], argv + 1);
    fprintf(stderr, "native: %s: %s\n", argv[1], strerror(errno));
    return 127;
}
