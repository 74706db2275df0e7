// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "conf/libvirt.h"

#include <memory>
#include <utility>

namespace godwit::conf {

/// Frees with the C function `Free`.
template <auto Free>
struct FreeWith {
    template <typename T>
    void operator()(T *pointer) const
    {
        Free(pointer);
    }
};

/// Owner of a libvirt structure that has a free function of its own.
using DomainDef = std::unique_ptr<virDomainDef, FreeWith<virDomainDefFree>>;
using Conf = std::unique_ptr<virConf, FreeWith<virConfFree>>;
using Uri = std::unique_ptr<virURI, FreeWith<virURIFree>>;
/// Owner of text from GLib or libvirt.
using Text = std::unique_ptr<char, FreeWith<g_free>>;

/// One reference to a virObject or GObject.
template <typename T>
class ObjectRef
{
public:
    ObjectRef() = default;
    /// Takes over the caller's reference.
    static ObjectRef adopt(T *object) { return ObjectRef(object); }
    /// Adds a reference.
    static ObjectRef share(T *object) { return ObjectRef(static_cast<T *>(virObjectRef(object))); }
    ObjectRef(ObjectRef &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    ObjectRef(const ObjectRef &other) : object_(other.object_ ? static_cast<T *>(virObjectRef(other.object_)) : nullptr) {}
    ObjectRef &operator=(ObjectRef other) noexcept
    {
        std::swap(object_, other.object_);
        return *this;
    }
    ~ObjectRef()
    {
        if (object_)
            virObjectUnref(object_);
    }

    T *get() const { return object_; }
    T *operator->() const { return object_; }
    explicit operator bool() const { return object_; }
    [[nodiscard]] T *release() { return std::exchange(object_, nullptr); }

private:
    explicit ObjectRef(T *object) : object_(object) {}
    T *object_ = nullptr;
};

/// A virBuffer, emptied at the end of scope.
class Buffer
{
public:
    Buffer() = default;
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer() { virBufferFreeAndReset(&buffer_); }
    virBuffer *get() { return &buffer_; }
    /// The text so far; the buffer is empty afterwards. Caller frees with g_free.
    [[nodiscard]] char *take() { return virBufferContentAndReset(&buffer_); }

private:
    virBuffer buffer_ = VIR_BUFFER_INITIALIZER;
};

} // namespace godwit::conf
