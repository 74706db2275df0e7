/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GUEST_PULSE_H
#define GUEST_PULSE_H

#include <stdint.h>

/* Start a process that writes a byte to the second serial port every so many milliseconds, ahead of
 * everything else in this guest. Whoever listens hears how long the guest stood still. */
void startPulse(uint64_t milliseconds);

#endif
