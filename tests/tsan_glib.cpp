// SPDX-License-Identifier: LGPL-2.1-or-later
// ThreadSanitizer does not see GLib's atomic operations, libvirt's objects are GLib's: whoever
// drops the last reference would seem to race with all who held one before. What the reference
// count orders is told here, and nothing more: each drop comes after all earlier ones.
#include <dlfcn.h>
#include <glib-object.h>
#include <sanitizer/tsan_interface.h>

extern "C" [[gnu::visibility("default")]] void g_object_unref(gpointer object)
{
    static const auto drop = reinterpret_cast<decltype(&g_object_unref)>(::dlsym(RTLD_NEXT, "g_object_unref"));
    __tsan_release(object);
    __tsan_acquire(object);
    drop(object);
}
