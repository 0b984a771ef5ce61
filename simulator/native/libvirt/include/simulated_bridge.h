/* Bridge members for libvirt on Linux; included by virnetdevbridge.c after its own headers. */
#ifndef SIMULATED_BRIDGE_H
#define SIMULATED_BRIDGE_H

#include "simulated_ifconfig.h"

#define SIMULATED_SIOCBRADDIF "addm"
#define SIMULATED_SIOCBRDELIF "deletem"

#endif
