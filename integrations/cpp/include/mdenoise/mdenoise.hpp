// mdenoise in a C++17 host: the hook API over the host's own pixels, without a copy on the way in or out.
//
//   mdenoise::Denoiser denoiser;                            // starts Python unless the host has, loads the model
//   mdenoise::Image beauty{pixels, width, height, 3};       // float RGB, tightly packed
//   denoiser.in_place(beauty);                              // from any thread
//
// Needs pybind11's headers and a shared libpython; CMakeLists.txt beside this folder has the target mdenoise::mdenoise.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdlib>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#if !defined(_WIN32)
#include <dlfcn.h>
#endif

namespace mdenoise {

// What Python raised, as its one line. `kind` is the class: InputError, ModelError, ..., or any other Python exception.
class Error : public std::runtime_error {
 public:
  Error(std::string kind, const std::string& message) : std::runtime_error(message), kind(std::move(kind)) {}
  const std::string kind;
};

// The progress function answered false.
class Cancelled : public Error {
 public:
  explicit Cancelled(const std::string& message) : Error("Cancelled", message) {}
};

enum class Type { f32, f16, u8, u16 };  // f32 and f16: scene-linear; u8 and u16: encoded sRGB

// The host's memory: (height, width, channels), channels 1, 3 or 4 (alpha last). A stride of 0 means tightly packed;
// negative strides flip. It must stay valid during the call and is not kept after it.
struct Image {
  void* data = nullptr;
  std::size_t width = 0;
  std::size_t height = 0;
  int channels = 3;
  Type type = Type::f32;
  std::ptrdiff_t pixel_stride = 0;  // bytes
  std::ptrdiff_t row_stride = 0;    // bytes
};

// The arguments of mdenoise.Denoiser in Python.
struct Settings {
  std::string model = "base";
  std::string device = "auto";
  std::string engine = "auto";
  std::string precision = "auto";
  std::string quality = "balanced";
  int max_memory_mb = 0;  // 0: no bound
  int tile_px = 0;        // largest side of a tile, a multiple of 64; 0: chosen by the engine
};

// What may differ from call to call.
struct Call {
  std::optional<Image> albedo;  // 3 channels, [0, 1], linear
  std::optional<Image> normal;  // 3 channels, [-1, 1], 0 where there is no surface
  std::string encoding = "auto";
  float strength = 1.0F;
  std::function<bool(double)> progress;  // of [0, 1], on the calling thread; answers whether to go on
};

namespace detail {

namespace py = pybind11;

inline bool python_is_ending() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

inline bool python_runs() { return Py_IsInitialized() != 0 && !python_is_ending(); }

// Lets other threads use Python while this one waits; for callers that may or may not hold the interpreter's lock.
class WithoutGil {
 public:
  WithoutGil() : state_(python_runs() && PyGILState_Check() != 0 ? PyEval_SaveThread() : nullptr) {}
  ~WithoutGil() {
    if (state_ != nullptr) PyEval_RestoreThread(state_);
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

inline std::string one_line(std::string text) {
  for (char& c : text)
    if (c == '\n' || c == '\r') c = ' ';
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

// The Python error as ours. Called, and `error` dropped, with the lock held.
[[noreturn]] inline void raise(const py::error_already_set& error) {
  const std::string kind = py::str(error.type().attr("__name__"));
  const std::string module = py::str(error.type().attr("__module__"));
  std::string message = one_line(py::str(error.value()));
  if (kind == "Cancelled" && module == "mdenoise.errors") throw Cancelled(message);
  if (module != "mdenoise.errors") message = kind + ": " + message;  // not meant for users: name what it was
  throw Error(kind, message);
}

// Whether it was started by this library or program, so that nobody ends it.
inline bool& python_is_ours() {
  static bool ours = false;
  return ours;
}

inline void initialize(const std::string& executable) {
  PyConfig config;
  PyConfig_InitIsolatedConfig(&config);  // the host's arguments, environment and signals are its own
  PyStatus status = PyStatus_Ok();
  if (!executable.empty()) {
    // As that python would start: an absolute path finds the pyvenv.cfg beside it, and so its packages.
    status = PyConfig_SetBytesString(&config, &config.program_name, executable.c_str());
  }
  if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  if (PyStatus_Exception(status)) {
    const std::string why = status.err_msg != nullptr ? status.err_msg : "unknown reason";
    throw Error("RuntimeError", "cannot start Python of " + executable + ": " + one_line(why) +
                                    ". Set MDENOISE_PYTHON to the python that mdenoise is installed in");
  }
  python_is_ours() = true;
  PyEval_SaveThread();  // no thread owns it from here on; it is never finalised, as engines outlive exit handlers
}

}  // namespace detail

// Starts Python once for the process, or joins the one that runs. The executable is MDENOISE_PYTHON of the environment,
// else of the build; it decides which packages are found. Denoiser calls it. Throws Error.
inline void start_python() {
  static std::mutex starting;
  detail::WithoutGil unlocked;
  const std::lock_guard<std::mutex> guard(starting);
#if !defined(_WIN32)
  // A library loaded with RTLD_LOCAL hides libpython from NumPy's and OpenVINO's modules, which do not link to it.
  static bool is_global = false;
  Dl_info where{};
  if (!is_global && dladdr(reinterpret_cast<void*>(&Py_IsInitialized), &where) != 0 && where.dli_fname != nullptr) {
    dlopen(where.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
    is_global = true;
  }
#endif
  const std::string built = std::to_string(PY_MAJOR_VERSION) + "." + std::to_string(PY_MINOR_VERSION);
  const std::string found = Py_GetVersion();
  if (found.compare(0, built.size() + 1, built + ".") != 0) {
    throw Error("RuntimeError", "cannot use Python " + found.substr(0, found.find(' ')) +
                                    " of this process: mdenoise was built for " + built + ". Build it for that one");
  }
  if (Py_IsInitialized() != 0) return;
  const char* chosen = std::getenv("MDENOISE_PYTHON");
#if defined(MDENOISE_PYTHON_EXECUTABLE)
  if (chosen == nullptr || *chosen == '\0') chosen = MDENOISE_PYTHON_EXECUTABLE;
#endif
  detail::initialize(chosen != nullptr ? chosen : "");
}

namespace detail {

// The host's memory as a NumPy array: NumPy copies unless it is given an owner, so it gets one that frees nothing.
inline py::array view(const Image& image, bool writable) {
  const std::size_t sizes[] = {4, 2, 1, 2};
  const char* names[] = {"f4", "f2", "u1", "u2"};
  const auto kind = static_cast<std::size_t>(image.type);
  const auto item = static_cast<py::ssize_t>(sizes[kind]);
  const py::ssize_t pixel = image.pixel_stride != 0 ? image.pixel_stride : item * image.channels;
  const py::ssize_t row = image.row_stride != 0 ? image.row_stride : pixel * static_cast<py::ssize_t>(image.width);
  if (image.data == nullptr || image.channels < 1) throw Error("InputError", "cannot read an image without pixels");
  const py::capsule owner(image.data, [](void*) {});
  py::array array(py::dtype(names[kind]),
                  {static_cast<py::ssize_t>(image.height), static_cast<py::ssize_t>(image.width),
                   static_cast<py::ssize_t>(image.channels)},
                  {row, pixel, item}, image.data, owner);
  if (!writable) array.attr("setflags")(py::arg("write") = false);
  return array;
}

// The package, imported. Called with the lock held.
inline py::module_ package() {
  try {
    return py::module_::import("mdenoise");
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_ImportError)) raise(error);
    const std::string where = py::str(py::module_::import("sys").attr("executable"));
    throw Error("ImportError", "cannot import mdenoise with " + where + ": " + one_line(py::str(error.value())) +
                                   ". Set MDENOISE_PYTHON to the python that it is installed in");
  }
}

}  // namespace detail

// Starts or joins Python and imports mdenoise, to learn early whether that works. Throws Error.
inline void check_installed() {
  start_python();
  const pybind11::gil_scoped_acquire gil;
  detail::package();
}

// A loaded model. Make it once and call it from any thread, with or without the interpreter's lock.
class Denoiser {
 public:
  explicit Denoiser(const Settings& settings = {}) {
    namespace py = pybind11;
    start_python();
    const py::gil_scoped_acquire gil;
    try {
      py::dict options;
      options["model"] = settings.model;
      options["device"] = settings.device;
      options["engine"] = settings.engine;
      options["precision"] = settings.precision;
      options["quality"] = settings.quality;
      if (settings.max_memory_mb > 0) options["max_memory_mb"] = settings.max_memory_mb;
      if (settings.tile_px > 0) options["tile_px"] = settings.tile_px;
      self_ = detail::package().attr("Denoiser")(**options).release().ptr();
    } catch (const py::error_already_set& error) {
      detail::raise(error);
    }
  }
  ~Denoiser() {
    // After Python has ended there is nothing to free, and nothing that may be touched.
    if (self_ == nullptr || !detail::python_runs()) return;
    const pybind11::gil_scoped_acquire gil;
    Py_DECREF(self_);
  }
  Denoiser(Denoiser&& other) noexcept : self_(std::exchange(other.self_, nullptr)) {}
  Denoiser& operator=(Denoiser&& other) noexcept {
    std::swap(self_, other.self_);
    return *this;
  }

