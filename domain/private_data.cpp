// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/private_data.h"

#include "domain/host.h"

namespace godwit::domain {

static void *allocate(void *opaque)
{
    auto *data = new PrivateData;
    data->host = static_cast<Host *>(opaque);
    return data;
}

static void release(void *data)
{
    delete static_cast<PrivateData *>(data);
}

static int format(virBuffer *out, virDomainObj *object)
{
    const PrivateData &data = privateData(object);
    if (data.phase != MigrationPhase::None) {
        virBufferAsprintf(out, "<migration phase='%u' ran='%s' undefine='%s'", static_cast<unsigned>(data.phase),
                          data.ranBeforeMigration ? "yes" : "no", data.undefineAfterMigration ? "yes" : "no");
        if (!data.link.secret.empty()) {
            virBufferEscapeString(out, " address='%s'", data.link.address.c_str());
            virBufferAsprintf(out, " port='%hu' secret='%s'", data.link.port, data.link.secret.c_str());
        }
        virBufferAddLit(out, "/>\n");
    }
    if (!data.usedImage.empty())
        virBufferEscapeString(out, "<usedImage path='%s'/>\n", data.usedImage.c_str());
    if (!data.leaseState.empty())
        virBufferEscapeString(out, "<lockstate>%s</lockstate>\n", data.leaseState.c_str());
    if (data.guest)
        data.guest->formatStatus(out);
    return 0;
}

static MigrationLink parseLink(xmlXPathContextPtr context)
{
    const auto text = [context](const char *path) {
        const conf::Text found(virXPathString(path, context));
        return std::string(found ? found.get() : "");
    };
    MigrationLink link;
    unsigned port = 0;
    if (virXPathUInt("string(./migration/@port)", context, &port) < 0 || port == 0 || port > 65535)
        return link;
    link.port = static_cast<unsigned short>(port);
    link.address = text("string(./migration/@address)");
    link.secret = text("string(./migration/@secret)");
    return link;
}

static int parse(xmlXPathContextPtr context, virDomainObj *object, virDomainDefParserConfig *)
{
    PrivateData &data = privateData(object);
    unsigned phase = 0;
    if (virXPathUInt("string(./migration/@phase)", context, &phase) == 0) {
        if (phase > static_cast<unsigned>(MigrationPhase::Launch)) {
            conf::raise(makeError(base::ErrorCode::BadFormat, "status file names migration phase %u", phase));
            return -1;
        }
        data.phase = static_cast<MigrationPhase>(phase);
        data.ranBeforeMigration = virXPathBoolean("./migration/@ran = 'yes'", context) == 1;
        data.undefineAfterMigration = virXPathBoolean("./migration/@undefine = 'yes'", context) == 1;
        data.link = parseLink(context);
    }
    const conf::Text image(virXPathString("string(./usedImage/@path)", context));
    data.usedImage = image ? image.get() : "";
    const conf::Text leases(virXPathString("string(./lockstate)", context));
    data.leaseState = leases ? leases.get() : "";
    auto status = data.host->hypervisor().parseStatus(context);
    if (!status) {
        conf::raise(status.error());
        return -1;
    }
    data.status = std::move(status).value();
    return 0;
}

virDomainXMLPrivateDataCallbacks privateDataCallbacks()
{
    virDomainXMLPrivateDataCallbacks callbacks{};
    callbacks.alloc = allocate;
    callbacks.free = release;
    callbacks.format = format;
    callbacks.parse = parse;
    return callbacks;
}

} // namespace godwit::domain
