// Python bindings: shapes are checked here, so that no call from Python can read outside an array.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "filter.h"
#include "gradient.h"
#include "guide.h"

namespace py = pybind11;
using Array = py::array_t<float, py::array::c_style | py::array::forcecast>;

namespace {

std::string text(const std::vector<ptrdiff_t>& shape) {
    std::string out = "(";
    for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
    return out + (shape.size() == 1 ? ",)" : ")");
}

void check_shape(const char* name, const py::array& array, const std::vector<ptrdiff_t>& expected) {
    const std::vector<ptrdiff_t> shape(array.shape(), array.shape() + array.ndim());
    if (shape != expected)
        throw py::value_error(std::string(name) + " has shape " + text(shape) + ", not " + text(expected));
}

const mdenoise::Rows& rows_for(const std::string& isa) {
    const mdenoise::Rows* rows = mdenoise::find_rows(isa.c_str());
    if (!rows) throw py::value_error("instruction set '" + isa + "' is not available here");
    return *rows;
}

int thread_count(int threads) {
    return std::clamp(threads > 0 ? threads : int(std::thread::hardware_concurrency()), 1, 256);
}

mdenoise::Type type_of(const char* name, const py::array& array) {
    const char kind = array.dtype().kind();
    const ptrdiff_t size = array.dtype().itemsize();
    if (!array.dtype().attr("isnative").cast<bool>())
        throw py::value_error(std::string(name) + " has the bytes of its numbers in the other order");
    if (kind == 'f' && size == 4) return mdenoise::Type::f32;
    if (kind == 'f' && size == 2) return mdenoise::Type::f16;
    if (kind == 'u' && size == 2) return mdenoise::Type::u16;
    if (kind == 'u' && size == 1) return mdenoise::Type::u8;
    throw py::value_error(std::string(name) + " holds none of float32, float16, uint16 and uint8");
}

// The channels of an (h, w, C) array of any strides, float or unsigned.
std::vector<mdenoise::Source> channels_of(const char* name, const py::array& array, bool by_factor) {
    const mdenoise::Type type = type_of(name, array);
    std::vector<mdenoise::Source> channels;
    for (ptrdiff_t c = 0; c < array.shape(2); ++c)
        channels.push_back({static_cast<const char*>(array.data()) + c * array.strides(2), type, array.strides(0),
                            array.strides(1), by_factor ? int(c) : -1});
    return channels;
}

// (1, channels, h, w) float32 in this order, or channels last, then also bfloat16 seen as uint16.
mdenoise::Logits logits_of(int level, const py::array& array, ptrdiff_t channels, ptrdiff_t h, ptrdiff_t w) {
    const std::string name = "logits[" + std::to_string(level) + "]";
    check_shape(name.c_str(), array, {1, channels, h, w});
    mdenoise::Type type = type_of(name.c_str(), array);
    if (type == mdenoise::Type::u16) type = mdenoise::Type::bf16;
    const ptrdiff_t size = array.itemsize();
    const bool planar = array.flags() & py::array::c_style;
    const bool interleaved = array.strides(1) == size && array.strides(3) == channels * size &&
                             array.strides(2) == w * channels * size;
    if (type == mdenoise::Type::bf16 ? !interleaved : type != mdenoise::Type::f32 || !(planar || interleaved))
        throw py::value_error(name + " must be float32, planar or channels last, or bfloat16 as uint16, channels last");
    return {array.data(), channels, type == mdenoise::Type::bf16 || !planar, type};
}

void take_logits(const py::tuple& logits, ptrdiff_t h, ptrdiff_t w, mdenoise::FilterInput& in) {
    if (logits.size() != mdenoise::kLevels) throw py::value_error("four arrays of logits are needed");
    for (int l = 0; l < mdenoise::kLevels; ++l) {
        const py::array level = py::array::ensure(logits[size_t(l)]);
        if (!level) throw py::value_error("logits must be arrays");
        const ptrdiff_t shrink = ptrdiff_t(1) << std::max(l, 1);
        const ptrdiff_t channels = l == 0 ? 4 * (mdenoise::kTaps + 2) : mdenoise::kTaps + (l < mdenoise::kLevels - 1);
        in.logits[l] = logits_of(l, level, channels, h / shrink, w / shrink);
    }
}

void check_size(const char* name, ptrdiff_t h, ptrdiff_t w) {
    if (h < 16 || w < 16 || h % 16 || w % 16)
        throw py::value_error(std::string(name) + " has shape " + text({h, w}) +
                              ": height and width must be multiples of 16");
}

py::array_t<unsigned char> filter(const py::list& layers, const py::list& divided, const py::object& factor, const py::object& mask,
                 const Array& trust, const py::tuple& logits, const py::object& out, int threads,
                 const std::string& isa) {
    if (trust.ndim() != 2) throw py::value_error("trust must have shape (height, width)");
    mdenoise::FilterInput in = {};
    in.height = trust.shape(0), in.width = trust.shape(1), in.trust = trust.data();
    check_size("trust", in.height, in.width);
    const bool each = py::isinstance<py::list>(out);  // an array for each layer, or one for all
    const py::list outs = each ? py::list(out) : py::list();
    if (each && outs.size() != layers.size()) throw py::value_error("layers and out differ in length");
    const py::array first = each && outs.size() == 0 ? py::array() : py::array::ensure(each ? py::object(outs[0]) : out);
    if (!first || first.ndim() != 3) throw py::value_error("out must have shape (height, width, layers)");
    in.rows = first.shape(0), in.columns = first.shape(1);
    if (in.rows < 1 || in.columns < 1 || in.rows > in.height || in.columns > in.width || first.shape(2) < 1)
        throw py::value_error("out has shape " + text({in.rows, in.columns, first.shape(2)}) + ": it must lie in trust");
    std::vector<py::array> held;  // keeps what the pointers below point to
    if (!mask.is_none()) {
        held.push_back(py::array_t<unsigned char, py::array::c_style | py::array::forcecast>::ensure(mask));
        check_shape("mask", held.back(), {in.rows, in.columns});
        in.mask = static_cast<const unsigned char*>(held.back().data());
    }
    if (!factor.is_none()) {
        held.push_back(Array::ensure(factor));
        check_shape("factor", held.back(), {in.rows, in.columns, 3});
        in.factor = static_cast<const float*>(held.back().data());
    }
    if (layers.size() != divided.size()) throw py::value_error("layers and divided differ in length");
    std::vector<mdenoise::Source> sources;
    std::vector<mdenoise::Target> targets;
    auto take_out = [&](py::array array) {
        if (!array.writeable()) throw py::value_error("out must be writeable");
        for (const mdenoise::Source& channel : channels_of("out", array, false))
            targets.push_back({const_cast<void*>(channel.data), channel.type, channel.row_stride, channel.pixel_stride});
    };
    for (size_t i = 0; i < layers.size(); ++i) {
        const py::array layer = py::array::ensure(layers[i]);
        if (!layer || layer.ndim() != 3) throw py::value_error("layers must have shape (height, width, channels)");
        check_shape("layer", layer, {in.rows, in.columns, layer.shape(2)});
        const bool by_factor = divided[i].cast<bool>();
        if (by_factor && (!in.factor || layer.shape(2) != 3))
            throw py::value_error("only layers of three channels are divided, by a factor");
        held.push_back(layer);
        const std::vector<mdenoise::Source> channels = channels_of("layer", layer, by_factor);
        sources.insert(sources.end(), channels.begin(), channels.end());
        if (!each) continue;
        if (!py::isinstance<py::array>(outs[i])) throw py::value_error("out must hold arrays");
        const py::array target = py::reinterpret_borrow<py::array>(outs[i]);  // never a copy
        check_shape("out", target, {in.rows, in.columns, layer.shape(2)});
        take_out(target);
    }
    in.layer_count = ptrdiff_t(sources.size());
    if (!each) {
        if (!py::isinstance<py::array_t<float>>(out)) throw py::value_error("out must be float32, or a list of arrays");
        take_out(first);
    }
    if (targets.size() != sources.size() || sources.empty()) throw py::value_error("out and layers differ in channels");
    in.layers = sources.data();
    take_logits(logits, in.height, in.width, in);
    const mdenoise::Rows& rows = rows_for(isa);
    py::array_t<unsigned char> valid({in.rows, in.columns});
    const mdenoise::FilterOutput to = {targets.data(), valid.mutable_data()};
    {
        py::gil_scoped_release release;
        mdenoise::filter(in, rows, thread_count(threads), to);
    }
    return valid;
}

py::array_t<float> outlier_weight(const Array& luminance, float multiple, float floor, int threads,
                                  const std::string& isa, int company) {
    if (luminance.ndim() != 2 || luminance.shape(0) < 1 || luminance.shape(1) < 1)
        throw py::value_error("luminance must have shape (height, width), both at least 1");
    const mdenoise::Rows& rows = rows_for(isa);
    const ptrdiff_t h = luminance.shape(0), w = luminance.shape(1);
    py::array_t<float> out({h, w});
    const float* data = luminance.data();
    float* out_data = out.mutable_data();
    {
        py::gil_scoped_release release;
        mdenoise::outlier_weight(data, h, w, {multiple, floor, company}, rows, thread_count(threads), out_data, w, false,
                                 nullptr);
    }
    return out;
}

py::array_t<unsigned char> trusted(const py::array& array, float absurd, int threads) {
    if (array.ndim() != 3) throw py::value_error("array must have shape (height, width, channels)");
    const ptrdiff_t h = array.shape(0), w = array.shape(1);
    const std::vector<mdenoise::Source> channels = channels_of("array", array, false);
    py::array_t<unsigned char> mask({h, w});
    unsigned char* mask_data = mask.mutable_data();
    {
        py::gil_scoped_release release;
        mdenoise::trusted(channels.data(), ptrdiff_t(channels.size()), h, w, absurd, rows_for(""), thread_count(threads),
                          mask_data);
    }
    return mask;
}

py::array empty_guide(ptrdiff_t h, ptrdiff_t w, ptrdiff_t channels, bool bf16) {
    const std::vector<py::ssize_t> shape = {1, h / 2, w / 2, 4 * channels};
    if (channels < 1 || 4 * channels > mdenoise::kPacked) throw py::value_error("a guide has 1 to 32 channels");
    return bf16 ? py::array(py::array_t<uint16_t>(shape)) : py::array(py::array_t<float>(shape));
}

py::array pack_guide(const Array& planes, bool bf16, int threads, const std::string& isa) {
    if (planes.ndim() != 3 || planes.shape(1) % 2 || planes.shape(2) % 2)
        throw py::value_error("planes must have shape (channels, height, width), both even");
    const ptrdiff_t c = planes.shape(0), h = planes.shape(1), w = planes.shape(2);
    py::array guide = empty_guide(h, w, c, bf16);
    void* to = guide.mutable_data();
    const float* from = planes.data();
    const mdenoise::Rows& rows = rows_for(isa);
    {
        py::gil_scoped_release release;
        mdenoise::pack_guide(from, c, h, w, rows, thread_count(threads),
                             bf16 ? mdenoise::Type::bf16 : mdenoise::Type::f32, to);
    }
    return guide;
}

py::tuple build_guide(const py::array& color, const py::object& albedo, const py::object& normal,
                      const py::object& depth, const py::object& variance, const py::object& shown,
                      const std::pair<ptrdiff_t, ptrdiff_t>& size, bool factor, bool bf16, const py::dict& numbers,
                      const std::vector<int>& places, int threads, const std::string& isa) {
    if (color.ndim() != 3) throw py::value_error("color must have shape (height, width, 3)");
    mdenoise::GuideInput in = {};
    in.rows = color.shape(0), in.columns = color.shape(1), in.height = size.first, in.width = size.second;
    check_size("guide", in.height, in.width);
    if (in.rows < 1 || in.columns < 1 || in.rows > in.height || in.columns > in.width)
        throw py::value_error("color must lie in the guide");
    std::vector<py::array> held;
    auto colors = [&](const char* name, const py::object& from, mdenoise::Source* to) {
        if (from.is_none()) return;
        held.push_back(py::array::ensure(from));
        if (!held.back()) throw py::value_error(std::string(name) + " is no array");
        check_shape(name, held.back(), {in.rows, in.columns, 3});
        const std::vector<mdenoise::Source> channels = channels_of(name, held.back(), false);
        std::copy(channels.begin(), channels.end(), to);
    };
    auto plane = [&](const char* name, const py::object& from) -> const float* {
        if (from.is_none()) return nullptr;
        held.push_back(Array::ensure(from));
        check_shape(name, held.back(), {in.rows, in.columns});
        return static_cast<const float*>(held.back().data());
    };
    colors("color", color, in.color), colors("albedo", albedo, in.albedo), colors("normal", normal, in.normal);
    in.depth = plane("depth", depth), in.variance = plane("variance", variance);
    if (!shown.is_none()) {
        held.push_back(py::array_t<unsigned char, py::array::c_style | py::array::forcecast>::ensure(shown));
        check_shape("shown", held.back(), {in.rows, in.columns});
        in.shown = static_cast<const unsigned char*>(held.back().data());
    }
    auto number = [&](const char* name) { return numbers[name].cast<float>(); };
    in.curve = {number("exposure"), number("slope"), number("most"), number("scale"), number("absurd")};
    in.black = {number("black_low"), number("black_high"), number("albedo_floor")};
    in.outlier = {number("outlier_multiple"), number("outlier_floor"),
                  numbers.contains("outlier_company") ? numbers["outlier_company"].cast<int>() : 2};
    in.kind = number("kind"), in.channels = numbers["channels"].cast<ptrdiff_t>();
    if (places.size() != 11) throw py::value_error("eleven places are needed");
    in.places = {places[0], places[1], places[2], places[3], places[4], places[5],
                 places[6], places[7], places[8], places[9], places[10]};
    const int most = *std::max_element(places.begin(), places.end());
    if (*std::min_element(places.begin(), places.end()) < 0 || most + 3 > mdenoise::kPacked ||
        in.places.color + 3 > in.channels)
        throw py::value_error("places lie outside the guide");
    py::array guide = empty_guide(in.height, in.width, in.channels, bf16);
    py::array_t<float> trust({in.height, in.width});
    py::object divisor = py::none();
    float* divisor_data = nullptr;
    if (factor) {
        if (albedo.is_none()) throw py::value_error("a factor needs an albedo");
        py::array_t<float> made({in.rows, in.columns, ptrdiff_t(3)});
        divisor_data = made.mutable_data();
        divisor = made;
    }
    void* guide_data = guide.mutable_data();
    float* trust_data = trust.mutable_data();
    const mdenoise::Rows& rows = rows_for(isa);
    {
        py::gil_scoped_release release;
        mdenoise::build_guide(in, rows, thread_count(threads), bf16 ? mdenoise::Type::bf16 : mdenoise::Type::f32,
                              guide_data, trust_data, divisor_data);
    }
    return py::make_tuple(guide, trust, divisor);
}

// Never copied: the caller's own tensors, and results that are written in place.
using Plain = py::array_t<float, py::array::c_style>;

mdenoise::Window window_of(const py::array& logits, const Plain& planes, bool unshuffled) {
    if (planes.ndim() != 4) throw py::value_error("planes must have shape (batch, planes, height, width)");
    mdenoise::Window in = {};
    in.batch = planes.shape(0), in.plane_count = planes.shape(1);
    in.height = planes.shape(2), in.width = planes.shape(3);
    const ptrdiff_t shrink = unshuffled ? 2 : 1;
    if (in.batch < 1 || in.plane_count < 2 || in.height < 1 || in.width < 1 || in.height % shrink || in.width % shrink)
        throw py::value_error("planes has shape " + text({in.batch, in.plane_count, in.height, in.width}) +
                              ": two planes or more are needed, even in height and width when unshuffled");
    const char kind = logits.dtype().kind();
    const ptrdiff_t size = logits.dtype().itemsize();
    if (!(kind == 'f' && size == 4) && !(kind == 'i' && size == 2))
        throw py::value_error("logits must be float32, or bfloat16 seen as int16");
    if (!(logits.flags() & py::array::c_style)) throw py::value_error("logits must be C-contiguous");
    in.unshuffled = unshuffled, in.bf16 = size == 2;
    in.channels = logits.ndim() == 4 ? logits.shape(3) : 0;
    const std::vector<ptrdiff_t> shape(logits.shape(), logits.shape() + logits.ndim());
    const std::vector<ptrdiff_t> expected = {in.batch, in.height / shrink, in.width / shrink, in.channels};
    if (shape != expected || in.channels < mdenoise::kTaps * shrink * shrink || in.channels % (shrink * shrink))
        throw py::value_error("logits has shape " + text(shape) + ", which does not fit planes");
    in.logits = logits.data(), in.planes = planes.data();
    return in;
}

const mdenoise::GradientRows& gradient_rows_for(const std::string& isa) {
    const mdenoise::GradientRows* rows = mdenoise::find_gradient_rows(isa.c_str());
    if (!rows) throw py::value_error("instruction set '" + isa + "' is not available here");
    return *rows;
}

py::tuple window(const py::array& logits, const Plain& planes, bool unshuffled, int threads, const std::string& isa) {
    const mdenoise::Window in = window_of(logits, planes, unshuffled);
    const mdenoise::GradientRows& rows = gradient_rows_for(isa);
    py::array_t<float> out({in.batch, in.plane_count - 1, in.height, in.width});
    py::array_t<float> stats({in.batch, ptrdiff_t(2), in.height, in.width});
    float *out_data = out.mutable_data(), *stats_data = stats.mutable_data();
    {
        py::gil_scoped_release release;
        mdenoise::window_forward(in, rows, thread_count(threads), out_data, stats_data);
    }
    return py::make_tuple(out, stats);
}

py::tuple window_backward(const py::array& logits, const Plain& planes, const Plain& out, const Plain& stats,
                          const Plain& out_grad, bool unshuffled, int threads, const std::string& isa) {
    const mdenoise::Window in = window_of(logits, planes, unshuffled);
    const mdenoise::GradientRows& rows = gradient_rows_for(isa);
    check_shape("out", out, {in.batch, in.plane_count - 1, in.height, in.width});
    check_shape("stats", stats, {in.batch, 2, in.height, in.width});
    check_shape("out_grad", out_grad, {in.batch, in.plane_count - 1, in.height, in.width});
    py::array logits_grad(logits.dtype(), std::vector<py::ssize_t>(logits.shape(), logits.shape() + 4));
    py::array_t<float> planes_grad({in.batch, in.plane_count, in.height, in.width});
    void* logits_grad_data = logits_grad.mutable_data();
    float* planes_grad_data = planes_grad.mutable_data();
    {
        py::gil_scoped_release release;
        mdenoise::window_backward(in, rows, thread_count(threads), out.data(), stats.data(), out_grad.data(),
                                  logits_grad_data, planes_grad_data);
    }
    return py::make_tuple(logits_grad, planes_grad);
}

py::tuple isas() {
    py::list names;
    for (const char* name : {"avx512", "avx2", "base"})
        if (mdenoise::find_rows(name)) names.append(name);
    return py::tuple(names);
}

}  // namespace

