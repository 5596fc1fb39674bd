// The filter RT: OIDN's checks, then one call of the hook API on views of the host's memory.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <map>
#include <mdenoise/mdenoise.hpp>

#include "objects.hpp"

using shim::Failure;
using shim::Image;

namespace shim {
namespace {

constexpr std::size_t kMaxSide = 65536;

Failure invalid_argument(const std::string& message) { return {OIDN_ERROR_INVALID_ARGUMENT, message}; }
Failure invalid_operation(const std::string& message) { return {OIDN_ERROR_INVALID_OPERATION, message}; }
Failure unknown_parameter(const std::string& name) {
  return invalid_argument("unknown filter parameter or type mismatch: '" + name + "'");
}

bool is_half(OIDNFormat format) { return format >= OIDN_FORMAT_HALF; }

std::size_t pixel_size(OIDNFormat format) {
  const bool known = (format >= OIDN_FORMAT_FLOAT && format <= OIDN_FORMAT_FLOAT4) ||
                     (format >= OIDN_FORMAT_HALF && format <= OIDN_FORMAT_HALF4);
  if (!known) throw invalid_argument("invalid format");
  return static_cast<std::size_t>((format - 1) % 256 + 1) * (is_half(format) ? 2 : 4);
}

mdenoise::Image view(const Image& image) {
  return {image.data,
          image.width,
          image.height,
          image.channels(),
          is_half(image.format) ? mdenoise::Type::f16 : mdenoise::Type::f32,
          static_cast<std::ptrdiff_t>(image.pixel_stride),
          static_cast<std::ptrdiff_t>(image.row_stride)};
}

std::string environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

// What OIDN promises of its output: finite, not negative, and in LDR at most 1. Bits of a half compare as the numbers
// do, as long as they are not negative.
void sanitize_row(char* pixel, const Image& image, float upper) {
  const int channels = image.channels();
  for (std::size_t x = 0; x < image.width; ++x, pixel += image.pixel_stride) {
    for (int c = 0; c < channels; ++c) {
      if (is_half(image.format)) {
        std::uint16_t bits = 0;
        char* at = pixel + 2 * c;
        std::copy(at, at + 2, reinterpret_cast<char*>(&bits));
        const std::uint16_t most = upper <= 1.0F ? 0x3C00 : 0x7BFF;
        const bool is_nan = (bits & 0x7FFF) > 0x7C00;
        bits = is_nan || (bits & 0x8000) != 0 ? 0 : std::min(bits, most);
        std::copy_n(reinterpret_cast<const char*>(&bits), 2, at);
      } else {
        float value = 0;
        char* at = pixel + 4 * c;
        std::copy(at, at + 4, reinterpret_cast<char*>(&value));
        value = value > 0.0F ? std::min(value, upper) : 0.0F;  // NaN is not above 0
        std::copy_n(reinterpret_cast<const char*>(&value), 4, at);
      }
    }
  }
}

// All that an execution needs, without a counted reference: the last one must not go on the queue's own thread.
struct Job {
  Model model;
  mdenoise::Image color, output;
  mdenoise::Call call;
  char* data;
  OIDNFormat format;
  bool directions;
  float upper;
};

void run(const Job& job) {
  if (job.directions) return job.model->directions(job.color, job.output, job.call);
  (*job.model)(job.color, job.output, job.call);
  Image shape;
  shape.format = job.format;
  shape.width = job.output.width;
  shape.pixel_stride = static_cast<std::size_t>(job.output.pixel_stride);
  for (std::size_t y = 0; y < job.output.height; ++y)
    sanitize_row(job.data + y * static_cast<std::size_t>(job.output.row_stride), shape, job.upper);
}

}  // namespace

Image::Image(char* memory, OIDNFormat format, std::size_t width, std::size_t height, std::size_t offset,
             std::size_t pixel, std::size_t row, std::size_t available)
    : format(format), width(width), height(height) {
  if (width > kMaxSide || height > kMaxSide) throw invalid_argument("image size is too large");
  const std::size_t size = pixel_size(format);
  pixel_stride = pixel != 0 ? pixel : size;
  if (pixel_stride < size) throw invalid_argument("pixel stride is smaller than pixel size");
  constexpr std::size_t most = std::numeric_limits<std::ptrdiff_t>::max() / (2 * kMaxSide);
  if (pixel_stride > most || row > most) throw invalid_argument("image size is too large");
  row_stride = row != 0 ? row : width * pixel_stride;
  if (row_stride < width * pixel_stride) throw invalid_argument("row stride is smaller than width * pixel stride");
  bytes = width == 0 || height == 0 ? 0 : (height - 1) * row_stride + (width - 1) * pixel_stride + size;
  if ((memory == nullptr && bytes + offset > 0) || offset > available || bytes > available - offset)
    throw invalid_argument("buffer region is out of range");
  data = memory == nullptr ? nullptr : memory + offset;
}

// What libraries, model and the smallest tile take, with room: mdenoise refuses a bound that cannot be kept, where OIDN
// takes one as a wish.
constexpr int kLeastMemoryMB = 384;

Model load_model(const std::string& quality, int max_memory_mb) {
  static auto* const mutex = new std::mutex;
  static auto* const loaded = new std::map<std::pair<std::string, int>, std::weak_ptr<const mdenoise::Denoiser>>;
  const std::lock_guard<std::mutex> lock(*mutex);
  auto& slot = (*loaded)[{quality, max_memory_mb}];
  if (auto model = slot.lock()) return model;
  mdenoise::Settings settings;
  settings.model = environment("MDENOISE_MODEL", "base");
  settings.device = environment("MDENOISE_DEVICE", "auto");
  settings.engine = environment("MDENOISE_ENGINE", "auto");
  settings.precision = environment("MDENOISE_PRECISION", "auto");
  settings.quality = quality;
  settings.max_memory_mb = max_memory_mb;
  auto model = std::make_shared<const mdenoise::Denoiser>(settings);
  // The engine makes its statics in its first run. They must exist before Queue asks for its place among the exit
  // handlers, or they would be gone while it waits for what still runs.
  float pixels[8 * 8 * 3] = {};
  model->in_place({pixels, 8, 8});
  slot = model;
  return model;
}

}  // namespace shim

