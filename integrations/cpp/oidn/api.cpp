// The functions of the API: check handles, take the device's mutex, do it, and turn whatever was thrown into an error.
#include <cstring>
#include <mdenoise/mdenoise.hpp>

#include "objects.hpp"

using shim::Failure;
using shim::Image;

namespace {

void check_handle(const void* handle) {
  if (handle == nullptr) throw Failure{OIDN_ERROR_INVALID_ARGUMENT, "handle is null"};
}

std::string text(const char* string) {
  if (string == nullptr) throw Failure{OIDN_ERROR_INVALID_ARGUMENT, "string pointer is null"};
  return string;
}

// Calls `function` for its value or `otherwise`. The error is set after the mutex is let go, as the host's error
// function may call the API; Python's lock is let go first, as another thread may hold the mutex and wait for it.
template <class Value, class Function>
Value guarded(OIDNDevice device, Value otherwise, Function function) noexcept {
  Failure failure{OIDN_ERROR_NONE, ""};
  try {
    const mdenoise::detail::WithoutGil unlocked;
    if (device == nullptr) return function();
    const std::lock_guard<std::mutex> lock(device->mutex);
    return function();
  } catch (...) {
    failure = shim::current_failure();
  }
  shim::set_error(device, failure);
  return otherwise;
}

template <class Function>
void guarded(OIDNDevice device, Function function) noexcept {
  guarded(device, 0, [&] {
    function();
    return 0;
  });
}

template <class Handle>
OIDNDevice owner(Handle handle) {
  return handle == nullptr ? nullptr : handle->device();
}

template <class Handle>
void retain(Handle handle) {
  guarded(nullptr, [&] {
    check_handle(handle);
    handle->retain();
  });
}

template <class Handle>
void release(Handle handle) {
  guarded(nullptr, [&] {
    check_handle(handle);
    handle->release();
  });
}

// For calls on a device that must be committed.
template <class Value, class Function>
Value on_committed(OIDNDevice device, Value otherwise, Function function) {
  return guarded(device, otherwise, [&] {
    check_handle(device);
    device->check_committed();
    return function();
  });
}

void check_physical(int id) {
  if (id != 0)
    throw Failure{OIDN_ERROR_INVALID_ARGUMENT, "invalid physical device ID: " + std::to_string(id)};
}

int physical_int(int id, const char* name) {
  return guarded(nullptr, 0, [&] {
    check_physical(id);
    const std::string wanted = text(name);
    if (wanted == "type") return static_cast<int>(OIDN_DEVICE_TYPE_CPU);
    if (wanted == "uuidSupported" || wanted == "luidSupported" || wanted == "pciAddressSupported") return 0;
    throw Failure{OIDN_ERROR_INVALID_ARGUMENT,
                  "unknown physical device parameter, type mismatch or unavailable: '" + wanted + "'"};
  });
}

OIDNDevice refuse_device(OIDNError code, const std::string& why) {
  return guarded(nullptr, OIDNDevice{}, [&]() -> OIDNDevice { throw Failure{code, why}; });
}

OIDNDevice refuse_type(const char* type) {
  return refuse_device(OIDN_ERROR_UNSUPPORTED_HARDWARE, std::string("unsupported device type: ") + type);
}

template <class Handle>
Handle refuse_external(OIDNDevice device, const char* what) {
  return on_committed(device, Handle{}, [&]() -> Handle {
    throw Failure{OIDN_ERROR_INVALID_ARGUMENT, std::string(what) + " type not supported by the device"};
  });
}

void refuse_semaphores(OIDNDevice device) {
  on_committed(device, 0, [&]() -> int {
    throw Failure{OIDN_ERROR_INVALID_OPERATION, "semaphores are not supported by the device"};
  });
}

void set_data(OIDNFilter filter, const char* name, const void* data, size_t bytes) {
  guarded(owner(filter), [&] {
    check_handle(filter);
    filter->set_data(text(name), data, bytes);
  });
}

}  // namespace

// ---- physical devices

int oidnGetNumPhysicalDevices() { return 1; }
bool oidnGetPhysicalDeviceBool(int id, const char* name) { return physical_int(id, name) != 0; }
int oidnGetPhysicalDeviceInt(int id, const char* name) { return physical_int(id, name); }

const char* oidnGetPhysicalDeviceString(int id, const char* name) {
  return guarded(nullptr, static_cast<const char*>(nullptr), [&] {
    check_physical(id);
    if (text(name) == "name") return "mdenoise (host memory)";
    throw Failure{OIDN_ERROR_INVALID_ARGUMENT,
                  "unknown physical device parameter or type mismatch: '" + text(name) + "'"};
  });
}

