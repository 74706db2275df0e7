// SPDX-License-Identifier: LGPL-2.1-or-later
// usage: xen_resume fast|slow DOMID DEFINITION
//
// On a Xen host (tests/xen): take up a running guest that nobody else watches, suspend it as a save does, and
// resume it. Nothing of the guest is kept. A guest that cannot be resumed so is resumed fast, and that is an error.

#include "conf/libvirt_error.h"
#include "hypervisor/xen/xen.h"
#include "tests/hypervisor/xen/definition.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>

using godwit::base::Result;
using namespace godwit::hypervisor;

static Result<void> suspendAndResume(ResumeMode mode, int domid, const char *definition)
{
    auto host = TRY(makeXen({.helper = "", .converter = "/bin/false", .dumpDir = "/tmp", .channelDir = "/tmp",
                             .autoballoon = false, .nestedHvm = false}));
    auto def = xen::parseFile(definition);
    if (!def)
        return godwit::conf::takeLibvirtError();
    def->id = domid;
    CreateRequest known;
    known.def = def.get();
    auto guest = TRY(host->adopt(std::move(known), GuestStatus{}));
    SaveRequest save;
    save.stream.reset(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    TRY(guest->save(std::move(save)));
    auto resumed = guest->resume(mode);
    if (!resumed)
        TRY(guest->resume(ResumeMode::Fast));
    printf("%s\n", guest->running() ? "running" : "not running");
    return resumed;
}

int main(int argc, char **argv)
{
    if (argc != 4 || virInitialize() < 0)
        return EXIT_FAILURE;
    const ResumeMode mode = strcmp(argv[1], "slow") == 0 ? ResumeMode::Slow : ResumeMode::Fast;
    auto done = suspendAndResume(mode, atoi(argv[2]), argv[3]);
    if (!done)
        fprintf(stderr, "%s\n", done.error().message.c_str());
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