Image* OIDNFilterImpl::image(const std::string& name) {
  if (name == "color") return &color_;
  if (name == "albedo") return &albedo_;
  if (name == "normal") return &normal_;
  if (name == "output") return &output_;
  return nullptr;
}

void OIDNFilterImpl::set_image(const std::string& name, Image value) {
  if (Image* slot = image(name)) *slot = std::move(value);
  dirty_ = true;
}

void OIDNFilterImpl::set_data(const std::string& name, const void* data, std::size_t bytes) {
  if (data == nullptr && bytes > 0) throw shim::invalid_argument("data pointer is null");
  if (name == "weights") weights_ = data;
  dirty_ = true;
}

void OIDNFilterImpl::set_int(const std::string& name, int value) {
  if (name == "quality") {
    if (value != OIDN_QUALITY_DEFAULT && (value < OIDN_QUALITY_FAST || value > OIDN_QUALITY_HIGH))
      throw shim::invalid_argument("unknown filter quality mode");
    quality_set_ = value != OIDN_QUALITY_DEFAULT;
    quality_ = quality_set_ ? value : static_cast<int>(OIDN_QUALITY_HIGH);
  }
  if (name == "hdr") hdr_ = value != 0;
  if (name == "srgb") srgb_ = value != 0;
  if (name == "cleanAux") clean_aux_ = value != 0;
  if (name == "maxMemoryMB") max_memory_mb_ = value;
  dirty_ = true;  // also for names that are not known, which are no error
}