  // Denoise `color` into `out`, of the same shape and type; they may be the same memory. Throws Error, Cancelled, and
  // what `call.progress` throws. `out` is as it was after an error, except where the last progress call stopped it.
  void operator()(const Image& color, const Image& out, const Call& call = {}) const { run(color, out, call, false); }

  void in_place(const Image& color, const Call& call = {}) const { run(color, color, call, false); }

  // For planes of any sign, such as normals: the image itself, moved to [0, 1], guides its own filter.
  void directions(const Image& normal, const Image& out, const Call& call = {}) const { run(normal, out, call, true); }

 private:
  void run(const Image& color, const Image& out, const Call& call, bool is_signed) const {
    namespace py = pybind11;
    if (self_ == nullptr) throw Error("UsageError", "this Denoiser was moved from: make a new one");
    if (!detail::python_runs()) throw Error("RuntimeError", "cannot denoise: Python has ended");
    std::exception_ptr thrown;  // by the host's function: it passes through Python as a cancellation
    bool stop = false;
    const auto tell = [&](double share) {
      const py::gil_scoped_release unlocked;
      try {
        stop = stop || !call.progress(share);
      } catch (...) {
        thrown = std::current_exception();
        stop = true;
      }
    };
    const py::gil_scoped_acquire gil;
    try {
      py::dict arguments;
      if (call.albedo) arguments["albedo"] = detail::view(*call.albedo, false);
      if (call.normal) arguments["normal"] = detail::view(*call.normal, false);
      arguments["encoding"] = call.encoding;
      arguments["strength"] = call.strength;
      if (call.progress) {
        tell(0.0);
        arguments["progress"] = py::cpp_function(tell);
        arguments["cancel"] = py::cpp_function([&stop] { return stop; });
      }
      if (!stop) apply(detail::view(color, false), detail::view(out, true), arguments, is_signed);
    } catch (const py::error_already_set& error) {
      if (!stop) detail::raise(error);
    }
    if (thrown) std::rethrow_exception(thrown);
    if (stop) throw Cancelled("stopped before the end");
  }

  void apply(const pybind11::array& color, const pybind11::array& out, pybind11::dict& arguments,
             bool is_signed) const {
    namespace py = pybind11;
    const py::handle self(self_);
    if (is_signed) {
      const py::object guide = (color * py::float_(0.5)) + py::float_(0.5);
      arguments["layers"] = py::dict(py::arg("normal") = color);
      out[py::ellipsis()] = self(guide, **arguments).attr("layers")["normal"];
    } else if (color.dtype().equal(out.dtype())) {
      self(color, **arguments, py::arg("out") = out);
    } else {
      out[py::ellipsis()] = self(color, **arguments);
    }
  }

  PyObject* self_ = nullptr;  // not a py::object, whose hidden visibility would spread to the host's classes
};

}  // namespace mdenoise
