// Devices and buffers, reference counts, errors of each thread, and the queue of asynchronous calls.
#include "objects.hpp"

#include <pthread.h>

#include <cstdlib>
#include <mdenoise/mdenoise.hpp>
#include <new>
#include <set>
#include <unordered_map>

namespace shim {
namespace {

// Objects that last as long as the process are never destroyed: hosts call the API from static destructors, too.
template <class T>
T& immortal() {
  static T* const object = new T;
  return *object;
}

struct Queues {
  std::mutex mutex;
  std::set<Queue*> running;
};

// Before the process or the host's Python ends: a thread left inside the engine would outlive what it uses.
void wait_for_all() {
  auto& queues = immortal<Queues>();
  const std::lock_guard<std::mutex> lock(queues.mutex);
  for (Queue* queue : queues.running) queue->idle();
}

void wait_at_exit() {
  static std::once_flag once;
  std::call_once(once, [] {
    std::atexit(wait_for_all);
    if (mdenoise::detail::python_is_ours()) return;
    const pybind11::gil_scoped_acquire gil;
    pybind11::module_::import("atexit").attr("register")(
        pybind11::cpp_function([] {
          const pybind11::gil_scoped_release unlocked;
          wait_for_all();
        }));
  });
}

struct ErrorState {
  OIDNError code = OIDN_ERROR_NONE;
  std::string message;
};
using ErrorStates = std::unordered_map<unsigned long long, ErrorState>;

// Of this thread. A pthread key, as C++ thread-locals of the main thread end before static destructors run.
ErrorStates& error_states() {
  static const pthread_key_t key = [] {
    pthread_key_t made{};
    if (pthread_key_create(&made, [](void* states) { delete static_cast<ErrorStates*>(states); }) != 0)
      throw std::bad_alloc();
    return made;
  }();
  auto* states = static_cast<ErrorStates*>(pthread_getspecific(key));
  if (states == nullptr) {
    states = new ErrorStates;
    if (pthread_setspecific(key, states) != 0) {
      delete states;
      throw std::bad_alloc();
    }
  }
  return *states;
}

unsigned long long next_serial() {
  static std::atomic<unsigned long long> last{0};
  return ++last;
}

char* allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  void* const memory = ::operator new(bytes, std::align_val_t(64), std::nothrow);
  if (memory == nullptr) throw std::bad_alloc();
  return static_cast<char*>(memory);
}

}  // namespace

Failure current_failure() {
  try {
    throw;
  } catch (const Failure& failure) {
    return failure;
  } catch (const mdenoise::Cancelled&) {
    return {OIDN_ERROR_CANCELLED, "execution was cancelled"};
  } catch (const mdenoise::Error& error) {
    const auto code = error.kind == "InputError"    ? OIDN_ERROR_INVALID_ARGUMENT
                      : error.kind == "UsageError"  ? OIDN_ERROR_INVALID_OPERATION
                      : error.kind == "EngineError" ? OIDN_ERROR_UNSUPPORTED_HARDWARE
                      : error.kind == "MemoryError" ? OIDN_ERROR_OUT_OF_MEMORY
                                                    : OIDN_ERROR_UNKNOWN;
    return {code, error.what()};
  } catch (const std::bad_alloc&) {
    return {OIDN_ERROR_OUT_OF_MEMORY, "out of memory"};
  } catch (const std::exception& error) {
    return {OIDN_ERROR_UNKNOWN, error.what()};
  } catch (...) {
    return {OIDN_ERROR_UNKNOWN, "unknown exception caught"};
  }
}

void set_error(OIDNDevice device, const Failure& failure) {
  ErrorState& state = error_states()[device != nullptr ? device->serial : 0];
  if (state.code == OIDN_ERROR_NONE) {  // the first one stays until it is asked for
    state.code = failure.code;
    state.message = failure.message;
  }
  if (device == nullptr) return;
  OIDNErrorFunction function = nullptr;
  void* user = nullptr;
  {
    const std::lock_guard<std::mutex> lock(device->error_mutex);
    function = device->error_function;
    user = device->error_user;
  }
  if (function != nullptr) function(user, failure.code, failure.message.c_str());
}

OIDNError take_error(OIDNDevice device, const char** message) {
  ErrorState& state = error_states()[device != nullptr ? device->serial : 0];
  const OIDNError code = state.code;
  if (message != nullptr) *message = code == OIDN_ERROR_NONE ? nullptr : state.message.c_str();
  state.code = OIDN_ERROR_NONE;  // the text stays, as the host may hold the pointer until the next error
  return code;
}

