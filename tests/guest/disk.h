/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A process that reads a disk with O_DIRECT, over and over, and checks what arrived. */
#ifndef GUEST_DISK_H
#define GUEST_DISK_H

#include <stdint.h>

/* Write a known content to the first `mebibytes` of `device`, then read it forever into
 * memory that is checked again long after each read. `*blocks` (shared memory) counts the
 * blocks read. Prints DISK lines for progress and CORRUPT lines for what is wrong.
 * Never returns. */
_Noreturn void guardDisk(const char *device, uint64_t mebibytes, volatile uint64_t *blocks);

#endif
