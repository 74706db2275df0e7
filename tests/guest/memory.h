/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory the guest guards: it knows at any time what every page must hold. */
#ifndef GUEST_MEMORY_H
#define GUEST_MEMORY_H

#include <stdint.h>

struct Memory {
    uint64_t *words;
    uint64_t pages;
    uint64_t stride;    /* the n-th write goes to page n * stride % pages */
    uint64_t inverse;   /* of stride, modulo pages: the page's turn within a pass */
    uint64_t dirtied;   /* writes so far, over all passes */
    uint64_t verified;  /* page checks so far */
    uint64_t corrupt;   /* of which failed */
};

/* Fill `mebibytes` of new memory; pages = 0 if there is not so much. */
struct Memory makeMemory(uint64_t mebibytes);

/* Write to the next `count` pages, scattered over all of them. */
void dirtyPages(struct Memory *memory, uint64_t count);

/* Check the next `count` pages; print a CORRUPT line for each that is wrong. A page whose
 * write was lost is wrong too: how often it was written follows from `dirtied`. */
void verifyPages(struct Memory *memory, uint64_t count);

/* A checksum of all pages. */
uint64_t sumMemory(const struct Memory *memory);

#endif
