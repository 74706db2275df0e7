// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libintl.h>

namespace godwit::base {

/// Marks a message a user can see and translates it (gettext domain "godwit").
/// A function, not the macro `_`, which libvirt's headers claim for their own domain.
[[gnu::format_arg(1)]] inline const char *tr(const char *message)
{
    return ::dgettext("godwit", message);
}

} // namespace godwit::base