Queue::~Queue() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (!worker_.joinable()) return;
  worker_.join();
  auto& queues = immortal<Queues>();
  const std::lock_guard<std::mutex> lock(queues.mutex);
  queues.running.erase(this);
}

void Queue::submit(std::function<void()> task) {
  if (!worker_.joinable()) {  // calls come one at a time, under the device's mutex
    wait_at_exit();
    worker_ = std::thread([this] { work(); });
    auto& queues = immortal<Queues>();
    const std::lock_guard<std::mutex> lock(queues.mutex);
    queues.running.insert(this);
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  changed_.notify_all();
}

void Queue::idle() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return tasks_.empty() && !busy_; });
}

void Queue::wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return tasks_.empty() && !busy_; });
  if (failure_.code != OIDN_ERROR_NONE) throw std::exchange(failure_, Failure{OIDN_ERROR_NONE, ""});
}

void Queue::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    const std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    busy_ = true;
    lock.unlock();
    Failure failure{OIDN_ERROR_NONE, ""};
    try {
      task();
    } catch (...) {
      failure = current_failure();
    }
    lock.lock();
    if (failure_.code == OIDN_ERROR_NONE) failure_ = failure;
    busy_ = false;
    changed_.notify_all();
  }
}

void Object::release() {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  try {
    device()->queue.wait();
  } catch (const Failure& failure) {
    set_error(device(), failure);
  }
  delete this;
}

}  // namespace shim

using shim::Failure;

OIDNDeviceImpl::OIDNDeviceImpl() : serial(shim::next_serial()) {}

OIDNDeviceImpl::~OIDNDeviceImpl() { shim::error_states().erase(serial); }

void OIDNDeviceImpl::set_int(const std::string& name, int value) {
  if (name == "numThreads") threads_ = value;
  if (name == "setAffinity") affinity_ = value != 0;
  if (name == "verbose") verbose_ = value;
  dirty_ = true;  // also for names that are not known, which are no error
}

int OIDNDeviceImpl::get_int(const std::string& name) const {
  if (name == "type") return OIDN_DEVICE_TYPE_CPU;
  if (name == "version") return OIDN_VERSION;
  if (name == "versionMajor") return OIDN_VERSION_MAJOR;
  if (name == "versionMinor") return OIDN_VERSION_MINOR;
  if (name == "versionPatch") return OIDN_VERSION_PATCH;
  if (name == "verbose") return verbose_;
  if (name == "numThreads") return threads_ > 0 ? threads_ : static_cast<int>(std::thread::hardware_concurrency());
  if (name == "setAffinity") return affinity_;
  if (name == "systemMemorySupported" || name == "managedMemorySupported") return 1;
  if (name == "externalMemoryTypes" || name == "externalSemaphoreTypes") return 0;
  throw Failure{OIDN_ERROR_INVALID_ARGUMENT, "unknown device parameter or type mismatch: '" + name + "'"};
}

void OIDNDeviceImpl::commit() {
  if (committed_) throw Failure{OIDN_ERROR_INVALID_OPERATION, "device can be committed only once"};
  mdenoise::check_installed();  // here, where hosts look for errors, and not at the first image
  dirty_ = false;
  committed_ = true;
}

void OIDNDeviceImpl::check_committed() const {
  if (dirty_) throw Failure{OIDN_ERROR_INVALID_OPERATION, "changes to the device are not committed"};
}

OIDNBufferImpl::OIDNBufferImpl(OIDNDevice device, std::size_t bytes, OIDNStorage storage)
    : data(shim::allocate(bytes)),
      bytes(bytes),
      storage(storage == OIDN_STORAGE_UNDEFINED ? OIDN_STORAGE_MANAGED : storage),
      owner_(device),
      owned_(true) {}

OIDNBufferImpl::OIDNBufferImpl(OIDNDevice device, void* memory, std::size_t bytes)
    : data(static_cast<char*>(memory)), bytes(bytes), storage(OIDN_STORAGE_HOST), owner_(device), owned_(false) {
  if (memory == nullptr && bytes > 0) throw Failure{OIDN_ERROR_INVALID_ARGUMENT, "buffer pointer is null"};
}

OIDNBufferImpl::~OIDNBufferImpl() {
  if (owned_ && data != nullptr) ::operator delete(data, std::align_val_t(64));
}

void OIDNBufferImpl::check_region(std::size_t offset, std::size_t size, const void* memory) const {
  if (offset > bytes || size > bytes - offset)
    throw Failure{OIDN_ERROR_INVALID_ARGUMENT, "buffer region is out of range"};
  if (memory == nullptr && size > 0) throw Failure{OIDN_ERROR_INVALID_ARGUMENT, "host pointer is null"};
}
