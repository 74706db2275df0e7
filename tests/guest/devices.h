/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest's devices: their drivers, and a list of them for the tests. */
#ifndef GUEST_DEVICES_H
#define GUEST_DEVICES_H

enum { maxInputs = 16 };

struct Inputs {
    int fds[maxInputs]; /* below 0: not there (yet) */
};

/* Load every module in `folder`, in the order of the names. */
void loadModules(const char *folder);

/* Bring the first network card up: its IPv6 stack then sends a few packets by itself. */
void raiseNetwork(void);

/* No input device is open. */
struct Inputs noInputs(void);

/* Open every input device that is not: keyboards, tablets, the power button. The kernel finds
 * some of them a while after it has started us. */
void openInputs(struct Inputs *inputs);

/* Print a line for each disk, network card, PCI device, input device and virtio port, and for the
 * random number generator if it gives bytes; then "devices end". */
void listDevices(void);

#endif
