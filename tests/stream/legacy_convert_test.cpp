// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/unique_fd.h"
#include "stream/convert_reader.h"
#include "tests/stream/legacy_streams.h"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>

namespace godwit::tests {

using namespace base;
using namespace stream::legacy;
using namespace stream;

namespace {

using Records = std::vector<std::string>;

UniqueFd memoryFile(const Bytes &content = {})
{
    UniqueFd file(::memfd_create("stream", MFD_CLOEXEC));
    EXPECT_EQ(::pwrite(file.get(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    return file;
}

Bytes contentOf(int fd)
{
    Bytes out(static_cast<size_t>(::lseek(fd, 0, SEEK_END)));
    EXPECT_EQ(::pread(fd, out.data(), out.size(), 0), static_cast<ssize_t>(out.size()));
    return out;
}

/// Two connected fds: [0] to read from, [1] to write to.
std::array<UniqueFd, 2> connected(bool socket, int flags = 0)
{
    std::array<int, 2> fds{};
    EXPECT_EQ(socket ? ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (flags ? SOCK_NONBLOCK : 0), 0, fds.data())
                     : ::pipe2(fds.data(), O_CLOEXEC | flags), 0);
    return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

void writeAll(int fd, const Bytes &data)
{
    FdSink sink(fd);
    EXPECT_TRUE(sink.write(data));
}

Bytes readAll(int fd)
{
    FdSource source(fd);
    Bytes out(64 << 20);
    out.resize(source.readUpTo(out).value_or(0));
    return out;
}

/// A line of /proc/self/status.
long kibibytes(const std::string &name)
{
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;)
        if (word == name) {
            long value = 0;
            status >> value;
            return value;
        }
    return 0;
}

/// 8 MiB of pages that all differ.
Bytes largeStream()
{
    LegacyStream out(Width::Bits64, 4096);
    for (uint32_t first = 0; first < 2048; first += 1024) {
        std::vector<uint32_t> words;
        for (uint32_t i = 0; i < 1024; i++)
            words.push_back(first + i);
        out.batch(words, false);
        for (uint32_t i = 0; i < 1024 * pageSize / 4; i++)
            out.u32(first * 7919 + i);
    }
    return out.chunk(Chunk::End).hvmTail().deviceModel().take();
}

/// One image of a checkpointed stream, its page filled with `value`.
Bytes image(unsigned value, std::string_view signature, bool marked)
{
    LegacyStream out(Width::Bits64);
    out.batch({value});
    if (marked)
        out.chunk(Chunk::LastCheckpoint);
    return out.chunk(Chunk::End).hvmTail().deviceModel(signature).take();
}

/// Without the p2m_size, which only the first image has.
Bytes next(const Bytes &whole)
{
    return {whole.begin() + 8, whole.end()};
}

constexpr std::string_view version2 = "DeviceModelRecord0002", untilTheEnd = "QemuDeviceModelRecord",
                           remus = "RemusDeviceModelState";
const Records regularRecords{"libxc_context", "STATIC_DATA_END", "PAGE_DATA 4112", "HVM_PARAMS 56", "HVM_CONTEXT 7",
                             "END", "emulator_context 18", "end"};

/// What a reader of the later format gets for page `pfn`.
std::byte firstByteOf(uint64_t pfn, const Bytes &converted)
{
    MemorySource source(converted);
    RecordingHandler handler(4096);
    const auto state = readLibxl(source, handler);
    EXPECT_TRUE(state) << state.error().message;
    return handler.memory[pfn][0];
}

} // namespace

TEST(ConvertLegacy, WritesTheRecordsInXensOrder)
{
    for (const Width width : {Width::Bits32, Width::Bits64}) {
        const auto hvm = convertLegacy(goodLegacyHvm(width));
        EXPECT_EQ(hvm.error, "");
        EXPECT_EQ(recordsOf(hvm.output), (Records{
            "libxc_context", "STATIC_DATA_END", "PAGE_DATA 8232", "X86_TSC_INFO 24", "HVM_PARAMS 24", "HVM_PARAMS 56",
            "HVM_CONTEXT 7", "END", "emulator_xenstore_data 97", "emulator_context 18", "end"}));
        const auto pv = convertLegacy(goodLegacyPv(width));
        EXPECT_EQ(pv.error, "");
        EXPECT_EQ(recordsOf(pv.output), (Records{
            "libxc_context", "X86_PV_INFO 8", "STATIC_DATA_END", "X86_PV_P2M_FRAMES 16", "PAGE_DATA 12320",
            "X86_PV_VCPU_BASIC 2808", "X86_PV_VCPU_EXTENDED 136", "X86_PV_VCPU_XSAVE 72", "SHARED_INFO 4096", "END", "end"}));
    }
}

TEST(ConvertLegacy, LeavesOutBatchesThatSayNothing)
{
    LegacyStream out(Width::Bits64);
    out.batch({0xf0000000, 0xf0000000}).batch({3}).batch({0xf0000000}).chunk(Chunk::End).hvmTail().deviceModel();
    EXPECT_EQ(recordsOf(convertLegacy(out.take()).output), regularRecords);
}

TEST(ConvertLegacy, WritesOnlyTheLibxcStreamWhenAsked)
{
    const Bytes input = goodLegacyHvm(Width::Bits64);
    const auto done = convertLegacy(input, {.read = {}, .bareLibxc = true});
    EXPECT_EQ(done.error, "");
    MemorySource source(done.output);
    RecordingHandler handler;
    ASSERT_TRUE(libxc::readStream(source, handler));
    EXPECT_EQ(handler.header, (libxc::DomainHeader{DomainType::X86Hvm, 0, 1}));
    Bytes rest(done.output.begin() + static_cast<ptrdiff_t>(source.offset()), done.output.end());
    EXPECT_EQ(rest, Bytes(input.end() - static_cast<ptrdiff_t>(rest.size()), input.end()));
    EXPECT_EQ(rest.size(), 21u + 4 + 10);
    const ConvertOptions noModel{.read = {.guest = {}, .checkpointed = false, .deviceModel = false}, .bareLibxc = true};
    EXPECT_EQ(convertLegacy(input, noModel).read, input.size() - rest.size());
}

TEST(ConvertLegacy, TellsItsProgress)
{
    std::vector<uint64_t> read;
    const auto done = convertLegacy(largeStream(), {.read = {}, .progress = [&](uint64_t in, uint64_t out) {
        EXPECT_GT(out, in);
        read.push_back(in);
    }});
    EXPECT_EQ(done.error, "");
    EXPECT_EQ(read, (std::vector<uint64_t>{8 + 4 + 1024 * 4104, 8 + 2 * (4 + 1024 * 4104)}));
}

TEST(ReadLegacy, RefusesAStateThatQemuDidNotWrite)
{
    for (const char *state : {"", "QEV", "something else"}) {
        const Bytes input = LegacyStream(Width::Bits64).batch({3}).chunk(Chunk::End).hvmTail()
            .text("QemuDeviceModelRecord").text(state).take();
        MemorySource source(input);
        RecordingHandler handler;
        const auto read = readLegacy(source, handler);
        ASSERT_FALSE(read) << state;
        EXPECT_NE(read.error().message.find("QEMU did not write"), std::string::npos) << read.error().message;
    }
}

TEST(ReadLegacy, DeliversWhatTheConvertedStreamHas)
{
    const Bytes pv = goodLegacyPv(Width::Bits32);
    const Bytes until = LegacyStream(Width::Bits64).batch({3}).chunk(Chunk::End).hvmTail()
        .text("QemuDeviceModelRecord").text("QEVM state").take();
    for (const Bytes &input : {goodLegacyHvm(Width::Bits32), goodLegacyHvm(Width::Bits64), pv, until}) {
        const Bytes converted = convertLegacy(input).output;
        MemorySource before(input), after(converted);
        RecordingHandler legacy, later;
        const auto state = readLegacy(before, legacy), expected = readLibxl(after, later);
        ASSERT_TRUE(state) << state.error().message;
        ASSERT_TRUE(expected) << expected.error().message;
        EXPECT_EQ(legacy.records, later.records);
        EXPECT_EQ(legacy.header, later.header);
        EXPECT_EQ(legacy.without, later.without);
        EXPECT_EQ(legacy.memory, later.memory);
        ASSERT_EQ(state->has_value(), expected->has_value());
        EXPECT_EQ(state->has_value(), input != pv);
        EXPECT_TRUE(!state->has_value() || (*state)->data == (*expected)->data);
        for (size_t length = 0; length < input.size() && input != until; length += 97) {
            MemorySource part{std::span(input).first(length)};
            EXPECT_FALSE(readLegacy(part, legacy)) << length;
        }
    }
}

// ---- device models ----------------------------------------------------------------------

TEST(ConvertDeviceModel, TakesTheOnesWithALength)
{
    for (const auto signature : {version2, remus})
        EXPECT_EQ(recordsOf(convertLegacy(image(3, signature, true)).output), regularRecords);
    EXPECT_EQ(convertLegacy(image(3, "SomeOtherDeviceModel.", true)).error,
              "device model at byte 4159: signature 'SomeOtherDeviceModel.' is not known");
}

TEST(ConvertDeviceModel, TakesTheOneThatEndsWithTheStream)
{
    LegacyStream out(Width::Bits64);
    out.batch({3}).chunk(Chunk::End).hvmTail().text(untilTheEnd).text("QEVM state");
    const auto done = convertLegacy(out.take());
    EXPECT_EQ(done.error, "");
    EXPECT_EQ(recordsOf(done.output), regularRecords);
    LegacyStream wrong(Width::Bits64);
    wrong.batch({3}).chunk(Chunk::End).hvmTail().text(untilTheEnd).text("XXVM state");
    EXPECT_EQ(convertLegacy(wrong.take()).error, "device model at byte 4155: has a state that QEMU did not write");
}

TEST(ConvertDeviceModel, FailsWithoutAPlaceForOneThatEndsWithTheStream)
{
    LegacyStream out(Width::Bits64);
    out.batch({3}).chunk(Chunk::End).hvmTail().text(untilTheEnd).text("QEVM state");
    const ConvertOptions options{.read = {.guest = {}, .temporaryFolder = "/nonexistent"}};
    EXPECT_EQ(convertLegacy(out.take(), options).error,
              "device model at byte 4155: cannot make a temporary file in /nonexistent: No such file or directory");
}

// ---- the four cases of checkpoints ----------------------------------------------------------

TEST(ConvertCheckpoints, RegularFromBeforeTheChunkIsOneImage)
{
    for (const auto signature : {version2, remus})
        EXPECT_EQ(recordsOf(convertLegacy(image(3, signature, false)).output), regularRecords);
}

TEST(ConvertCheckpoints, RegularFromAfterTheChunkIsTheSame)
{
    const auto marked = convertLegacy(image(3, version2, true)), unmarked = convertLegacy(image(3, version2, false));
    EXPECT_EQ(marked.error, "");
    EXPECT_EQ(marked.output, unmarked.output);
    const Bytes longer = concat({image(3, version2, true), next(image(4, version2, true))});
    EXPECT_EQ(convertLegacy(longer).read, image(3, version2, true).size());
}

TEST(ConvertCheckpoints, CheckpointedGoesOnUntilTheMarkedImage)
{
    const Bytes stream = concat({image(3, remus, false), next(image(4, remus, false)), next(image(5, version2, true)),
                                 bytesOf("what follows")});
    const auto done = convertLegacy(stream, checkpointedOptions());
    EXPECT_EQ(done.error, "");
    EXPECT_EQ(done.read, stream.size() - 12);
    const Records one{"PAGE_DATA 4112", "HVM_PARAMS 56", "HVM_CONTEXT 7"};
    Records expected{"libxc_context", "STATIC_DATA_END"};
    for (int i = 0; i < 2; i++) {
        expected.insert(expected.end(), one.begin(), one.end());
        expected.insert(expected.end(), {"CHECKPOINT", "emulator_context 18", "checkpoint_end"});
    }
    expected.insert(expected.end(), one.begin(), one.end());
    expected.insert(expected.end(), {"END", "emulator_context 18", "end"});
    EXPECT_EQ(recordsOf(done.output), expected);
}

TEST(ConvertCheckpoints, CheckpointedFromBeforeTheChunkIsRefused)
{
    const Bytes stream = concat({image(3, remus, false), next(image(4, remus, false))});
    const auto ended = convertLegacy(stream, checkpointedOptions());
    const std::string at = std::to_string(stream.size());
    EXPECT_EQ(ended.error, "after 2 whole images, none marked as the last: chunk at byte " + at
                           + ": the stream ends at byte " + at);
    EXPECT_EQ(recordsOf(ended.output).back(), "checkpoint_end") << "what came whole can be restored";
    EXPECT_EQ(convertLegacy(image(3, untilTheEnd, false), checkpointedOptions()).error,
              "device model at byte 4155: continuous protection from before LAST_CHECKPOINT cannot be told apart");
}

// ---- compressed pages --------------------------------------------------------------------------

namespace {

Bytes wholePage(unsigned value)
{
    Bytes out(1 + pageSize, static_cast<std::byte>(value));
    out[0] = std::byte{0x80};
    return out;
}

/// Two images, the second of these words with this compressed data, marked as the last.
Conversion convertCompressed(const std::vector<uint32_t> &words, const Bytes &data)
{
    LegacyStream out(Width::Bits64);
    out.batch({1, 2}).chunk(Chunk::EnableCompression).chunk(Chunk::End).hvmTail().deviceModel(remus);
    out.batch(words, false).compressed(data).chunk(Chunk::LastCheckpoint).chunk(Chunk::End).hvmTail().deviceModel(remus);
    return convertLegacy(out.take(), checkpointedOptions());
}

/// The data of the last PAGE_DATA of one page.
Bytes lastPageOf(const Bytes &output)
{
    const Bytes head = bytesOf(std::string_view("\1\0\0\0\x10\x10", 6));
    const auto at = std::find_end(output.begin(), output.end(), head.begin(), head.end());
    return at == output.end() ? Bytes() : Bytes(at + 24, at + 24 + static_cast<ptrdiff_t>(pageSize));
}

} // namespace

TEST(ConvertCompressed, WritesWholeAndChangedPages)
{
    for (const Width width : {Width::Bits32, Width::Bits64}) {
        const auto done = convertLegacy(goodLegacyCheckpoints(width), checkpointedOptions());
        ASSERT_EQ(done.error, "");
        const auto records = recordsOf(done.output);
        EXPECT_EQ(std::ranges::count(records, "PAGE_DATA 8216"), 3);
        EXPECT_EQ(std::ranges::count(records, "checkpoint_end"), 2);
        // The third image: page 1 begins with a new word, and page 2 is as it was.
        Bytes third(2 * pageSize, std::byte{0x5a});
        std::ranges::copy(bytesOf("new!"), third.begin());
        EXPECT_NE(std::search(done.output.begin(), done.output.end(), third.begin(), third.end()), done.output.end());
    }
}

TEST(ConvertCompressed, KeepsTheLastContentOfAPage)
{
    LegacyStream out(Width::Bits64);
    out.batch({1}).chunk(Chunk::EnableCompression).chunk(Chunk::End).hvmTail().deviceModel(remus);
    Bytes expected(pageSize, std::byte{1});
    for (unsigned i = 0; i < 20; i++) {
        // In image i, word i becomes i.
        Bytes runs;
        if (i > 0)
            runs.push_back(static_cast<std::byte>(0x80 | i));
        Writer changed;
        changed.u8(1);
        changed.u32(i);
        runs = concat({runs, changed.take()});
        for (unsigned left = 1023 - i; left > 0; left -= std::min(left, 127u))
            runs.push_back(static_cast<std::byte>(0x80 | std::min(left, 127u)));
        out.batch({1}, false).compressed(i == 0 ? wholePage(1) : runs);
        if (i == 19)
            out.chunk(Chunk::LastCheckpoint);
        out.chunk(Chunk::End).hvmTail().deviceModel(remus);
        if (i > 0)
            std::fill_n(expected.begin() + 4 * i, 4, std::byte{0});
        expected[4 * i] = static_cast<std::byte>(i > 0 ? i : 1);
    }
    const auto done = convertLegacy(out.take(), checkpointedOptions());
    ASSERT_EQ(done.error, "");
    EXPECT_EQ(lastPageOf(done.output), expected);
}

TEST(ConvertCompressed, TakesMorePagesThanAreInflatedAtOnce)
{
    LegacyStream out(Width::Bits32, 4096);
    out.batch({1}).chunk(Chunk::EnableCompression).chunk(Chunk::End).hvmTail().deviceModel(remus);
    Writer data;
    for (unsigned batch = 0; batch < 3; batch++) {
        std::vector<uint32_t> words;
        for (uint32_t i = 0; i < 1024; i++)
            words.push_back((batch * 1024 + i) | (i % 5 ? 0 : 0xe0000000));
        out.batch(words, false);
        for (const uint32_t word : words)
            if (word < 0xd0000000)
                data.bytes(wholePage(word));
    }
    out.compressed(data.take()).chunk(Chunk::LastCheckpoint).chunk(Chunk::End).hvmTail().deviceModel(remus);
    const auto done = convertLegacy(out.take(), checkpointedOptions());
    EXPECT_EQ(done.error, "");
    EXPECT_EQ(recordsOf(done.output).back(), "end");
    EXPECT_GT(done.output.size(), 2457 * pageSize);
}

TEST(ConvertCompressed, RefusesWhatIsNoPage)
{
    const auto errorOf = [](const std::vector<uint32_t> &words, const Bytes &data) {
        const std::string error = convertCompressed(words, data).error;
        return error.substr(error.rfind(": ") + 2);
    };
    const Bytes whole = wholePage(9);
    EXPECT_EQ(convertCompressed({1}, whole).error, "");
    EXPECT_EQ(convertCompressed({1, 0xe0000005}, whole).error, "");
    EXPECT_EQ(errorOf({1}, Bytes(1)), "page 0x1 changes what was never sent");
    EXPECT_EQ(errorOf({1}, bytesOf("\x01word")), "page 0x1 changes what was never sent");
    EXPECT_EQ(errorOf({1}, Bytes(whole.begin(), whole.end() - 1)), "ends inside a page");
    EXPECT_EQ(errorOf({1}, concat({whole, Bytes(1)})), "has more than the pages that wait for it");
    EXPECT_EQ(errorOf({1, 2}, whole), "comes before the data of 1 pages");
    EXPECT_EQ(errorOf({1, 2}, concat({whole, Bytes(1)})), "page 0x2 changes what was never sent");
}

TEST(ConvertCompressed, RefusesRunsThatDoNotMakeAPage)
{
    const auto errorOf = [](const Bytes &runs) {
        LegacyStream out(Width::Bits64);
        out.batch({1}).chunk(Chunk::EnableCompression).chunk(Chunk::End).hvmTail().deviceModel(remus);
        out.batch({1}, false).compressed(wholePage(1)).chunk(Chunk::End).hvmTail().deviceModel(remus);
        out.batch({1}, false).compressed(runs).chunk(Chunk::LastCheckpoint).chunk(Chunk::End).hvmTail().deviceModel(remus);
        const std::string error = convertLegacy(out.take(), checkpointedOptions()).error;
        return error.substr(error.rfind(": ") + 2);
    };
    Bytes skip(8, std::byte{0xff});
    EXPECT_EQ(errorOf(skip), "ends inside a page");
    EXPECT_EQ(errorOf(concat({skip, bytesOf("\x89")})), "has a run of 36 bytes at byte 4064 of a page");
    EXPECT_EQ(errorOf(concat({skip, bytesOf("\x80")})), "has a run of 0 bytes at byte 4064 of a page");
    EXPECT_EQ(errorOf(bytesOf("\x02only")), "ends inside a page");
}

// ---- files, pipes and sockets ---------------------------------------------------------------------

TEST(ConvertBetweenFds, MovesTheSameBytesByEveryWay)
{
    const Bytes input = largeStream();
    const Bytes expected = convertLegacy(input).output;
    for (const int from : {0, 1, 2}) {         // file, pipe, socket
        for (const int to : {0, 1, 2}) {
            for (const int flags : {0, O_NONBLOCK}) {
                auto in = connected(from == 2, flags), out = connected(to == 2, flags);
                const UniqueFd inFile = memoryFile(input), outFile = memoryFile();
                Bytes output;
                std::thread feeder([&] {
                    if (from != 0)
                        writeAll(in[1].get(), input);
                    in[1].reset();
                });
                std::thread drain([&] { output = to == 0 ? Bytes() : readAll(out[0].get()); });
                const auto done = convert(from == 0 ? inFile.get() : in[0].get(), to == 0 ? outFile.get() : out[1].get());
                EXPECT_TRUE(done) << done.error().message;
                out[1].reset();
                feeder.join();
                drain.join();
                EXPECT_EQ(to == 0 ? contentOf(outFile.get()) : output, expected) << from << " to " << to;
            }
        }
    }
}

TEST(ConvertBetweenFds, AppendsAndGoesOnFromWhereTheFdsAre)
{
    const Bytes input = goodLegacyHvm(Width::Bits32);
    const UniqueFd in = memoryFile(concat({bytesOf("head"), input})), out = memoryFile(bytesOf("first "));
    ::lseek(in.get(), 4, SEEK_SET);
    ::fcntl(out.get(), F_SETFL, O_APPEND);
    const auto done = convert(in.get(), out.get());
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(contentOf(out.get()), concat({bytesOf("first "), convertLegacy(input).output}));
    EXPECT_EQ(firstByteOf(2, convertLegacy(input).output), std::byte{2});
}

TEST(ConvertBetweenFds, AppendsWhatComesOutOfAPipe)
{
    // The kernel moves nothing to the end of such a file, and says so when the bytes have left the pipe.
    const Bytes input = largeStream();
    const UniqueFd out = memoryFile(bytesOf("first "));
    ::fcntl(out.get(), F_SETFL, O_APPEND);
    auto ends = connected(false);
    std::thread feeder([&] {
        writeAll(ends[1].get(), input);
        ends[1].reset();
    });
    const auto done = convert(ends[0].get(), out.get());
    feeder.join();
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(contentOf(out.get()), concat({bytesOf("first "), convertLegacy(input).output}));
}

TEST(ConvertBetweenFds, SaysWhereAFileEnds)
{
    Bytes input = largeStream();
    input.resize(3000000);
    const UniqueFd in = memoryFile(input), out = memoryFile();
    EXPECT_EQ(convert(in.get(), out.get()).error().message, "page batch at byte 8: the stream ends at byte 3000000");
    auto ends = connected(false);
    std::thread feeder([&] {
        writeAll(ends[1].get(), input);
        ends[1].reset();
    });
    EXPECT_EQ(convert(ends[0].get(), out.get()).error().message, "page batch at byte 8: the stream ends at byte 3000000");
    feeder.join();
}

TEST(ConvertBetweenFds, FailsWhenNobodyReads)
{
    std::signal(SIGPIPE, SIG_IGN);
    for (const bool socket : {false, true}) {
        auto ends = connected(socket);
        ends[0].reset();
        const UniqueFd in = memoryFile(largeStream());
        const auto done = convert(in.get(), ends[1].get());
        ASSERT_FALSE(done);
        EXPECT_EQ(done.error().errnum, EPIPE);
    }
}

TEST(ConvertBetweenFds, FailsWhenTheDiskIsFull)
{
    const UniqueFd in = memoryFile(largeStream()), full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
    EXPECT_EQ(convert(in.get(), full.get()).error().errnum, ENOSPC);
}

TEST(ConvertBetweenFds, TakesLittleMemoryFromAnEndlessStream)
{
    // 1 GiB of batches through pipes; the process as a whole must not grow by 16 MiB.
    const Bytes whole = largeStream();
    const Bytes batches(whole.begin() + 8, whole.begin() + 8 + 2 * (4 + 1024 * 4104));
    auto in = connected(false);
    std::thread feeder([&] {
        writeAll(in[1].get(), Bytes(whole.begin(), whole.begin() + 8));
        for (unsigned i = 0; i < 128; i++)
            writeAll(in[1].get(), batches);
        in[1].reset();
    });
    const UniqueFd sink(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    writeAll(UniqueFd(::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC)).get(), bytesOf("5"));   // begin to count
    const long before = kibibytes("VmRSS:");
    EXPECT_FALSE(convert(in[0].get(), sink.get()));
    const long peak = kibibytes("VmHWM:");
    feeder.join();
    EXPECT_GT(before, 0);
    EXPECT_LT(peak - before, 16 * 1024);
}

} // namespace godwit::tests
