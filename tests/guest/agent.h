/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Enough of the QEMU guest agent to be found alive. */
#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H

/* The virtio-serial port that the agent answers on, or -1. */
int openAgentPort(void);

/* Answer the commands that wait on `port`: guest-ping, guest-sync, guest-sync-delimited. */
void answerAgent(int port);

#endif
