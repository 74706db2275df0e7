// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/cookie.h"

#include <gtest/gtest.h>
#include <libxml/relaxng.h>

using namespace godwit;
using migration::Cookie;
using migration::CookieExtension;
using migration::formatCookie;

static base::Result<Cookie> parse(const std::string &text)
{
    return migration::parseCookie(text.c_str(), static_cast<int>(text.size() + 1));
}

static Cookie sample()
{
    Cookie cookie;
    cookie.name = "web<1>";
    for (size_t i = 0; i < cookie.uuid.size(); i++)
        cookie.uuid[i] = static_cast<unsigned char>(i * 16 + 1);
    cookie.hostname = "alpha";
    return cookie;
}

static const std::string stock = "<libxl-migration>\n"
                                 "  <name>web1</name>\n"
                                 "  <uuid>01112131-4151-6171-8191-a1b1c1d1e1f1</uuid>\n"
                                 "  <hostname>alpha</hostname>\n"
                                 "  <migration-stream-version>2</migration-stream-version>\n"
                                 "</libxl-migration>\n";

TEST(Cookie, IsStockLibxlsElementToTheLetterWithoutOurChild)
{
    Cookie cookie = sample();
    cookie.name = "web1";
    EXPECT_EQ(formatCookie(cookie), stock);
}

static Cookie everything()
{
    Cookie cookie = sample();
    migration::Abilities abilities;
    abilities.streamVersionMin = 1;
    abilities.streamVersionMax = 3;
    abilities.layouts = {"newer", "plain"};
    abilities.channels = 8;
    abilities.tls = true;
    abilities.compression = {"zstd", "lz4"};
    abilities.checkpoints = true;
    abilities.postCopy = true;
    CookieExtension ours;
    ours.abilities = abilities;
    ours.question = true;
    ours.secret = std::string(64, 'a');
    ours.persistentXml = "<domain>&amp;</domain>";
    ours.stoodStill = std::chrono::milliseconds(69);
    ours.rounds = 7;
    cookie.extension = ours;
    return cookie;
}

TEST(Cookie, RoundTripsWithOurChild)
{
    const Cookie cookie = everything();
    auto back = parse(formatCookie(cookie));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->name, cookie.name);
    EXPECT_EQ(back->uuid, cookie.uuid);
    EXPECT_EQ(back->hostname, cookie.hostname);
    ASSERT_TRUE(back->extension);
    EXPECT_EQ(back->extension->abilities, cookie.extension->abilities);
    EXPECT_EQ(back->extension->question, cookie.extension->question);
    EXPECT_EQ(back->extension->secret, cookie.extension->secret);
    EXPECT_EQ(back->extension->persistentXml, cookie.extension->persistentXml);
    EXPECT_EQ(back->extension->stoodStill, cookie.extension->stoodStill);
    EXPECT_EQ(back->extension->rounds, cookie.extension->rounds);
}

/// libxml2's verdict, and what it says.
static std::string schemaSays(const std::string &text)
{
    std::string said;
    xmlRelaxNGParserCtxtPtr parser = xmlRelaxNGNewParserCtxt(GODWIT_XML "/migration-cookie.rng");
    xmlRelaxNGPtr schema = xmlRelaxNGParse(parser);
    xmlRelaxNGFreeParserCtxt(parser);
    if (!schema)
        return "the schema cannot be read";
    xmlRelaxNGValidCtxtPtr context = xmlRelaxNGNewValidCtxt(schema);
    const auto note = [](void *opaque, auto *error) { *static_cast<std::string *>(opaque) += error->message; };
    xmlRelaxNGSetValidStructuredErrors(context, note, &said);
    xmlDocPtr document = xmlReadMemory(text.data(), static_cast<int>(text.size()), nullptr, nullptr, 0);
    if (!document || xmlRelaxNGValidateDoc(context, document) != 0)
        said += "invalid";
    xmlFreeDoc(document);
    xmlRelaxNGFreeValidCtxt(context);
    xmlRelaxNGFree(schema);
    return said;
}

