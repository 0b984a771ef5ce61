/*
 * Tap devices for libvirt's bhyve driver on Linux, made the way its FreeBSD
 * code does it: the cloner makes tapN, a rename gives the wanted name, and
 * the device node keeps the first one. Included by virnetdevtap.c after its
 * own headers.
 */
#ifndef SIMULATED_TAP_H
#define SIMULATED_TAP_H

#include "simulated_ifconfig.h"

static int
simulatedTapCreate(char **ifname)
{
    g_autofree char *made = NULL;

    if (virNetDevGenerateName(ifname, VIR_NET_DEV_GEN_NAME_VNET) < 0)
        return -1;
    if (simulatedIfconfig("tap", "create", NULL, &made) < 0) {
        virReportSystemError(errno, "%s", _("Unable to create tap device"));
        return -1;
    }
    g_strchomp(made);
    /* A failed rename leaves the tap behind, as libvirt's FreeBSD code does. */
    if (simulatedIfconfig(made, "name", *ifname, NULL) < 0) {
        virReportSystemError(errno, _("Unable to rename '%1$s' to '%2$s'"), made, *ifname);
        return -1;
    }
    return 0;
}

static int
simulatedTapDelete(const char *ifname)
{
    if (simulatedIfconfig(ifname, "destroy", NULL, NULL) < 0) {
        virReportSystemError(errno, _("Unable to remove tap device %1$s"), ifname);
        return -1;
    }
    return 0;
}

/* "ifconfig -D" prints a line "drivername: tap3" for each interface that was renamed. */
static char *
simulatedTapDriver(const char *ifname)
{
    g_autofree char *text = NULL;
    char *start;

    if (simulatedIfconfig("-D", ifname, NULL, &text) < 0) {
        virReportSystemError(errno, _("Unable to get driver name for '%1$s'"), ifname);
        return NULL;
    }
    if (!(start = strstr(text, "drivername: ")))
        return g_strdup(ifname);
    start += strlen("drivername: ");
    return g_strndup(start, strcspn(start, " \n"));
}

#endif
