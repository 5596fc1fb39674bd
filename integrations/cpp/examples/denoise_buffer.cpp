// Denoises a float image in the memory that it was read into, as a renderer would its framebuffer.
//
//   denoise_buffer IN.pfm OUT.pfm [--albedo A.pfm] [--normal N.pfm] [--quality Q] [--threads N] [--stop-at SHARE]
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <mdenoise/mdenoise.hpp>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "pfm.h"

namespace {

using Pixels = std::unique_ptr<float, void (*)(void*)>;

struct Plane {
  Pixels pixels{nullptr, std::free};
  int width = 0, height = 0;

  explicit Plane(const std::string& path) {
    Pfm file;
    if (read_pfm(path.c_str(), &file) != 0) std::exit(3);
    pixels.reset(file.pixels);
    width = file.width;
    height = file.height;
  }

  // PFM holds the bottom row first: a negative row stride shows it upright.
  mdenoise::Image image(float* memory) const {
    const auto row = static_cast<std::ptrdiff_t>(width) * 3 * static_cast<std::ptrdiff_t>(sizeof(float));
    char* top = reinterpret_cast<char*>(memory) + (height - 1) * row;
    return {top, static_cast<std::size_t>(width), static_cast<std::size_t>(height), 3, mdenoise::Type::f32, 0, -row};
  }
  mdenoise::Image image() const { return image(pixels.get()); }
};

// Whether what Python is given is this memory and no copy, told by NumPy itself.
bool is_the_same_memory(const mdenoise::Image& image) {
  const pybind11::gil_scoped_acquire gil;
  const pybind11::array array = mdenoise::detail::view(image, true);
  const auto address = array.attr("__array_interface__")["data"].cast<pybind11::tuple>()[0].cast<std::uintptr_t>();
  return address == reinterpret_cast<std::uintptr_t>(image.data) && !array.owndata();
}

// The same image on several threads of the host at once, each in its own memory; whether all came out alike.
bool agree_on_threads(const mdenoise::Denoiser& denoiser, const Plane& plane, const mdenoise::Call& call, int count) {
  const std::size_t size = static_cast<std::size_t>(plane.width) * static_cast<std::size_t>(plane.height) * 3;
  const std::vector<float> noisy(plane.pixels.get(), plane.pixels.get() + size);
  std::vector<std::vector<float>> copies(static_cast<std::size_t>(count), noisy);
  std::vector<std::thread> threads;
  for (auto& copy : copies)
    threads.emplace_back([&] { denoiser.in_place(plane.image(copy.data()), call); });
  for (auto& thread : threads) thread.join();
  denoiser.in_place(plane.image(), call);
  for (const auto& copy : copies)
    if (std::memcmp(copy.data(), plane.pixels.get(), size * sizeof(float)) != 0) return false;
  return true;
}

int run(const std::string& in, const std::string& out, std::map<std::string, std::string> options) {
  Plane color(in);
  std::unique_ptr<Plane> albedo, normal;
  mdenoise::Call call;
  if (options.count("--albedo") != 0) albedo = std::make_unique<Plane>(options["--albedo"]);
  if (options.count("--normal") != 0) normal = std::make_unique<Plane>(options["--normal"]);
  if (albedo) call.albedo = albedo->image();
  if (normal) call.normal = normal->image();
  mdenoise::Settings settings;
  if (options.count("--quality") != 0) settings.quality = options["--quality"];
  if (options.count("--stop-at") != 0) {
    settings.tile_px = 64;  // small tiles: there is something to stop between
    call.progress = [stop = std::stod(options["--stop-at"])](double share) { return share < stop; };
  }

  const mdenoise::Denoiser denoiser(settings);
  const mdenoise::Image image = color.image();
  std::cout << "without a copy: " << (is_the_same_memory(image) ? "yes" : "no") << '\n';
  if (options.count("--threads") != 0) {
    const bool alike = agree_on_threads(denoiser, color, call, std::stoi(options["--threads"]));
    std::cout << "threads agree: " << (alike ? "yes" : "no") << '\n';
  } else {
    denoiser.in_place(image, call);
  }
  const Pfm result{color.width, color.height, color.pixels.get()};
  return write_pfm(out.c_str(), &result) != 0 ? 4 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc % 2 == 0) {
    std::cerr << "usage: denoise_buffer IN.pfm OUT.pfm [--albedo A.pfm] [--normal N.pfm] [--quality Q] [--threads N] "
                 "[--stop-at SHARE]\n";
    return 2;
  }
  std::map<std::string, std::string> options;
  for (int i = 3; i + 1 < argc; i += 2) options[argv[i]] = argv[i + 1];
  try {
    return run(argv[1], argv[2], std::move(options));
  } catch (const mdenoise::Error& error) {
    std::cerr << error.kind << ": " << error.what() << '\n';
    return 1;
  }
}
