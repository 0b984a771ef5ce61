/*
 * ifconfig(8) for libvirt on Linux, in the place of FreeBSD's ioctls for
 * interfaces, so that the simulated kernel does what they do.
 */
#ifndef SIMULATED_IFCONFIG_H
#define SIMULATED_IFCONFIG_H

#include <errno.h>
#include <string.h>

#include "viralloc.h"
#include "vircommand.h"

#define SIMULATED_IFCONFIG "/sbin/ifconfig"

/* Returns 0, or -1 with errno as the ioctl would have set it, by the reason that ifconfig(8) prints. */
static int
simulatedIfconfig(const char *first, const char *second, const char *third, char **output)
{
    static const struct { const char *text; int number; } reasons[] = {
        { "File exists", EEXIST },
        { "Device busy", EBUSY },
        { "Device not configured", ENXIO },
        { "does not exist", ENXIO },
        { "Invalid argument", EINVAL },
        { "Operation not permitted", EPERM },
        { "Permission denied", EACCES },
    };
    g_autoptr(virCommand) cmd = virCommandNewArgList(SIMULATED_IFCONFIG, first, second, NULL);
    g_autofree char *complaint = NULL;
    int status = 0;
    size_t i;

    if (third)
        virCommandAddArg(cmd, third);
    if (output)
        virCommandSetOutputBuffer(cmd, output);
    virCommandSetErrorBuffer(cmd, &complaint);
    if (virCommandRun(cmd, &status) == 0 && status == 0)
        return 0;
    errno = EIO;
    for (i = 0; i < G_N_ELEMENTS(reasons); i++)
        if (complaint && strstr(complaint, reasons[i].text))
            errno = reasons[i].number;
    return -1;
}

#endif
