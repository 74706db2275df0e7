// SPDX-License-Identifier: LGPL-2.1-or-later
#include "control/codec.h"

#include "base/bytes.h"
#include "base/strprintf.h"
#include "tests/control/corpus.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <random>
#include <set>
#include <sstream>

using namespace godwit::base;
using namespace godwit::control;

static std::vector<std::byte> frameOf(uint32_t type, std::span<const std::byte> payload)
{
    Writer out;
    out.u32(static_cast<uint32_t>(payload.size()));
    out.u32(type);
    out.bytes(payload);
    return out.take();
}

TEST(ControlCodec, SamplesCoverEveryMessageOnce)
{
    std::set<size_t> seen;
    for (const Message &message : sampleMessages())
        seen.insert(message.index());
    EXPECT_EQ(seen.size(), std::variant_size_v<Message>);
}

TEST(ControlCodec, CarriesEveryMessageUnchanged)
{
    for (const Message &message : sampleMessages()) {
        const auto frame = encode(message);
        ASSERT_TRUE(frame) << frame.error().message;
        const auto back = decode(*frame);
        ASSERT_TRUE(back) << back.error().message;
        EXPECT_TRUE(*back == message) << nameOf(message);
    }
}

TEST(ControlCodec, RejectsEveryTruncation)
{
    for (const Message &message : sampleMessages()) {
        const auto frame = encode(message).value();
        for (size_t length = 0; length < frame.size(); length++) {
            EXPECT_FALSE(decode(std::span(frame).first(length))) << nameOf(message) << " at " << length;
            if (length < frameHeaderSize)
                continue;
            // The same cut with a length that agrees: a field is missing, not the frame's end.
            const uint32_t type = std::visit([]<typename T>(const T &) { return T::type; }, message);
            EXPECT_FALSE(decode(frameOf(type, std::span(frame).subspan(8, length - 8))))
                << nameOf(message) << " at " << length;
        }
    }
}

TEST(ControlCodec, RejectsBytesAfterTheLastField)
{
    for (const Message &message : sampleMessages()) {
        const auto frame = encode(message).value();
        std::vector<std::byte> payload(frame.begin() + 8, frame.end());
        payload.push_back(std::byte{0});
        const uint32_t type = std::visit([]<typename T>(const T &) { return T::type; }, message);
        EXPECT_FALSE(decode(frameOf(type, payload))) << nameOf(message);
    }
}

TEST(ControlCodec, NamesMessageAndFieldInItsErrors)
{
    Writer payload;
    payload.u32(9);
    payload.u32(0);
    const auto result = decode(frameOf(Log::type, payload.data()));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message, "helper message Log: level: has the unknown value 9");
    EXPECT_EQ(result.error().code, ErrorCode::BadFormat);
}

TEST(ControlCodec, RejectsUnknownTypes)
{
    for (uint32_t type : {0u, 7u, 100u, 108u, ~0u})
        EXPECT_FALSE(decode(frameOf(type, {}))) << type;
}

TEST(ControlCodec, HoldsTheLimitOfStrings)
{
    Save save{.guest = std::string(maxString, 'n')};
    EXPECT_TRUE(decode(encode(save).value()));
    save.guest += 'n';
    EXPECT_FALSE(encode(save));
    Writer payload;
    payload.u8(0);
    payload.u32(maxString + 1);
    payload.text(std::string(maxString + 1, 'n'));
    EXPECT_FALSE(decode(frameOf(StateLoaded::type, payload.data())));
}

TEST(ControlCodec, CutsProseInsteadOfLosingIt)
{
    const auto back = decode(encode(Log{LogLevel::Info, std::string(maxString + 100, 'x')}).value());
    ASSERT_TRUE(back);
    EXPECT_EQ(std::get<Log>(*back).text.size(), maxString);
}

TEST(ControlCodec, HoldsTheLimitOfItems)
{
    Save save;
    save.regions.resize(maxItems);
    EXPECT_TRUE(decode(encode(save).value()));
    save.regions.resize(maxItems + 1);
    EXPECT_FALSE(encode(save));
}

TEST(ControlCodec, RejectsFramesBeyondTheLimit)
{
    EXPECT_FALSE(decode(std::vector<std::byte>(maxFrame + 1)));
}

