// SPDX-License-Identifier: LGPL-2.1-or-later
#include "migration/cookie.h"

#include "base/i18n.h"
#include "conf/handle.h"
#include "conf/libvirt_error.h"

namespace godwit::migration {

using base::Error;
using base::ErrorCode;
using base::makeError;
using base::Result;
using base::tr;

using XmlDocument = std::unique_ptr<xmlDoc, conf::FreeWith<xmlFreeDoc>>;
using XPathContext = std::unique_ptr<xmlXPathContext, conf::FreeWith<xmlXPathFreeContext>>;

static void formatAbilities(virBuffer *out, const Abilities &abilities)
{
    virBufferAsprintf(out, "<stream min='%u' max='%u'/>\n", abilities.streamVersionMin, abilities.streamVersionMax);
    for (const std::string &name : abilities.layouts)
        virBufferEscapeString(out, "<layout name='%s'/>\n", name.c_str());
    virBufferAsprintf(out, "<channels max='%u'/>\n", abilities.channels);
    if (abilities.tls)
        virBufferAddLit(out, "<tls/>\n");
    for (const std::string &method : abilities.compression)
        virBufferEscapeString(out, "<compression method='%s'/>\n", method.c_str());
    if (abilities.checkpoints)
        virBufferAddLit(out, "<checkpoints/>\n");
    if (abilities.postCopy)
        virBufferAddLit(out, "<post-copy/>\n");
}

std::string formatCookie(const Cookie &cookie)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    virUUIDFormat(cookie.uuid.data(), uuid);
    conf::Buffer buffer;
    virBuffer *out = buffer.get();
    virBufferAddLit(out, "<libxl-migration>\n");
    virBufferAdjustIndent(out, 2);
    virBufferEscapeString(out, "<name>%s</name>\n", cookie.name.c_str());
    virBufferAsprintf(out, "<uuid>%s</uuid>\n", uuid);
    virBufferEscapeString(out, "<hostname>%s</hostname>\n", cookie.hostname.c_str());
    virBufferAsprintf(out, "<migration-stream-version>%u</migration-stream-version>\n", cookie.streamVersion);
    if (const auto &ours = cookie.extension) {
        virBufferAddLit(out, "<godwit>\n");
        virBufferAdjustIndent(out, 2);
        formatAbilities(out, ours->abilities);
        if (ours->question)
            virBufferAddLit(out, "<question/>\n");
        if (!ours->secret.empty())
            virBufferAsprintf(out, "<secret>%s</secret>\n", ours->secret.c_str());
        if (!ours->persistentXml.empty())
            virBufferEscapeString(out, "<persistent>%s</persistent>\n", ours->persistentXml.c_str());
        if (ours->stoodStill)
            virBufferAsprintf(out, "<stood-still unit='ms'>%llu</stood-still>\n",
                              static_cast<unsigned long long>(ours->stoodStill->count()));
        if (ours->rounds)
            virBufferAsprintf(out, "<rounds>%u</rounds>\n", *ours->rounds);
        virBufferAdjustIndent(out, -2);
        virBufferAddLit(out, "</godwit>\n");
    }
    virBufferAdjustIndent(out, -2);
    virBufferAddLit(out, "</libxl-migration>\n");
    return conf::Text(buffer.take()).get();
}

static Error broken(const char *what)
{
    return makeError(ErrorCode::BadFormat, tr("migration cookie: %s"), what);
}

static std::string text(const char *path, xmlXPathContextPtr context)
{
    conf::Text value(virXPathString(path, context));
    return value ? value.get() : "";
}