TEST(Cookie, IsValidByItsSchema)
{
    EXPECT_EQ(schemaSays(stock), "");
    EXPECT_EQ(schemaSays(formatCookie(everything())), "");
    Cookie least = sample();
    least.extension.emplace();
    EXPECT_EQ(schemaSays(formatCookie(least)), "");
    // The schema can say no.
    const std::string whole = formatCookie(everything());
    for (const char *wrong : {"min='0' max='3'", "min='1' max='x'"}) {
        std::string text = whole;
        text.replace(text.find("min='1' max='3'"), 15, wrong);
        EXPECT_NE(schemaSays(text), "") << wrong;
    }
}

TEST(Cookie, PassesOverChildrenItDoesNotKnow)
{
    std::string text = stock;
    text.insert(text.find("  <name>"), "  <newer attribute='1'><deep/></newer>\n");
    auto cookie = parse(text);
    ASSERT_TRUE(cookie) << cookie.error().message;
    EXPECT_EQ(cookie->name, "web1");
    EXPECT_FALSE(cookie->extension);
}

TEST(Cookie, RefusesEveryTruncation)
{
    const std::string whole = formatCookie(sample());
    // The element's end tag without the final newline is still the whole element.
    for (size_t length = 0; length + 1 < whole.size(); length++)
        EXPECT_FALSE(parse(whole.substr(0, length))) << length;
}

TEST(Cookie, RefusesALengthThatIsNotItsOwn)
{
    EXPECT_FALSE(migration::parseCookie(stock.c_str(), 0));
    EXPECT_FALSE(migration::parseCookie(stock.c_str(), -1));
    EXPECT_FALSE(migration::parseCookie(stock.c_str(), static_cast<int>(stock.size())));
    EXPECT_FALSE(migration::parseCookie((stock + '\0' + "x").c_str(), static_cast<int>(stock.size() + 3)));
    const std::string huge(migration::maxCookieSize + 1, ' ');
    EXPECT_FALSE(migration::parseCookie(huge.c_str(), static_cast<int>(huge.size() + 1)));
}

TEST(Cookie, RefusesWhatMakesNoSense)
{
    const auto with = [](const char *before, const char *after) {
        std::string text = stock;
        text.replace(text.find(before), strlen(before), after);
        return parse(text);
    };
    EXPECT_FALSE(with("version>2<", "version>0<"));
    EXPECT_FALSE(with("version>2<", "version>-1<"));
    EXPECT_FALSE(with("version>2<", "version>two<"));
    EXPECT_FALSE(with("<name>web1</name>", ""));
    EXPECT_FALSE(with("01112131-4151", "zz112131-4151"));
    EXPECT_FALSE(with("  <name>", "  <godwit/><name>"));
    EXPECT_FALSE(with("  <name>", "  <godwit><stream min='3' max='2'/></godwit><name>"));
    EXPECT_FALSE(with("  <name>", "  <godwit><stream min='2' max='2'/><secret>abc</secret></godwit><name>"));
    const auto ours = [&](const std::string &children) {
        return with("  <name>", ("  <godwit><stream min='2' max='2'/>" + children + "</godwit><name>").c_str());
    };
    EXPECT_TRUE(ours(""));
    EXPECT_TRUE(ours("<channels max='255'/>"));
    EXPECT_FALSE(ours("<channels max='256'/>"));
    EXPECT_FALSE(ours("<channels max='0'/>"));
    EXPECT_FALSE(ours("<channels/>"));
    EXPECT_TRUE(ours("<layout name='" + std::string(32, 'a') + "'/>"));
    EXPECT_FALSE(ours("<layout name='" + std::string(33, 'a') + "'/>"));
    EXPECT_FALSE(ours("<layout name='a b'/>"));
    EXPECT_FALSE(ours("<layout/>"));
    std::string methods;
    for (int i = 0; i < 16; i++)
        methods += "<compression method='m'/>";
    EXPECT_TRUE(ours(methods));
    EXPECT_FALSE(ours(methods + "<compression method='m'/>"));
    EXPECT_TRUE(ours("<rounds>3</rounds>"));
    EXPECT_FALSE(ours("<rounds>many</rounds>"));
    EXPECT_FALSE(with("  <name>", "  <godwit><stream min='0' max='2'/></godwit><name>"));
    EXPECT_FALSE(parse("<other/>\n"));
    EXPECT_FALSE(parse("garbage"));
}
