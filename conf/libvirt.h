// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// libvirt's internal C headers, made fit for C++. The only place that includes them.
// What needs a cure, and why, stands beside each line.

#include "conf/libvirt_config.h"
#include "conf/libvirt_system.h"

extern "C" {
#include "internal.h"
// GLib >= 2.74 defines these as a C++11 attribute, which may not follow a declarator.
#undef G_NO_INLINE
#define G_NO_INLINE __attribute__((__noinline__))
#undef G_GNUC_NO_INLINE
#define G_GNUC_NO_INLINE __attribute__((__noinline__))
// C++ keywords that are parameter names there.
#ifdef __clang__
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wkeyword-macro"
#endif
#define this this_
#define namespace namespace_
// Not all of the headers are self-contained: these three come first.
#include "virenum.h"
#include "datatypes.h"
#include "driver.h"

#include "capabilities.h"
#include "domain_conf.h"
#include "domain_event.h"
#include "domain_postparse.h"
#include "domain_validate.h"
#include "domain_addr.h"
#include "domain_audit.h"
#include "domain_capabilities.h"
#include "domain_nwfilter.h"
#include "snapshot_conf.h"
#include "virdomainobjlist.h"
#include "virdomainsnapshotobjlist.h"
#include "virdomainjob.h"
#include "virsavecookie.h"
#include "virchrdev.h"
#include "storage_source_conf.h"
#include "network_conf.h"
#include "virnetworkportdef.h"
#include "node_device_conf.h"
#include "object_event.h"
#include "virconftypes.h"
#include "cpu.h"
#include "cpu_x86.h"
#include "domain_driver.h"
#include "domain_cgroup.h"
#include "virclosecallbacks.h"
#include "virhostdev.h"
#include "viraccessmanager.h"
#include "viraccessapicheck.h"
#include "virnetsocket.h"
#include "virnettlscontext.h"
#include "virnettlscontext.h"
#include "domain_lock.h"
#include "lock_manager.h"
#include "security_manager.h"
#include "viralloc.h"
#include "virbitmap.h"
#include "virbuffer.h"
#include "vircommand.h"
#include "virconf.h"
#include "virerror.h"
#include "virevent.h"
#include "vireventthread.h"
#include "virfdstream.h"
#include "virfile.h"
#include "virhash.h"
#include "virhook.h"
#include "virhostcpu.h"
#include "virhostmem.h"
#include "viridentity.h"
#include "virinitctl.h"
#include "virjson.h"
#include "virkeycode.h"
#include "virlog.h"
#include "virmodule.h"
#include "virnetdev.h"
#include "virnetdevtap.h"
#include "virnetdevbridge.h"
#include "virnetdevopenvswitch.h"
#include "virnetdevmacvlan.h"
#include "virnodesuspend.h"
#include "virnuma.h"
#include "virnvme.h"
#include "virobject.h"
#include "virpidfile.h"
#include "virportallocator.h"
#include "virprocess.h"
#include "virrandom.h"
#include "virsecret.h"
#include "virsecureerase.h"
#include "virsocketaddr.h"
#include "virstring.h"
#include "virsysinfo.h"
#include "virthread.h"
#include "virthreadjob.h"
#include "virthreadpool.h"
#include "virtime.h"
#include "virtypedparam.h"
#include "viruri.h"
#include "virutil.h"
#include "viruuid.h"
#include "virxml.h"
#undef this
#undef namespace
#ifdef __clang__
#pragma clang diagnostic pop
#endif
}

// Ours is godwit::base::tr(): a message of Godwit's belongs to its own gettext domain.
#undef _

// What libvirt's macros take as the origin of an error.
#define VIR_FROM_THIS VIR_FROM_LIBXL
