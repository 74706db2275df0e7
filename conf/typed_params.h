// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/handle.h"
#include "conf/libvirt_error.h"

#include <string>
#include <type_traits>

namespace godwit::conf {

/// A growing list of libvirt's typed parameters. The C type of a value decides the
/// parameter's type, which is part of the public interface: cast where it matters.
class TypedParams
{
public:
    TypedParams() : list_(g_new0(virTypedParamList, 1)) {}

    template <typename T>
    void add(const std::string &name, T value)
    {
        int result = -1;
        if constexpr (std::is_same_v<T, bool>)
            result = virTypedParamListAddBoolean(list_.get(), value, "%s", name.c_str());
        else if constexpr (std::is_convertible_v<T, const char *>)
            result = virTypedParamListAddString(list_.get(), value, "%s", name.c_str());
        else if constexpr (sizeof(T) == sizeof(long long) && std::is_signed_v<T>)
            result = virTypedParamListAddLLong(list_.get(), value, "%s", name.c_str());
        else if constexpr (sizeof(T) == sizeof(long long))
            result = virTypedParamListAddULLong(list_.get(), value, "%s", name.c_str());
        else if constexpr (std::is_signed_v<T>)
            result = virTypedParamListAddInt(list_.get(), value, "%s", name.c_str());
        else
            result = virTypedParamListAddUInt(list_.get(), value, "%s", name.c_str());
        failed_ = failed_ || result < 0;
    }

    /// Hand the array over; its owner frees it with virTypedParamsFree().
    base::Result<int> take(virTypedParameterPtr *params)
    {
        if (failed_)
            return takeLibvirtError();
        return static_cast<int>(virTypedParamListStealParams(list_.get(), params));
    }

private:
    std::unique_ptr<virTypedParamList, FreeWith<virTypedParamListFree>> list_;
    bool failed_ = false;   ///< with libvirt's error raised; a name that is too long, say
};

} // namespace godwit::conf
