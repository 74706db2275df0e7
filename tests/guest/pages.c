/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pages.h"

#include <stdio.h>

/* One step of xorshift64: never zero, unless it starts from zero. */
static uint64_t nextWord(uint64_t word)
{
    word ^= word << 13;
    word ^= word >> 7;
    word ^= word << 17;
    return word;
}

static uint64_t firstWord(uint64_t number)
{
    return (number + 1) * 0x9e3779b97f4a7c15ull;
}

static uint64_t seal(uint64_t number, uint64_t generation)
{
    return nextWord(firstWord(number) ^ nextWord(generation + 1));
}

void renewPage(uint64_t *page, uint64_t number, uint64_t generation)
{
    page[0] = generation;
    page[pageWords - 1] = seal(number, generation);
}

void fillPage(uint64_t *page, uint64_t number, uint64_t generation)
{
    uint64_t word = firstWord(number);
    for (size_t i = 1; i < pageWords - 1; i++)
        page[i] = word = nextWord(word);
    renewPage(page, number, generation);
}

bool checkPage(const uint64_t *page, uint64_t number, uint64_t generation, char *problem, size_t size)
{
    if (page[0] != generation) {
        snprintf(problem, size, "generation %llu, not %llu", (unsigned long long)page[0],
                 (unsigned long long)generation);
        return false;
    }
    uint64_t word = firstWord(number);
    for (size_t i = 1; i < pageWords; i++) {
        word = i < pageWords - 1 ? nextWord(word) : seal(number, generation);
        if (page[i] != word) {
            snprintf(problem, size, "word %zu is %016llx, not %016llx", i, (unsigned long long)page[i],
                     (unsigned long long)word);
            return false;
        }
    }
    return true;
}

uint64_t sumPage(const uint64_t *page)
{
    uint64_t sum = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < pageWords; i++)
        sum = (sum ^ page[i]) * 0x100000001b3ull;
    return sum;
}
