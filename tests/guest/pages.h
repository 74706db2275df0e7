/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages whose right content can always be recomputed. */
#ifndef GUEST_PAGES_H
#define GUEST_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { pageBytes = 4096, pageWords = pageBytes / sizeof(uint64_t) };

/* Fill `page` with pseudo-random words that follow from `number` and `generation`:
 * word 0 is the generation, the last word seals both, the words between depend on
 * `number` alone. */
void fillPage(uint64_t *page, uint64_t number, uint64_t generation);

/* Move a filled page to another generation, by writing two of its words. */
void renewPage(uint64_t *page, uint64_t number, uint64_t generation);

/* Whether `page` is exactly what fillPage would write. `problem` (of `size` bytes) says
 * what is wrong if it is not. */
bool checkPage(const uint64_t *page, uint64_t number, uint64_t generation, char *problem, size_t size);

/* A number that depends on every word of `page`. */
uint64_t sumPage(const uint64_t *page);

#endif
