// Python bindings: shapes are checked here, so that no call from Python can read outside an array.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "filter.h"
#include "gradient.h"

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

py::tuple filter(const Array& layers, const Array& confidence_in, const Array& l0, const Array& l1, const Array& l2,
                 const Array& l3, int threads, const std::string& isa) {
    if (layers.ndim() != 3) throw py::value_error("layers must have shape (height, width, layers)");
    const ptrdiff_t h = layers.shape(0), w = layers.shape(1), c = layers.shape(2);
    if (h < 16 || w < 16 || h % 16 || w % 16 || c < 1)
        throw py::value_error("layers has shape " + text({h, w, c}) +
                              ": height and width must be multiples of 16, with one layer at least");
    check_shape("confidence_in", confidence_in, {h, w});
    check_shape("logits[0]", l0, {1, 108, h / 2, w / 2});
    check_shape("logits[1]", l1, {1, 26, h / 2, w / 2});
    check_shape("logits[2]", l2, {1, 26, h / 4, w / 4});
    check_shape("logits[3]", l3, {1, 25, h / 8, w / 8});
    const mdenoise::Rows& rows = rows_for(isa);
    const mdenoise::FilterInput in = {
        h, w, c, layers.data(), confidence_in.data(), {l0.data(), l1.data(), l2.data(), l3.data()}};
    py::array_t<float> out({h, w, c});
    py::array_t<unsigned char> valid({h, w});
    float* out_data = out.mutable_data();
    unsigned char* valid_data = valid.mutable_data();
    {
        py::gil_scoped_release release;
        mdenoise::filter(in, rows, thread_count(threads), out_data, valid_data);
    }
    return py::make_tuple(out, valid);
}

py::array_t<float> outlier_weight(const Array& luminance, float multiple, float floor, int threads,
                                  const std::string& isa) {
    if (luminance.ndim() != 2 || luminance.shape(0) < 1 || luminance.shape(1) < 1)
        throw py::value_error("luminance must have shape (height, width), both at least 1");
    const mdenoise::Rows& rows = rows_for(isa);
    const ptrdiff_t h = luminance.shape(0), w = luminance.shape(1);
    py::array_t<float> out({h, w});
    const float* data = luminance.data();
    float* out_data = out.mutable_data();
    {
        py::gil_scoped_release release;
        mdenoise::outlier_weight(data, h, w, multiple, floor, rows, thread_count(threads), out_data);
    }
    return out;
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
    module.def("filter", &filter, py::arg("layers"), py::arg("confidence_in"), py::arg("l0"), py::arg("l1"),
               py::arg("l2"), py::arg("l3"), py::arg("threads") = 0, py::arg("isa") = "");
    module.def("outlier_weight", &outlier_weight, py::arg("luminance"), py::arg("multiple"), py::arg("floor"),
               py::arg("threads") = 0, py::arg("isa") = "");
    module.def("window", &window, py::arg("logits"), py::arg("planes").noconvert(), py::arg("unshuffled"),
               py::arg("threads") = 0, py::arg("isa") = "");
    module.def("window_backward", &window_backward, py::arg("logits"), py::arg("planes").noconvert(),
               py::arg("out").noconvert(), py::arg("stats").noconvert(), py::arg("out_grad").noconvert(),
               py::arg("unshuffled"), py::arg("threads") = 0, py::arg("isa") = "");
    module.def("isas", &isas, "Instruction sets that run on this processor, best first.");
}
