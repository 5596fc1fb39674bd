// What the handles of the API point to. One mutex a device orders the calls on it and on its buffers and filters.
#pragma once

#include <OpenImageDenoise/oidn.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace mdenoise {
class Denoiser;
}

namespace shim {

// An error of the API: its code and the message that oidnGetDeviceError hands out.
struct Failure {
  OIDNError code;
  std::string message;
};

// The error being handled as a Failure: ours, Python's, or the host's.
Failure current_failure();

// Runs what was started asynchronously, in order, on one thread that is made at first use.
class Queue {
 public:
  ~Queue();
  void submit(std::function<void()> task);
  void idle();  // waits until it is empty
  void wait();  // the same, and throws the first Failure since the last time

 private:
  void work();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  std::thread worker_;
  Failure failure_{OIDN_ERROR_NONE, ""};
  bool busy_ = false;
  bool stop_ = false;
};

// Counted by the host's handles and by the objects that need it.
class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
  virtual OIDNDevice device() = 0;
  void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release();  // waits for the device before the last one goes, as a running filter may use it

 private:
  std::atomic<long> references_{1};
};

template <class T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* object) : object_(object) {
    if (object_ != nullptr) object_->retain();
  }
  Ref(const Ref& other) : Ref(other.object_) {}
  Ref& operator=(Ref other) {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) object_->release();
  }
  T* get() const { return object_; }
  T* operator->() const { return object_; }

 private:
  T* object_ = nullptr;
};

// Where a filter reads or writes: the host's own memory, or part of a buffer that stays alive as long.
struct Image {
  Ref<OIDNBufferImpl> buffer;
  char* data = nullptr;
  OIDNFormat format = OIDN_FORMAT_UNDEFINED;
  std::size_t width = 0;
  std::size_t height = 0;
  std::size_t pixel_stride = 0;
  std::size_t row_stride = 0;
  std::size_t bytes = 0;

  Image() = default;
  // Throws Failure for a size, stride or region that cannot be. `available` bounds a buffer.
  Image(char* memory, OIDNFormat format, std::size_t width, std::size_t height, std::size_t offset, std::size_t pixel,
        std::size_t row, std::size_t available = std::numeric_limits<std::size_t>::max());
  explicit operator bool() const { return data != nullptr; }
  int channels() const { return (static_cast<int>(format) - 1) % 256 + 1; }
};

using Model = std::shared_ptr<const mdenoise::Denoiser>;

// The model of one quality and memory bound; all devices of the process share it while one of them needs it.
Model load_model(const std::string& quality, int max_memory_mb);

// Sets the error of `device` for this thread and calls its error function; nullptr: of no device.
void set_error(OIDNDevice device, const Failure& failure);
OIDNError take_error(OIDNDevice device, const char** message);

}  // namespace shim

struct OIDNDeviceImpl final : shim::Object {
  OIDNDeviceImpl();
  ~OIDNDeviceImpl() override;
  OIDNDevice device() override { return this; }
  void set_int(const std::string& name, int value);
  int get_int(const std::string& name) const;
  void commit();
  void check_committed() const;

  const unsigned long long serial;  // never used again, unlike an address
  std::mutex mutex;                 // held during a call on the device or on what belongs to it
  std::mutex error_mutex;
  OIDNErrorFunction error_function = nullptr;
  void* error_user = nullptr;
  shim::Queue queue;
  shim::Model model;  // the one used last stays loaded between filters

 private:
  int threads_ = 0;
  int affinity_ = 0;
  int verbose_ = 0;
  bool dirty_ = true;
  bool committed_ = false;
};

struct OIDNBufferImpl final : shim::Object {
  OIDNBufferImpl(OIDNDevice device, std::size_t bytes, OIDNStorage storage);  // its own memory
  OIDNBufferImpl(OIDNDevice device, void* data, std::size_t bytes);           // the host's
  ~OIDNBufferImpl() override;
  OIDNDevice device() override { return owner_.get(); }
  void check_region(std::size_t offset, std::size_t size, const void* memory) const;

  char* const data;
  const std::size_t bytes;
  const OIDNStorage storage;

 private:
  const shim::Ref<OIDNDeviceImpl> owner_;
  const bool owned_;
};

struct OIDNFilterImpl final : shim::Object {
  explicit OIDNFilterImpl(OIDNDevice device) : owner_(device) {}
  OIDNDevice device() override { return owner_.get(); }
  void set_image(const std::string& name, shim::Image image);
  void set_data(const std::string& name, const void* data, std::size_t bytes);
  void touch_data(const std::string&) { dirty_ = true; }
  void set_int(const std::string& name, int value);
  int get_int(const std::string& name) const;
  void set_float(const std::string& name, float value);
  float get_float(const std::string& name) const;
  void commit();
  void execute(bool async);

  OIDNProgressMonitorFunction progress = nullptr;
  void* progress_user = nullptr;

 private:
  shim::Image* image(const std::string& name);
  void check() const;

  const shim::Ref<OIDNDeviceImpl> owner_;
  shim::Image color_, albedo_, normal_, output_;
  bool hdr_ = false;
  bool srgb_ = false;
  bool clean_aux_ = false;
  int quality_ = OIDN_QUALITY_HIGH;  // what OIDN answers when nothing was set
  bool quality_set_ = false;
  int max_memory_mb_ = -1;
  float input_scale_ = std::numeric_limits<float>::quiet_NaN();
  const void* weights_ = nullptr;  // of the user, for OIDN's network
  bool dirty_ = true;
  shim::Model model_;
};