const void* oidnGetPhysicalDeviceData(int id, const char* name, size_t* bytes) {
  if (bytes != nullptr) *bytes = 0;
  return guarded(nullptr, static_cast<const void*>(nullptr), [&]() -> const void* {
    check_physical(id);
    throw Failure{OIDN_ERROR_INVALID_ARGUMENT,
                  "unknown physical device parameter, type mismatch or unavailable: '" + text(name) + "'"};
  });
}

bool oidnIsCPUDeviceSupported() { return true; }
bool oidnIsSYCLDeviceSupported(const void*) { return false; }
bool oidnIsCUDADeviceSupported(int) { return false; }
bool oidnIsHIPDeviceSupported(int) { return false; }
bool oidnIsMetalDeviceSupported(const void*) { return false; }

// ---- devices

OIDNDevice oidnNewDevice(OIDNDeviceType type) {
  static const char* const names[] = {"default", "CPU", "SYCL", "CUDA", "HIP", "Metal"};
  if (type != OIDN_DEVICE_TYPE_DEFAULT && type != OIDN_DEVICE_TYPE_CPU) {
    const auto index = static_cast<unsigned>(type);
    if (index > OIDN_DEVICE_TYPE_METAL) return refuse_device(OIDN_ERROR_INVALID_ARGUMENT, "invalid device type");
    return refuse_type(names[index]);
  }
  return guarded(nullptr, OIDNDevice{}, [] { return new OIDNDeviceImpl; });
}

OIDNDevice oidnNewDeviceByID(int id) {
  return guarded(nullptr, OIDNDevice{}, [&] {
    check_physical(id);
    return new OIDNDeviceImpl;
  });
}

OIDNDevice oidnNewDeviceByUUID(const void*) {
  return refuse_device(OIDN_ERROR_INVALID_ARGUMENT, "no physical device found with specified UUID");
}
OIDNDevice oidnNewDeviceByLUID(const void*) {
  return refuse_device(OIDN_ERROR_INVALID_ARGUMENT, "no physical device found with specified LUID");
}
OIDNDevice oidnNewDeviceByPCIAddress(int, int, int, int) {
  return refuse_device(OIDN_ERROR_INVALID_ARGUMENT, "no physical device found with specified PCI address");
}
OIDNDevice oidnNewSYCLDevice(const void*, int) { return refuse_type("SYCL"); }
OIDNDevice oidnNewCUDADevice(const int*, const void*, int) { return refuse_type("CUDA"); }
OIDNDevice oidnNewHIPDevice(const int*, const void*, int) { return refuse_type("HIP"); }
OIDNDevice oidnNewMetalDevice(const void*, int) { return refuse_type("Metal"); }

void oidnRetainDevice(OIDNDevice device) { retain(device); }
void oidnReleaseDevice(OIDNDevice device) { release(device); }

void oidnSetDeviceInt(OIDNDevice device, const char* name, int value) {
  guarded(device, [&] {
    check_handle(device);
    device->set_int(text(name), value);
  });
}

int oidnGetDeviceInt(OIDNDevice device, const char* name) {
  return guarded(device, 0, [&] {
    check_handle(device);
    return device->get_int(text(name));
  });
}

void oidnSetDeviceBool(OIDNDevice device, const char* name, bool value) { oidnSetDeviceInt(device, name, value); }
bool oidnGetDeviceBool(OIDNDevice device, const char* name) { return oidnGetDeviceInt(device, name) != 0; }

void oidnSetDeviceErrorFunction(OIDNDevice device, OIDNErrorFunction function, void* user) {
  guarded(nullptr, [&] {
    check_handle(device);
    const std::lock_guard<std::mutex> lock(device->error_mutex);
    device->error_function = function;
    device->error_user = user;
  });
}

OIDNError oidnGetDeviceError(OIDNDevice device, const char** message) {
  try {
    return shim::take_error(device, message);
  } catch (...) {
    if (message != nullptr) *message = "";
    return OIDN_ERROR_UNKNOWN;
  }
}

void oidnCommitDevice(OIDNDevice device) {
  guarded(device, [&] {
    check_handle(device);
    device->commit();
  });
}

void oidnSyncDevice(OIDNDevice device) {
  on_committed(device, 0, [&] {
    device->queue.wait();
    return 0;
  });
}

// ---- buffers

