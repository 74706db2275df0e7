/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disk.h"

#include "pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* One transfer; and how many of them stay in memory before a slot is used again. The direct
 * reads of a guest land in memory that no vCPU wrote: what a migration loses of it shows when
 * a slot is checked after the guest has moved. The number of slots is prime, so that a slot
 * never receives the same blocks twice in a row. The rest between two transfers leaves the
 * vCPU to others. */
enum { transferBytes = 64 * 1024, transferBlocks = transferBytes / pageBytes, slots = 61, restMicroseconds = 3000 };

/* Block numbers of a disk differ from the page numbers of memory. */
static const uint64_t firstNumber = 1ull << 40;

static _Noreturn void give(const char *what, const char *device)
{
    printf("DISK %s: %s: %s\n", device, what, strerror(errno));
    exit(1);
}

static void checkSlot(const uint64_t *slot, uint64_t firstBlock)
{
    char problem[128];
    for (uint64_t i = 0; i < transferBlocks; i++) {
        const uint64_t block = firstBlock + i;
        if (!checkPage(slot + i * pageWords, firstNumber + block, 0, problem, sizeof problem))
            printf("CORRUPT disk block %llu: %s\n", (unsigned long long)block, problem);
    }
}

static void writeAll(int fd, const char *device, uint64_t *buffer, uint64_t transfers)
{
    for (uint64_t transfer = 0; transfer < transfers; transfer++) {
        for (uint64_t i = 0; i < transferBlocks; i++)
            fillPage(buffer + i * pageWords, firstNumber + transfer * transferBlocks + i, 0);
        if (pwrite(fd, buffer, transferBytes, transfer * transferBytes) != transferBytes)
            give("cannot write", device);
    }
    fsync(fd);
}

void guardDisk(const char *device, uint64_t mebibytes, volatile uint64_t *blocks)
{
    const int fd = open(device, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        give("cannot open", device);
    uint64_t *memory = mmap(NULL, slots * transferBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        give("no memory for reading", device);
    const uint64_t transfers = (mebibytes << 20) / transferBytes;
    writeAll(fd, device, memory, transfers);
    printf("DISK %s: reading %llu MiB\n", device, (unsigned long long)mebibytes);

    for (uint64_t n = 0;; n++) {
        uint64_t *slot = memory + n % slots * (transferBytes / sizeof(uint64_t));
        /* What the slot received one round ago must still be there. */
        if (n >= slots)
            checkSlot(slot, (n - slots) % transfers * transferBlocks);
        const uint64_t transfer = n % transfers;
        if (pread(fd, slot, transferBytes, transfer * transferBytes) != transferBytes)
            give("cannot read", device);
        checkSlot(slot, transfer * transferBlocks);
        *blocks += transferBlocks;
        usleep(restMicroseconds);
    }
}
