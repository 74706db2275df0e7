// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>
#include <libvirt/libvirt.h>

int main(int argc, char **argv)
{
    testing::InitGoogleTest(&argc, argv);
    // libvirt's errors are thread-local: nothing of it works before this.
    if (virInitialize() < 0)
        return 1;
    return RUN_ALL_TESTS();
}