OIDNBuffer oidnNewBufferWithStorage(OIDNDevice device, size_t bytes, OIDNStorage storage) {
  return on_committed(device, OIDNBuffer{}, [&] {
    if (static_cast<unsigned>(storage) > OIDN_STORAGE_MANAGED)
      throw Failure{OIDN_ERROR_INVALID_ARGUMENT, "invalid storage mode"};
    return new OIDNBufferImpl(device, bytes, storage);
  });
}

OIDNBuffer oidnNewBuffer(OIDNDevice device, size_t bytes) {
  return oidnNewBufferWithStorage(device, bytes, OIDN_STORAGE_UNDEFINED);
}

OIDNBuffer oidnNewSharedBuffer(OIDNDevice device, void* memory, size_t bytes) {
  return on_committed(device, OIDNBuffer{}, [&] { return new OIDNBufferImpl(device, memory, bytes); });
}

OIDNBuffer oidnNewSharedBufferFromFD(OIDNDevice device, OIDNExternalMemoryTypeFlag, int, size_t) {
  return refuse_external<OIDNBuffer>(device, "external memory");
}
OIDNBuffer oidnNewSharedBufferFromWin32Handle(OIDNDevice device, OIDNExternalMemoryTypeFlag, void*, const void*,
                                              size_t) {
  return refuse_external<OIDNBuffer>(device, "external memory");
}
OIDNBuffer oidnNewSharedBufferFromMetal(OIDNDevice device, const void*) {
  return refuse_external<OIDNBuffer>(device, "native buffer");
}

size_t oidnGetBufferSize(OIDNBuffer buffer) {
  return guarded(owner(buffer), size_t{0}, [&] {
    check_handle(buffer);
    return buffer->bytes;
  });
}

OIDNStorage oidnGetBufferStorage(OIDNBuffer buffer) {
  return guarded(owner(buffer), OIDN_STORAGE_UNDEFINED, [&] {
    check_handle(buffer);
    return buffer->storage;
  });
}

void* oidnGetBufferData(OIDNBuffer buffer) {
  return guarded(owner(buffer), static_cast<void*>(nullptr), [&]() -> void* {
    check_handle(buffer);
    return buffer->data;
  });
}

void oidnReadBuffer(OIDNBuffer buffer, size_t offset, size_t bytes, void* target) {
  guarded(owner(buffer), [&] {
    check_handle(buffer);
    buffer->check_region(offset, bytes, target);
    owner(buffer)->queue.idle();  // a filter may still write to it
    if (bytes > 0) std::memcpy(target, buffer->data + offset, bytes);
  });
}

void oidnWriteBuffer(OIDNBuffer buffer, size_t offset, size_t bytes, const void* source) {
  guarded(owner(buffer), [&] {
    check_handle(buffer);
    buffer->check_region(offset, bytes, source);
    owner(buffer)->queue.idle();
    if (bytes > 0) std::memcpy(buffer->data + offset, source, bytes);
  });
}

void oidnReadBufferAsync(OIDNBuffer buffer, size_t offset, size_t bytes, void* target) {
  oidnReadBuffer(buffer, offset, bytes, target);
}
void oidnWriteBufferAsync(OIDNBuffer buffer, size_t offset, size_t bytes, const void* source) {
  oidnWriteBuffer(buffer, offset, bytes, source);
}

void oidnRetainBuffer(OIDNBuffer buffer) { retain(buffer); }
void oidnReleaseBuffer(OIDNBuffer buffer) { release(buffer); }

// ---- semaphores

OIDNSemaphore oidnNewSharedSemaphoreFromFD(OIDNDevice device, OIDNExternalSemaphoreTypeFlags, int) {
  return refuse_external<OIDNSemaphore>(device, "external semaphore");
}
OIDNSemaphore oidnNewSharedSemaphoreFromWin32Handle(OIDNDevice device, OIDNExternalSemaphoreTypeFlags, void*,
                                                    const void*) {
  return refuse_external<OIDNSemaphore>(device, "external semaphore");
}
void oidnSignalSemaphoresAsync(OIDNDevice device, const OIDNSemaphore*, const uint64_t*, int) {
  refuse_semaphores(device);
}
void oidnWaitSemaphoresAsync(OIDNDevice device, const OIDNSemaphore*, const uint64_t*, const uint32_t*, int) {
  refuse_semaphores(device);
}
void oidnRetainSemaphore(OIDNSemaphore) {
  guarded(nullptr, [] { check_handle(nullptr); });  // none was ever handed out
}
void oidnReleaseSemaphore(OIDNSemaphore) {
  guarded(nullptr, [] { check_handle(nullptr); });
}

// ---- filters

