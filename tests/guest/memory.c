/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory.h"

#include "pages.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

/* Left to the kernel, which has no swap. */
static const uint64_t spareBytes = 6 << 20;

/* The x below `modulus` with number * x = 1 modulo `modulus`; 0 if there is none. */
static uint64_t inverseOf(uint64_t number, uint64_t modulus)
{
    int64_t previous = 0, current = 1;
    uint64_t dividend = modulus, divisor = number % modulus;
    while (divisor != 0) {
        const uint64_t quotient = dividend / divisor, rest = dividend % divisor;
        const int64_t next = previous - (int64_t)quotient * current;
        previous = current;
        current = next;
        dividend = divisor;
        divisor = rest;
    }
    if (dividend != 1)
        return 0;
    return previous < 0 ? previous + modulus : (uint64_t)previous;
}

struct Memory makeMemory(uint64_t mebibytes)
{
    struct Memory memory = {.pages = (mebibytes << 20) / pageBytes};
    struct sysinfo machine;
    sysinfo(&machine);
    if (memory.pages == 0 || machine.freeram < memory.pages * pageBytes + spareBytes) {
        memory.pages = 0;
        return memory;
    }
    memory.words = mmap(NULL, memory.pages * pageBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory.words == MAP_FAILED) {
        memory.pages = 0;
        return memory;
    }
    /* Pages come in multiples of 256: an odd stride has an inverse unless it shares a factor
     * with the number of mebibytes. */
    for (memory.stride = 40503; (memory.inverse = inverseOf(memory.stride, memory.pages)) == 0;)
        memory.stride += 2;
    for (uint64_t number = 0; number < memory.pages; number++)
        fillPage(memory.words + number * pageWords, number, 0);
    return memory;
}

/* How often page `number` has been written, after `dirtied` writes in all. */
static uint64_t generationOf(const struct Memory *memory, uint64_t number)
{
    const uint64_t turn = number * memory->inverse % memory->pages;
    return memory->dirtied / memory->pages + (turn < memory->dirtied % memory->pages);
}

void dirtyPages(struct Memory *memory, uint64_t count)
{
    for (; count > 0 && memory->pages > 0; count--) {
        const uint64_t turn = memory->dirtied % memory->pages;
        const uint64_t number = turn * memory->stride % memory->pages;
        renewPage(memory->words + number * pageWords, number, memory->dirtied / memory->pages + 1);
        memory->dirtied++;
    }
}

void verifyPages(struct Memory *memory, uint64_t count)
{
    char problem[128];
    for (; count > 0 && memory->pages > 0; count--) {
        const uint64_t number = memory->verified % memory->pages;
        const uint64_t *page = memory->words + number * pageWords;
        if (!checkPage(page, number, generationOf(memory, number), problem, sizeof problem)) {
            memory->corrupt++;
            printf("CORRUPT page %llu: %s\n", (unsigned long long)number, problem);
        }
        memory->verified++;
    }
}

uint64_t sumMemory(const struct Memory *memory)
{
    uint64_t sum = 0;
    for (uint64_t number = 0; number < memory->pages; number++)
        sum = sum * 31 + sumPage(memory->words + number * pageWords);
    return sum;
}
