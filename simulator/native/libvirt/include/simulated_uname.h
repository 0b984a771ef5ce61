/* The release that libvirt's bhyve driver reports is the simulated one, as uname(1) prints it. */
#ifndef SIMULATED_UNAME_H
#define SIMULATED_UNAME_H

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

static inline int simulated_uname(struct utsname *names) {
    FILE *pipe;

    memset(names, 0, sizeof *names);
    if ((pipe = popen("/usr/bin/uname -r", "re")) == NULL)
        return -1;
    if (fgets(names->release, sizeof names->release, pipe) != NULL)
        names->release[strcspn(names->release, "\n")] = '\0';
    return pclose(pipe);
}

#endif
