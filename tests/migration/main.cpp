// SPDX-License-Identifier: LGPL-2.1-or-later
#include "conf/libvirt.h"

#include <gtest/gtest.h>

int main(int argc, char **argv)
{
    // libvirt's errors are thread-local: nothing of it works before this.
    if (virInitialize() < 0)
        return 1;
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