OIDNFilter oidnNewFilter(OIDNDevice device, const char* type) {
  return on_committed(device, OIDNFilter{}, [&] {
    const std::string wanted = text(type);
    if (wanted == "RTLightmap")
      throw Failure{OIDN_ERROR_INVALID_ARGUMENT, "filter type 'RTLightmap' is not supported by mdenoise"};
    if (wanted != "RT") throw Failure{OIDN_ERROR_INVALID_ARGUMENT, "unknown filter type: '" + wanted + "'"};
    return new OIDNFilterImpl(device);
  });
}

void oidnRetainFilter(OIDNFilter filter) { retain(filter); }
void oidnReleaseFilter(OIDNFilter filter) { release(filter); }

void oidnSetFilterImage(OIDNFilter filter, const char* name, OIDNBuffer buffer, OIDNFormat format, size_t width,
                        size_t height, size_t offset, size_t pixel, size_t row) {
  guarded(owner(filter), [&] {
    check_handle(filter);
    const std::string wanted = text(name);
    check_handle(buffer);
    if (owner(buffer) != owner(filter))
      throw Failure{OIDN_ERROR_INVALID_ARGUMENT, "the specified objects are bound to different devices"};
    Image image(buffer->data, format, width, height, offset, pixel, row, buffer->bytes);
    image.buffer = shim::Ref<OIDNBufferImpl>(buffer);
    filter->set_image(wanted, std::move(image));
  });
}

void oidnSetSharedFilterImage(OIDNFilter filter, const char* name, void* memory, OIDNFormat format, size_t width,
                              size_t height, size_t offset, size_t pixel, size_t row) {
  guarded(owner(filter), [&] {
    check_handle(filter);
    const std::string wanted = text(name);
    filter->set_image(wanted, Image(static_cast<char*>(memory), format, width, height, offset, pixel, row));
  });
}

void oidnUnsetFilterImage(OIDNFilter filter, const char* name) {
  guarded(owner(filter), [&] {
    check_handle(filter);
    filter->set_image(text(name), Image());
  });
}

void oidnSetSharedFilterData(OIDNFilter filter, const char* name, void* data, size_t bytes) {
  set_data(filter, name, data, bytes);
}
void oidnUnsetFilterData(OIDNFilter filter, const char* name) { set_data(filter, name, nullptr, 0); }
void oidnUpdateFilterData(OIDNFilter filter, const char* name) {
  guarded(owner(filter), [&] {
    check_handle(filter);
    filter->touch_data(text(name));
  });
}

void oidnSetFilterInt(OIDNFilter filter, const char* name, int value) {
  guarded(owner(filter), [&] {
    check_handle(filter);
    filter->set_int(text(name), value);
  });
}

int oidnGetFilterInt(OIDNFilter filter, const char* name) {
  return guarded(owner(filter), 0, [&] {
    check_handle(filter);
    return filter->get_int(text(name));
  });
}

void oidnSetFilterBool(OIDNFilter filter, const char* name, bool value) { oidnSetFilterInt(filter, name, value); }
bool oidnGetFilterBool(OIDNFilter filter, const char* name) { return oidnGetFilterInt(filter, name) != 0; }

void oidnSetFilterFloat(OIDNFilter filter, const char* name, float value) {
  guarded(owner(filter), [&] {
    check_handle(filter);
    filter->set_float(text(name), value);
  });
}

float oidnGetFilterFloat(OIDNFilter filter, const char* name) {
  return guarded(owner(filter), 0.0F, [&] {
    check_handle(filter);
    return filter->get_float(text(name));
  });
}

void oidnSetFilterProgressMonitorFunction(OIDNFilter filter, OIDNProgressMonitorFunction function, void* user) {
  guarded(owner(filter), [&] {
    check_handle(filter);
    filter->progress = function;
    filter->progress_user = user;
  });
}

void oidnCommitFilter(OIDNFilter filter) {
  guarded(owner(filter), [&] {
    check_handle(filter);
    filter->commit();
  });
}

void oidnExecuteFilter(OIDNFilter filter) {
  guarded(owner(filter), [&] {
    check_handle(filter);
    filter->execute(false);
  });
}

void oidnExecuteFilterAsync(OIDNFilter filter) {
  guarded(owner(filter), [&] {
    check_handle(filter);
    filter->execute(true);
  });
}

void oidnExecuteSYCLFilterAsync(OIDNFilter filter, const void*, int, void*) {
  guarded(owner(filter), [&] {
    check_handle(filter);
    throw Failure{OIDN_ERROR_INVALID_OPERATION, "filter does not belong to a SYCL device"};
  });
}