TEST(ControlCodec, RejectsNulInsideStringsAndTruthValuesThatAreNone)
{
    EXPECT_FALSE(encode(Log{LogLevel::Info, std::string("a\0b", 3)}));
    Writer payload;
    payload.u8(2);
    payload.u32(0);
    EXPECT_FALSE(decode(frameOf(StateLoaded::type, payload.data())));
}

TEST(ControlCodec, TakesErrorCodesItDoesNotKnowAsInternal)
{
    Writer payload;
    payload.u32(4000);
    payload.u32(0);
    payload.u32(0);
    const auto failed = decode(frameOf(Failed::type, payload.data()));
    ASSERT_TRUE(failed);
    EXPECT_EQ(std::get<Failed>(*failed).code, ErrorCode::Internal);
}

TEST(ControlCodec, SurvivesMutatedMessages)
{
    std::mt19937 random(1);
    for (const Message &message : sampleMessages()) {
        const auto frame = encode(message).value();
        EXPECT_TRUE(checkDecoder(frame)) << nameOf(message);
        for (int i = 0; i < 5000; i++) {
            auto mutated = frame;
            for (unsigned n = random() % 4 + 1; n > 0; n--)
                mutated[random() % mutated.size()] = static_cast<std::byte>(random());
            mutated.resize(random() % 8 ? mutated.size() : random() % (mutated.size() + 8));
            ASSERT_TRUE(checkDecoder(mutated)) << nameOf(message);
        }
    }
}

/// Describes a message as docs/control.md does: "field type, field type".
struct Describer {
    std::string text;
    void add(const char *field, const char *type) { text += strprintf("%s%s %s", text.empty() ? "" : ", ", field, type); }
    void operator()(const char *field, bool) { add(field, "bool"); }
    void operator()(const char *field, uint32_t) { add(field, "u32"); }
    void operator()(const char *field, uint64_t) { add(field, "u64"); }
    void operator()(const char *field, const std::string &) { add(field, "string"); }
    void operator()(const char *field, const std::vector<Region> &) { add(field, "Region[]"); }
    void operator()(const char *field, const Progress &) { add(field, "Progress"); }
    void operator()(const char *field, const Tls &) { add(field, "Tls"); }
    void operator()(const char *field, const ImageIndex &) { add(field, "ImageIndex"); }
    void operator()(const char *field, const PageSource &) { add(field, "PageSource"); }
    void operator()(const char *field, StreamKind) { add(field, "StreamKind"); }
    void operator()(const char *field, Phase) { add(field, "Phase"); }
    void operator()(const char *field, godwit::control::LogLevel) { add(field, "LogLevel"); }
    void operator()(const char *field, ErrorCode) { add(field, "ErrorCode"); }
};

TEST(ControlDocument, HasExactlyTheMessagesOfTheCode)
{
    std::ifstream file(GODWIT_DOCS "/control.md");
    std::stringstream document;
    document << file.rdbuf();
    for (const Message &message : sampleMessages()) {
        const std::string row = std::visit([]<typename T>(const T &body) {
            Describer describer;
            T::fields(body, describer);
            return strprintf("| %u | %s | %s | %zu | %s |", T::type, T::name, T::type > 100 ? "helper" : "driver",
                             T::fdCount, describer.text.empty() ? "–" : describer.text.c_str());
        }, message);
        EXPECT_NE(document.str().find(row + "\n"), std::string::npos) << "missing in docs/control.md:\n" << row;
    }
    Describer region;
    const Region none;
    Region::fields(none, region);
    EXPECT_NE(document.str().find("`Region` is " + region.text), std::string::npos) << region.text;
    Describer index;
    const ImageIndex plain;
    ImageIndex::fields(plain, index);
    EXPECT_NE(document.str().find("`ImageIndex` is " + index.text), std::string::npos) << index.text;
    Describer source;
    const PageSource nowhere;
    PageSource::fields(nowhere, source);
    EXPECT_NE(document.str().find("`PageSource` is " + source.text), std::string::npos) << source.text;
    const std::string text = document.str();
    size_t rows = 0;
    for (size_t at = 0; (at = text.find("\n| ", at)) != std::string::npos; at++)
        rows += std::isdigit(static_cast<unsigned char>(text[at + 3])) ? 1 : 0;
    EXPECT_EQ(rows, sampleMessages().size()) << "docs/control.md describes messages that do not exist";
}
