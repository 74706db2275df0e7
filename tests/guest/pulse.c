/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pulse.h"

#include <sched.h>
#include <stdio.h>
#include <sys/io.h>
#include <time.h>
#include <unistd.h>

enum { secondPort = 0x2f8, registers = 8 };

static const uint64_t nanosecondsInMillisecond = 1000000, nanosecondsInSecond = 1000000000;

static uint64_t nanoseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * nanosecondsInSecond + time.tv_nsec;
}

static _Noreturn void beat(uint64_t period)
{
    for (;;) {
        /* A beat that was missed is not made up for. */
        const uint64_t next = (nanoseconds() / period + 1) * period;
        const struct timespec until = {next / nanosecondsInSecond, next % nanosecondsInSecond};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        /* One instruction: the kernel's driver would need an interrupt and much time for it. */
        outb('.', secondPort);
    }
}

void startPulse(uint64_t milliseconds)
{
    if (fork() != 0)
        return;
    const struct sched_param first = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO, &first) < 0 || ioperm(secondPort, registers, 1) < 0) {
        perror("pulse");
        _exit(1);
    }
    beat(milliseconds * nanosecondsInMillisecond);
}
