// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "conf/libvirt.h"

#include <memory>

namespace godwit::conf {

/// Take the calling thread's libvirt error as a value, and clear it there.
base::Error takeLibvirtError();

/// Raise `error` as the calling thread's libvirt error, once.
void raise(const base::Error &error);

/// Turn libvirt's convention (negative = failed, error raised) into a Result.
inline base::Result<void> check(int result)
{
    if (result < 0)
        return takeLibvirtError();
    return {};
}

/// The same for a pointer, which stays what it was (borrowed or owned).
template <typename T>
base::Result<T *> check(T *pointer)
{
    if (!pointer)
        return takeLibvirtError();
    return pointer;
}

} // namespace godwit::conf