/// The attribute `attribute` of every <godwit><`element`>: short names, not too many.
static Result<std::vector<std::string>> parseNames(xmlXPathContextPtr context, const char *element,
                                                   const char *attribute)
{
    std::vector<std::string> names;
    xmlNodePtr parent = virXPathNode("./godwit", context);
    for (xmlNodePtr node = parent->children; node; node = node->next) {
        if (!virXMLNodeNameEqual(node, element))
            continue;
        const conf::Text value(virXMLPropString(node, attribute));
        const std::string name = value ? value.get() : "";
        if (name.empty() || name.size() > maxCookieNameLength || names.size() == maxCookieNames ||
            name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") != std::string::npos)
            return makeError(ErrorCode::BadFormat, tr("migration cookie: <%s> lists what is no name, or too many"),
                             element);
        names.push_back(name);
    }
    return names;
}

static Result<Abilities> parseAbilities(xmlXPathContextPtr context)
{
    Abilities out;
    if (virXPathUInt("string(./godwit/stream/@min)", context, &out.streamVersionMin) < 0 ||
        virXPathUInt("string(./godwit/stream/@max)", context, &out.streamVersionMax) < 0 ||
        out.streamVersionMin == 0 || out.streamVersionMin > out.streamVersionMax)
        return broken(tr("no valid range of stream versions"));
    if (auto layouts = TRY(parseNames(context, "layout", "name")); !layouts.empty())
        out.layouts = std::move(layouts);
    if (virXPathNode("./godwit/channels", context) &&
        (virXPathUInt("string(./godwit/channels/@max)", context, &out.channels) < 0 || out.channels == 0 ||
         out.channels > maxCookieChannels))
        return broken(tr("no valid number of channels"));
    out.tls = virXPathNode("./godwit/tls", context);
    out.compression = TRY(parseNames(context, "compression", "method"));
    out.checkpoints = virXPathNode("./godwit/checkpoints", context);
    out.postCopy = virXPathNode("./godwit/post-copy", context);
    return out;
}

static Result<std::optional<unsigned>> optionalNumber(xmlXPathContextPtr context, const std::string &path, const char *problem)
{
    if (!virXPathNode(path.c_str(), context))
        return std::optional<unsigned>();
    unsigned number = 0;
    if (virXPathUInt(("string(" + path + ")").c_str(), context, &number) < 0)
        return broken(problem);
    return std::optional(number);
}

static Result<CookieExtension> parseExtension(xmlXPathContextPtr context)
{
    CookieExtension ours;
    ours.abilities = TRY(parseAbilities(context));
    ours.question = virXPathNode("./godwit/question", context);
    ours.secret = text("string(./godwit/secret)", context);
    if (!ours.secret.empty() &&
        (ours.secret.size() != 64 || ours.secret.find_first_not_of("0123456789abcdef") != std::string::npos))
        return broken(tr("the secret is no 64 hexadecimal digits"));
    ours.persistentXml = text("string(./godwit/persistent)", context);
    if (const auto milliseconds = TRY(optionalNumber(context, "./godwit/stood-still",
                                                     tr("no valid time for which the guest stood still"))))
        ours.stoodStill = std::chrono::milliseconds(*milliseconds);
    ours.rounds = TRY(optionalNumber(context, "./godwit/rounds", tr("no valid number of rounds")));
    return ours;
}

Result<Cookie> parseCookie(const char *cookie, int length)
{
    if (length <= 0 || static_cast<size_t>(length) > maxCookieSize)
        return broken(tr("its length is out of range"));
    if (cookie[length - 1] != '\0' || strlen(cookie) + 1 != static_cast<size_t>(length))
        return broken(tr("it is not terminated where it ends"));
    xmlXPathContextPtr raw = nullptr;
    XmlDocument document(virXMLParseStringCtxt(cookie, tr("(migration cookie)"), &raw));
    XPathContext context(raw);
    if (!document)
        return conf::takeLibvirtError();

    Cookie out;
    if (xmlNodePtr root = xmlDocGetRootElement(document.get()); !virXMLNodeNameEqual(root, "libxl-migration"))
        return broken(tr("it is no <libxl-migration> element"));
    out.name = text("string(./name)", context.get());
    if (out.name.empty())
        return broken(tr("no domain name"));
    if (virUUIDParse(text("string(./uuid)", context.get()).c_str(), out.uuid.data()) < 0)
        return broken(tr("no valid UUID"));
    out.hostname = text("string(./hostname)", context.get());
    if (virXPathUInt("string(./migration-stream-version)", context.get(), &out.streamVersion) < 0)
        return broken(tr("no stream version"));
    if (out.streamVersion == 0)
        return broken(tr("stream version 0 does not exist"));
    if (virXPathNode("./godwit", context.get()))
        out.extension = TRY(parseExtension(context.get()));
    return out;
}

} // namespace godwit::migration