PYBIND11_MODULE(_native, module, py::mod_gil_not_used()) {
    module.doc() = "The compiled twin of mdenoise.filter.";
    module.def("filter", &filter, py::arg("layers"), py::arg("divided"), py::arg("factor"), py::arg("mask"),
               py::arg("trust"), py::arg("logits"), py::arg("out"), py::arg("threads") = 0, py::arg("isa") = "");
    module.def("outlier_weight", &outlier_weight, py::arg("luminance"), py::arg("multiple"), py::arg("floor"),
               py::arg("threads") = 0, py::arg("isa") = "", py::arg("company") = 2);
    module.def("guide", &build_guide, py::arg("color"), py::arg("albedo"), py::arg("normal"), py::arg("depth"),
               py::arg("variance"), py::arg("shown"), py::arg("size"), py::arg("factor"), py::arg("bf16"),
               py::arg("numbers"), py::arg("places"), py::arg("threads") = 0, py::arg("isa") = "");
    module.def("pack", &pack_guide, py::arg("planes"), py::arg("bf16"), py::arg("threads") = 0, py::arg("isa") = "");
    module.def("trusted", &trusted, py::arg("array"), py::arg("absurd"), py::arg("threads") = 0);
    module.def("window", &window, py::arg("logits"), py::arg("planes").noconvert(), py::arg("unshuffled"),
               py::arg("threads") = 0, py::arg("isa") = "");
    module.def("window_backward", &window_backward, py::arg("logits"), py::arg("planes").noconvert(),
               py::arg("out").noconvert(), py::arg("stats").noconvert(), py::arg("out_grad").noconvert(),
               py::arg("unshuffled"), py::arg("threads") = 0, py::arg("isa") = "");
    module.def("isas", &isas, "Instruction sets that run on this processor, best first.");
}