int OIDNFilterImpl::get_int(const std::string& name) const {
  if (name == "hdr") return hdr_;
  if (name == "srgb") return srgb_;
  if (name == "cleanAux") return clean_aux_;
  if (name == "quality") return quality_;
  if (name == "maxMemoryMB") return max_memory_mb_;
  if (name == "tileAlignment" || name == "alignment") return 64;
  if (name == "tileOverlap" || name == "overlap") return 160;
  throw shim::unknown_parameter(name);
}

void OIDNFilterImpl::set_float(const std::string& name, float value) {
  if (name == "inputScale" || name == "hdrScale") input_scale_ = value;
  dirty_ = true;
}

float OIDNFilterImpl::get_float(const std::string& name) const {
  if (name == "inputScale" || name == "hdrScale") return input_scale_;
  throw shim::unknown_parameter(name);
}

void OIDNFilterImpl::check() const {
  using shim::invalid_operation;
  if (!color_ && !albedo_ && !normal_) throw invalid_operation("input image not specified");
  if (!output_) throw invalid_operation("output image not specified");
  const auto has = [](const Image& image, bool grey) {
    return !image || image.channels() == 3 || (grey && image.channels() == 1);
  };
  if (!has(color_, true) || !has(albedo_, false) || !has(normal_, false))
    throw invalid_operation("unsupported input image format");
  if (!has(output_, true)) throw invalid_operation("unsupported output image format");
  const Image& input = color_ ? color_ : albedo_ ? albedo_ : normal_;
  if (input.channels() != output_.channels())
    throw invalid_operation("input/output image channel count mismatch");
  for (const Image* image : {&color_, &albedo_, &normal_})
    if (*image && (image->width != output_.width || image->height != output_.height))
      throw invalid_operation("image size mismatch");
  if (hdr_ && srgb_) throw invalid_operation("hdr and srgb modes cannot be enabled at the same time");
  if (!color_ && albedo_ && normal_) throw invalid_operation("invalid combination of input features");
  if (!color_ && albedo_ && hdr_) throw invalid_operation("hdr mode is not supported for albedo filtering");
  if (!color_ && normal_ && (hdr_ || srgb_))
    throw invalid_operation("hdr and srgb modes are not supported for normal filtering");
  if (color_ && normal_ && !albedo_) throw invalid_operation("unsupported combination of input features");
  if (weights_ != nullptr)
    throw invalid_operation("weights of OIDN cannot be used by mdenoise: unset them, or set MDENOISE_MODEL to its own");
}

void OIDNFilterImpl::commit() {
  if (!dirty_) return;
  device()->queue.idle();
  check();
  // Nothing set is the default of mdenoise; HIGH is for final frames, so it takes twice as long for `best`.
  const char* quality = !quality_set_                        ? "balanced"
                        : quality_ == OIDN_QUALITY_FAST     ? "fast"
                        : quality_ == OIDN_QUALITY_BALANCED ? "balanced"
                                                            : "best";
  model_ = shim::load_model(quality, max_memory_mb_ < 0 ? 0 : std::max(max_memory_mb_, shim::kLeastMemoryMB));
  device()->model = model_;
  dirty_ = false;
}

void OIDNFilterImpl::execute(bool async) {
  if (dirty_) throw shim::invalid_operation("changes to the filter are not committed");
  if (output_.width == 0 || output_.height == 0) return;
  const Image& input = color_ ? color_ : albedo_ ? albedo_ : normal_;
  shim::Job job{model_, shim::view(input), shim::view(output_), {}, output_.data, output_.format, false, 1.0F};
  job.directions = !color_ && normal_;
  if (hdr_) job.upper = std::numeric_limits<float>::max();
  job.call.encoding = srgb_ ? "srgb" : "linear";
  if (color_ && albedo_) job.call.albedo = shim::view(albedo_);
  if (color_ && normal_) job.call.normal = shim::view(normal_);
  if (progress != nullptr)
    job.call.progress = [function = progress, user = progress_user](double share) { return function(user, share); };
  device()->queue.idle();
  if (async)
    device()->queue.submit([job = std::move(job)] { shim::run(job); });
  else
    shim::run(job);
}
