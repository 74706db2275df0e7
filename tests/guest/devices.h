/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest's devices: their drivers, and a list of them for the tests. */
#ifndef GUEST_DEVICES_H
#define GUEST_DEVICES_H

enum { maxInputs = 16 };

struct Inputs {
    int fds[maxInputs];
    int count;
};

/* Load every module in `folder`, in the order of the names. */
void loadModules(const char *folder);

/* Bring the first network card up: its IPv6 stack then sends a few packets by itself. */
void raiseNetwork(void);

/* Open every input device: keyboards, tablets, the power button. */
struct Inputs openInputs(void);

/* Print a line for each disk, network card, input device and virtio port, and for the
 * random number generator if it gives bytes; then "devices end". */
void listDevices(void);

#endif
