#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The layering check finds what it is there to find."""
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

CHECK = Path(__file__).resolve().parent / "check-layering"
SPDX = "// SPDX-License-Identifier: LGPL-2.1-or-later\n"


class CheckLayering(unittest.TestCase):
    def problems(self, name, text, *arguments):
        """What the check prints of a tree whose only file is `name`."""
        with tempfile.TemporaryDirectory() as root:
            path = Path(root, name)
            path.parent.mkdir(parents=True)
            path.write_text(text)
            done = subprocess.run([CHECK, root, *arguments], text=True, stdout=subprocess.PIPE)
            self.assertEqual(done.returncode, 1 if done.stdout else 0)
            return done.stdout

    def test_accepts_an_include_along_an_arrow(self):
        self.assertEqual(self.problems("engine/x.cpp", SPDX + '#include "stream/record.h"\n'), "")

    def test_refuses_an_include_against_the_arrows(self):
        self.assertIn("engine may use only base, stream",
                      self.problems("engine/x.cpp", SPDX + '#include "channel/connection.h"\n'))

    def test_refuses_libxl_headers_outside_hypervisor_xen(self):
        self.assertIn("includes libxl.h", self.problems("driver/x.cpp", SPDX + "#include <libxl.h>\n"))
        self.assertEqual(self.problems("hypervisor/xen/x.cpp", SPDX + "#include <libxl.h>\n"), "")

    def test_refuses_a_link_against_the_arrows(self):
        text = ("# SPDX-License-Identifier: LGPL-2.1-or-later\n# helper: x\n# Uses: x. Used by: x.\n"
                "helper_exe = executable('x', dependencies: [base_dep, conf_dep, libvirt_dep])\n")
        found = self.problems("helper/meson.build", text)
        self.assertIn("links conf,", found)
        self.assertIn("links libvirt,", found)
        self.assertNotIn("links base", found)

    def test_wants_the_opening_comment(self):
        text = "# SPDX-License-Identifier: LGPL-2.1-or-later\nbase_dep = declare_dependency()\n"
        self.assertIn("does not open with a comment", self.problems("base/meson.build", text))

    def test_wants_short_files_with_a_licence(self):
        found = self.problems("base/x.cpp", "\n" * 651)
        self.assertIn("has 651 lines", found)
        self.assertIn("no SPDX line", found)
        self.assertEqual(self.problems("base/x.cpp", SPDX + "\n" * 649), "")

    def test_refuses_a_library_that_comes_in_through_another(self):
        found = self.problems("base/x.h", SPDX, "--tool", "/usr/bin/virsh")
        self.assertIn("/usr/bin/virsh: links libvirt.so.0", found)

    def test_refuses_exports_but_the_two(self):
        library = re.search(r"libvirt.so.0 => (\S+)", subprocess.getoutput("ldd /usr/bin/virsh")).group(1)
        found = self.problems("base/x.h", SPDX, "--module", library)
        self.assertIn("exports virConnectOpen", found)
        self.assertIn("does not export godwitRegister", found)


if __name__ == "__main__":
    unittest.main()
