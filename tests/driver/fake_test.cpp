// SPDX-License-Identifier: LGPL-2.1-or-later
#include "tests/driver/fake_test.h"

namespace godwit::tests {

std::vector<std::string> FakeHostsTest::leftovers(const std::string &host) const
{
    std::vector<std::string> found;
    const std::string state = root(host) + "/run/godwit";
    for (const auto &entry : std::filesystem::recursive_directory_iterator(state)) {
        const std::string name = entry.path().filename();
        if (entry.path().string().starts_with(state + "/witness"))   // gone when the source has settled all
            continue;
        if (name != "lock" && name != "guests" && name != "autostarted")
            found.push_back(entry.path());
    }
    return found;
}

} // namespace godwit::tests
