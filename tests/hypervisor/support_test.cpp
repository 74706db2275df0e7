// SPDX-License-Identifier: LGPL-2.1-or-later
//
// What the machine hypervisor does not do is refused by its name. Each row is a definition
// that libvirt's own parser takes.
#include "hypervisor/machine/definition.h"
#include "tests/hypervisor/definition.h"

#include <gtest/gtest.h>

namespace godwit::hypervisor::machine {
namespace {

struct Row {
    Sample sample;
    const char *what;   ///< "… is not supported by the machine hypervisor"
};

void PrintTo(const Row &row, std::ostream *out)
{
    *out << row.what;
}

class Refused : public testing::TestWithParam<Row>
{
};

TEST_P(Refused, ByName)
{
    const auto def = parseDomain(sampleDomain(GetParam().sample));
    ASSERT_FALSE(def) << "taken: " << GetParam().what;
    EXPECT_EQ(def.error().message, std::string("unsupported configuration: ") + GetParam().what +
                                       " is not supported by the machine hypervisor");
}

Row disk(const char *xml, const char *what) { return {{.devices = xml}, what}; }
Row device(const char *xml, const char *what) { return {{.devices = xml}, what}; }
Row top(const char *xml, const char *what) { return {{.top = xml}, what}; }
Row os(const char *xml, const char *what) { return {{.os = xml}, what}; }

#define DISK(attributes, children) \
    "<disk type='file' " attributes "><source file='/a'/>" children "</disk>"
#define VDA "<target dev='vda' bus='virtio'/>"
#define NIC(children) "<interface type='user'><model type='virtio'/>" children "</interface>"

INSTANTIATE_TEST_SUITE_P(Machine, Refused, testing::Values(
    Row{{.type = "xen"}, "domain type 'xen'"},
    Row{{.machine = "isapc"}, "machine type 'isapc'"},
    Row{{.machine = "microvm"}, "machine type 'microvm'"},
    os("<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>", "a firmware loader (UEFI)"),
    os("<dtb>/a</dtb>", "a device tree"),
    os("<acpi><table type='slic'>/a</table></acpi>", "a SLIC table"),
    os("<smbios mode='host'/>", "SMBIOS mode 'host'"),
    os("<smbios mode='sysinfo'/>", "SMBIOS mode 'sysinfo'"),
    os("<bios useserial='yes'/>", "the BIOS on the serial port"),
    os("<initrd>/a</initrd>", "an initrd without a kernel"),
    os("<cmdline>a</cmdline>", "a kernel command line without a kernel"),
    os("<boot dev='fd'/>", "boot device 'fd'"),
    top("<sysinfo type='smbios'><bios><entry name='vendor'>a</entry></bios></sysinfo>", "sysinfo"),
    top("<genid/>", "a generation ID"),
    top("<launchSecurity type='sev'><policy>1</policy><cbitpos>47</cbitpos><reducedPhysBits>1</reducedPhysBits>"
        "</launchSecurity>", "launch security"),
    top("<seclabel type='static' model='selinux'><label>a</label></seclabel>", "a security label")));

INSTANTIATE_TEST_SUITE_P(Memory, Refused, testing::Values(
    top("<cpu><numa><cell id='0' cpus='0-1' memory='65536'/></numa></cpu>", "guest NUMA topology"),
    top("<numatune><memory mode='strict' nodeset='0'/></numatune>", "numatune"),
    top("<memoryBacking><hugepages/></memoryBacking>", "hugepages"),
    top("<memoryBacking><nosharepages/></memoryBacking>", "memory backing 'nosharepages'"),
    top("<memoryBacking><locked/></memoryBacking>", "memory backing 'locked'"),
    top("<memoryBacking><discard/></memoryBacking>", "memory backing 'discard'"),
    top("<memoryBacking><source type='file'/></memoryBacking>", "memory backing source 'file'"),
    top("<memoryBacking><source type='anonymous'/></memoryBacking>", "memory backing source 'anonymous'"),
    top("<memoryBacking><access mode='private'/></memoryBacking>", "memory backing access 'private'"),
    top("<memoryBacking><allocation mode='immediate'/></memoryBacking>", "memory allocation 'immediate'"),
    top("<memtune><hard_limit unit='MiB'>512</hard_limit></memtune>", "memtune")));

INSTANTIATE_TEST_SUITE_P(Tuning, Refused, testing::Values(
    Row{{.vcpu = "<vcpu cpuset='0'>2</vcpu>"}, "vCPU pinning"},
    top("<cputune><shares>10</shares></cputune>", "CPU bandwidth tuning (cputune)"),
    top("<cputune><global_quota>1000</global_quota></cputune>", "CPU bandwidth tuning (cputune)"),
    top("<cputune><emulatorpin cpuset='0'/></cputune>", "pinning of the emulator (cputune)"),
    top("<cputune><vcpupin vcpu='0' cpuset='0'/></cputune>", "vCPU pinning (cputune)"),
    top("<cputune><vcpusched vcpus='0' scheduler='fifo' priority='1'/></cputune>", "vCPU pinning (cputune)"),
    top("<iothreads>1</iothreads>", "iothreads"),
    top("<blkiotune><weight>200</weight></blkiotune>", "blkiotune"),
    top("<resource><partition>/machine/a</partition></resource>", "a resource partition"),
    top("<keywrap><cipher name='aes' state='on'/></keywrap>", "keywrap"),
    top("<perf><event name='cmt' enabled='yes'/></perf>", "perf events"),
    top("<vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/><vcpu id='1' enabled='no' hotpluggable='yes'/></vcpus>",
        "a setting for each vCPU (vcpus)")));

INSTANTIATE_TEST_SUITE_P(Processor, Refused, testing::Values(
    top("<cpu mode='host-model'/>", "CPU mode 'host-model'"),
    top("<cpu mode='host-passthrough'/>", "CPU mode 'host-passthrough' without KVM"),
    top("<cpu match='minimum'><model>Nehalem</model></cpu>", "CPU match 'minimum'"),
    top("<cpu match='strict'><model>Nehalem</model></cpu>", "CPU match 'strict'"),
    top("<cpu match='exact' check='full'><model>Nehalem</model></cpu>", "CPU check 'full'"),
    top("<cpu match='exact'><model>Nehalem</model><vendor>Intel</vendor></cpu>", "a CPU vendor requirement"),
    top("<cpu mode='maximum'><cache mode='disable'/></cpu>", "a CPU cache setting"),
    top("<cpu mode='maximum'><maxphysaddr mode='emulate' bits='40'/></cpu>", "a CPU address size (maxphysaddr)")));

#define FEATURE(xml) "<features>" xml "</features>"
INSTANTIATE_TEST_SUITE_P(Features, Refused, testing::Values(
    top(FEATURE("<hap state='on'/>"), "feature 'hap'"), top(FEATURE("<viridian/>"), "feature 'viridian'"),
    top(FEATURE("<privnet/>"), "feature 'privnet'"),
    top(FEATURE("<hyperv><relaxed state='on'/></hyperv>"), "feature 'hyperv'"),
    top(FEATURE("<hyperv mode='passthrough'/>"), "feature 'hyperv'"),
    top(FEATURE("<pvspinlock state='off'/>"), "feature 'pvspinlock'"),
    top(FEATURE("<ioapic driver='qemu'/>"), "feature 'ioapic'"),
    top(FEATURE("<ioapic driver='kvm'/>"), "feature 'ioapic'"),
    top(FEATURE("<vmcoreinfo state='on'/>"), "feature 'vmcoreinfo'"),
    top(FEATURE("<msrs unknown='ignore'/>"), "feature 'msrs'"),
    top(FEATURE("<tcg><tb-cache unit='MiB'>64</tb-cache></tcg>"), "feature 'tcg'"),
    top(FEATURE("<xen><e820_host state='on'/></xen>"), "feature 'xen'"),
    top(FEATURE("<apic eoi='on'/>"), "feature 'apic' with eoi"),
    top(FEATURE("<smm state='on'><tseg unit='MiB'>48</tseg></smm>"), "feature 'smm' with tseg"),
    top(FEATURE("<kvm><hint-dedicated state='on'/></kvm>"), "KVM feature 'hint-dedicated'"),
    top(FEATURE("<kvm><poll-control state='on'/></kvm>"), "KVM feature 'poll-control'"),
    top(FEATURE("<kvm><pv-ipi state='on'/></kvm>"), "KVM feature 'pv-ipi'"),
    top(FEATURE("<kvm><dirty-ring state='on' size='4096'/></kvm>"), "KVM feature 'dirty-ring'")));

#define TIMER(xml) "<clock offset='utc'>" xml "</clock>"
INSTANTIATE_TEST_SUITE_P(Clock, Refused, testing::Values(
    top("<clock offset='utc' adjustment='reset'/>", "clock adjustment 'reset'"),
    top("<clock offset='localtime' adjustment='reset'/>", "clock adjustment 'reset'"),
    top(TIMER("<timer name='platform'/>"), "timer 'platform'"),
    top(TIMER("<timer name='hypervclock'/>"), "timer 'hypervclock'"),
    top(TIMER("<timer name='rtc' tickpolicy='merge'/>"), "this tick policy or track of timer 'rtc'"),
    top(TIMER("<timer name='rtc' track='boot'/>"), "this tick policy or track of timer 'rtc'"),
    top(TIMER("<timer name='rtc' tickpolicy='catchup'><catchup slew='120'/></timer>"),
        "catch-up limits of timer 'rtc'"),
    top(TIMER("<timer name='rtc' present='no'/>"), "a machine without timer 'rtc'"),
    top(TIMER("<timer name='pit' tickpolicy='discard'/>"), "this tick policy of timer 'pit'"),
    top(TIMER("<timer name='tsc' mode='native'/>"), "this mode of timer 'tsc'"),
    top("<on_poweroff>restart</on_poweroff>", "an on_poweroff other than 'destroy'"),
    top("<on_reboot>preserve</on_reboot>", "an on_reboot other than 'restart' and 'destroy'"),
    top("<on_crash>coredump-destroy</on_crash>", "an on_crash that dumps core"),
    top("<on_lockfailure>pause</on_lockfailure>", "on_lockfailure")));

INSTANTIATE_TEST_SUITE_P(Disks, Refused, testing::Values(
    disk(DISK("device='floppy'", "<target dev='fda' bus='fdc'/>"), "disk device 'floppy'"),
    disk("<disk type='block' device='lun'><source dev='/dev/sda'/>" VDA "</disk>", "disk device 'lun'"),
    disk(DISK("", "<target dev='sda' bus='usb'/>"), "disk bus 'usb'"),
    disk(DISK("", "<target dev='sda' bus='scsi'/>"), "disk bus 'scsi'"),
    disk(DISK("device='cdrom'", VDA "<readonly/>"), "a cdrom on bus 'virtio'"),
    disk(DISK("", "<target dev='hda' bus='ide'/><readonly/>"), "a read-only disk on bus 'ide' or 'sata'"),
    disk(DISK("", "<driver type='vmdk'/>" VDA), "disk 'vda' in format 'vmdk'"),
    disk("<disk type='network'><source protocol='nbd' name='a'><host name='h'/></source>" VDA "</disk>",
         "disk 'vda' of type 'network'"),
    disk("<disk type='dir'><source dir='/a'/>" VDA "</disk>", "disk 'vda' of type 'dir'"),
    disk("<disk type='volume'><source pool='p' volume='v'/>" VDA "</disk>", "disk 'vda' of type 'volume'"),
    disk(DISK("", "<driver type='raw' io='native' cache='none'/>" VDA),
         "disk 'vda' with io='native' (its writes into guest memory cannot be tracked)"),
    disk(DISK("", "<driver type='raw' io='io_uring'/>" VDA),
         "disk 'vda' with io='io_uring' (its writes into guest memory cannot be tracked)"),
    disk("<disk type='file'><driver type='qcow2'/><source file='/a'/><backingStore type='file'><format type='raw'/>"
         "<source file='/b'/></backingStore>" VDA "</disk>", "disk 'vda' with an explicit backing store"),
    disk("<disk type='file'><driver type='qcow2'/><source file='/a'><encryption format='luks'><secret "
         "type='passphrase' usage='a'/></encryption></source>" VDA "</disk>", "disk 'vda' with encryption"),
    disk("<disk type='file'><source file='/a'><slices><slice type='storage' offset='0' size='512'/></slices>"
         "</source>" VDA "</disk>", "disk 'vda' with a slice"),
    disk(DISK("", VDA "<iotune><total_iops_sec>10</total_iops_sec></iotune>"), "disk 'vda' with iotune"),
    disk(DISK("", "<driver type='raw' copy_on_read='on'/>" VDA), "disk 'vda' with copy_on_read"),
    disk(DISK("", VDA "<transient/>"), "disk 'vda' with transient"),
    disk(DISK("", "<driver type='qcow2'/>" VDA "<shareable/>"), "disk 'vda' with shareable in format 'qcow2'"),
    disk(DISK("", "<driver type='raw' queues='2'/>" VDA), "disk 'vda' with queues"),
    disk(DISK("model='virtio-transitional'", VDA), "disk 'vda' with this model"),
    disk(DISK("", "<driver type='raw' ioeventfd='on'/>" VDA), "disk 'vda' with ioeventfd"),
    disk(DISK("", "<driver type='raw' event_idx='off'/>" VDA), "disk 'vda' with event_idx"),
    disk(DISK("", "<driver type='raw' iommu='on'/>" VDA), "disk 'vda' with virtio options"),
    disk(DISK("", VDA "<geometry cyls='1' heads='1' secs='1'/>"), "disk 'vda' with a geometry"),
    disk(DISK("", "<target dev='sda' bus='sata'/><wwn>0123456789abcdef</wwn>"),
         "disk 'sda' with a wwn, vendor or product"),
    disk(DISK("", VDA "<address type='ccw' cssid='0xfe' ssid='0' devno='1'/>"),
         "device 'disk' with an address of type 'ccw'"),
    disk(DISK("", VDA "<backenddomain name='d'/>"), "disk 'vda' with a backend domain"),
    disk("<disk type='file' device='cdrom'><target dev='hda' bus='ide' tray='open'/><readonly/></disk>",
         "disk 'hda' with an open tray"),
    Row{{.devices = DISK("", "<target dev='hda' bus='ide'/>"), .machine = "q35"}, "disk bus 'ide' on machine q35"}));

INSTANTIATE_TEST_SUITE_P(Nics, Refused, testing::Values(
    device("<interface type='direct'><source dev='eth0'/></interface>", "interface type 'direct'"),
    device("<interface type='vhostuser'><source type='unix' path='/a' mode='client'/><model type='virtio'/>"
           "</interface>", "interface type 'vhostuser'"),
    device("<interface type='mcast'><source address='230.0.0.1' port='5558'/></interface>", "interface type 'mcast'"),
    device("<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>", "interface type 'vdpa'"),
    device("<interface type='hostdev'><source><address type='pci' domain='0' bus='1' slot='0' function='0'/></source>"
           "</interface>", "a host device (hostdev)"),
    device("<interface type='user'><model type='e1000e'/></interface>", "interface model 'e1000e'"),
    device("<interface type='user'><model type='virtio-transitional'/></interface>",
           "interface model 'virtio-transitional'"),
    device(NIC("<driver name='vhost'/>"), "an interface with driver 'vhost'"),
    device(NIC("<driver queues='4'/>"), "an interface with queues"),
    device(NIC("<driver><host csum='off'/></driver>"), "an interface with driver options"),
    device("<interface type='bridge'><source bridge='b'/><model type='virtio'/><filterref filter='clean-traffic'/>"
           "</interface>", "an interface with a network filter"),
    device(NIC("<bandwidth><inbound average='1000'/></bandwidth>"), "an interface with a bandwidth limit"),
    device(NIC("<mtu size='1400'/>"), "an interface with an MTU"),
    device(NIC("<tune><sndbuf>0</sndbuf></tune>"), "an interface with a send buffer size"),
    device(NIC("<backend vhost='/dev/a'/>"), "an interface with a backend"),
    device(NIC("<ip address='10.0.0.1'/>"), "an interface with addresses or routes"),
    device(NIC("<guest dev='eth7'/>"), "an interface with a name in the guest"),
    device(NIC("<backenddomain name='d'/>"), "an interface with a backend domain"),
    device(NIC("<acpi index='3'/>"), "device 'interface' with an ACPI index"),
    device("<interface type='bridge'><source bridge='b'/><virtualport type='openvswitch'/></interface>",
           "an interface with a virtual port"),
    device("<interface type='ethernet'><script path='/a'/></interface>", "an interface with a script")));

INSTANTIATE_TEST_SUITE_P(CharacterDevices, Refused, testing::Values(
    device("<serial type='tcp'><source mode='bind' host='h' service='1'/></serial>", "a serial port of type 'tcp'"),
    device("<serial type='dev'><source path='/dev/ttyS0'/></serial>", "a serial port of type 'dev'"),
    device("<serial type='pty'><target type='usb-serial'/></serial>", "a serial port of type 'usb-serial'"),
    device("<serial type='pty'><target type='isa-debug'/></serial>", "a serial port of type 'isa-debug'"),
    device("<serial type='pty'><address type='isa' iobase='0x3e8' irq='4'/></serial>",
           "device 'chr' with an address of type 'isa'"),
    device("<console type='pty'><target type='xen'/></console>", "a console of type 'xen'"),
    device("<channel type='pty'><target type='guestfwd' address='10.0.2.1' port='4600'/></channel>",
           "a channel of type 'guestfwd'"),
    device("<channel type='spicevmc'><target type='virtio'/></channel>", "a channel of type 'spicevmc'"),
    device("<parallel type='pty'/>", "a parallel port")));

INSTANTIATE_TEST_SUITE_P(Screens, Refused, testing::Values(
    device("<graphics type='spice'/>", "graphics of type 'spice'"),
    device("<graphics type='sdl'/>", "graphics of type 'sdl'"),
    device("<graphics type='vnc'/><graphics type='vnc'/>", "more than one graphics device"),
    device("<graphics type='vnc'><listen type='network' network='n'/></graphics>", "VNC with a listen type 'network'"),
    device("<graphics type='vnc' websocket='5700'/>", "VNC with a websocket"),
    device("<graphics type='vnc' passwd='a' connected='keep'/>", "VNC with an action on a connected client"),
    device("<video><model type='qxl'/></video>", "video model 'qxl'"),
    device("<video><model type='vmvga'/></video>", "video model 'vmvga'"),
    device("<video><model type='vga'/></video><video><model type='virtio'/></video>", "more than one video device"),
    device("<video><model type='virtio'><acceleration accel3d='yes'/></model></video>", "video with acceleration"),
    device("<video><model type='vga'><resolution x='800' y='600'/></model></video>", "video with a resolution"),
    device("<video><driver name='vhostuser'/><model type='virtio'/></video>", "video with a vhost-user backend"),
    device("<input type='tablet' bus='ps2'/>", "a tablet on bus 'ps2'"),
    device("<input type='mouse' bus='xen'/>", "input bus 'xen'"),
    device("<input type='passthrough' bus='virtio'><source evdev='/dev/input/event1'/></input>",
           "input of type 'passthrough'"),
    device("<input type='mouse' bus='virtio' model='virtio-transitional'/>", "input with this model")));

INSTANTIATE_TEST_SUITE_P(Controllers, Refused, testing::Values(
    device("<controller type='scsi'/>", "controller 'scsi'"), device("<controller type='fdc'/>", "controller 'fdc'"),
    device("<controller type='pci' index='1' model='pci-bridge'/>", "PCI controller 'pci-bridge'"),
    Row{{.devices = "<controller type='pci' index='1' model='pcie-root-port'/>", .machine = "q35"},
        "PCI controller 'pcie-root-port'"},
    device("<controller type='usb' model='piix4-uhci'/>", "USB controller 'piix4-uhci'"),
    device("<controller type='usb' model='qusb2'/>", "USB controller 'qusb2'"),
    device("<controller type='usb' model='ehci' ports='4'/>", "a USB controller other than xHCI with a number of ports"),
    device("<controller type='ide' index='1'/>", "this IDE controller"),
    device("<controller type='virtio-serial'><driver iommu='on'/></controller>",
           "controller 'virtio-serial' with driver options")));

INSTANTIATE_TEST_SUITE_P(OtherDevices, Refused, testing::Values(
    device("<filesystem type='mount'><source dir='/a'/><target dir='b'/></filesystem>", "a filesystem"),
    device("<sound model='ich6'/>", "a sound device"),
    device("<audio id='1' type='alsa'/>", "an audio backend"),
    device("<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0x5678'/></source></hostdev>",
           "a host device (hostdev)"),
    device("<redirdev bus='usb' type='pty'/>", "USB redirection (redirdev)"),
    device("<smartcard mode='host'/>", "a smartcard"),
    device("<lease><lockspace>a</lockspace><key>b</key><target path='/c'/></lease>", "a lease"),
    device("<hub type='usb'/>", "a hub"),
    device("<shmem name='a'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>", "shared memory (shmem)"),
    device("<panic model='isa'/>", "a panic device"),
    device("<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>", "a TPM"),
    Row{{.devices = "<iommu model='intel'/>", .machine = "q35"}, "an IOMMU"},
    device("<vsock model='virtio'><cid auto='no' address='3'/></vsock>", "a vsock device"),
    device("<rng model='virtio-transitional'><backend model='random'/></rng>", "rng model 'virtio-transitional'"),
    device("<rng model='virtio'><backend model='egd' type='unix'><source mode='connect' path='/a'/></backend></rng>",
           "rng backend 'egd'"),
    device("<memballoon model='virtio-transitional'/>", "memballoon model 'virtio-transitional'"),
    device("<watchdog model='i6300esb' action='dump'/>", "watchdog action 'dump'")));

// ---- what is wrong rather than unsupported ---------------------------------------------

struct WrongRow {
    Sample sample;
    const char *message;
};

void PrintTo(const WrongRow &row, std::ostream *out)
{
    *out << row.message;
}

class Wrong : public testing::TestWithParam<WrongRow>
{
};

TEST_P(Wrong, IsToldAsIs)
{
    const auto def = parseDomain(sampleDomain(GetParam().sample));
    ASSERT_FALSE(def) << "taken: " << GetParam().message;
    EXPECT_EQ(def.error().message, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(Machine, Wrong, testing::Values(
    WrongRow{{.devices = "<disk type='file'>" VDA "</disk>"}, "invalid argument: disk 'vda' has no source"},
    WrongRow{{.devices = DISK("", "<target dev='sda' bus='sata'/><address type='drive' unit='6'/>")},
             "invalid argument: disk 'sda': a SATA controller has bus 0 with units 0 to 5"},
    WrongRow{{.devices = DISK("", "<target dev='hda' bus='ide'/><address type='drive' bus='2'/>")},
             "invalid argument: disk 'hda': an IDE controller has buses 0 and 1 with units 0 and 1"},
    WrongRow{{.devices = "<controller type='ide'><address type='pci' slot='9'/></controller>"},
             "invalid argument: controller 'ide' number 0 has the PCI address 0000:00:01.1"},
    WrongRow{{.devices = "<controller type='sata'><address type='pci' slot='9'/></controller>", .machine = "q35"},
             "invalid argument: controller 'sata' number 0 has the PCI address 0000:00:1f.2"},
    WrongRow{{.devices = "<graphics type='vnc' port='80'/>"}, "invalid argument: VNC port 80: the lowest is 5900"},
    WrongRow{{.devices = "<serial type='pty'><target port='4'/></serial>"},
             "invalid argument: serial port 4: a machine has ports 0 to 3"}));

TEST(Refused, QemusOwnNamespace)
{
    const std::string open = "<domain type='qemu'", ns = " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'";
    std::string xml = sampleDomain({.top = "<qemu:commandline><qemu:arg value='-s'/></qemu:commandline>"});
    const auto def = parseDomain(xml.insert(open.size(), ns));
    ASSERT_FALSE(def);
    EXPECT_EQ(def.error().message, "unsupported configuration: passthrough of QEMU arguments (the qemu namespace) is not "
                                   "supported by the machine hypervisor");
    xml = sampleDomain({});
    EXPECT_TRUE(parseDomain(xml.insert(open.size(), ns)));
}

TEST(Supported, WhatNeedsNothingOfUs)
{
    for (const char *top : {"<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
                            "<seclabel type='none'/>", "<on_crash>restart</on_crash>",
                            "<features><acpi/><apic/><pae/></features>"}) {
        const auto def = parseDomain(sampleDomain({.top = top}));
        EXPECT_TRUE(def) << top << ": " << def.error().message;
    }
}

TEST(Supported, ADomainOfWhichNothingIsSaid)
{
    EXPECT_TRUE(parseDomain("<domain type='qemu'><name>a</name><memory>65536</memory><os><type>hvm</type></os></domain>"));
}

} // namespace
} // namespace godwit::hypervisor::machine
