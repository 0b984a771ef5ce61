/*
 * libvirtd reads /proc and /sys, which processes of a simulated host do not
 * see. Started without them, it starts itself again where they are.
 */
#ifndef SIMULATED_START_H
#define SIMULATED_START_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SIMULATED_NATIVE "/.sim/bin/native"
#define SIMULATED_DAEMON "/usr/local/sbin/libvirtd"

static void
simulatedStart(int argc, char **argv)
{
    char **again;
    int i;

    if (access("/proc/self", F_OK) == 0)
        return;
    if ((again = calloc((size_t)argc + 2, sizeof(*again))) == NULL)
        exit(EXIT_FAILURE);
    again[0] = (char *)"native";
    again[1] = (char *)SIMULATED_DAEMON;
    for (i = 1; i < argc; i++)
        again[i + 1] = argv[i];
    execv(SIMULATED_NATIVE, again);
    perror(SIMULATED_NATIVE);
    exit(EXIT_FAILURE);
}

#endif
