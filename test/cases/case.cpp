#include "test/cases/case.h"

#include <type_traits>

#include "util/rng.h"

namespace {

// streams of the generator
constexpr uint64_t NORMAL_VALUES = 7, RANDOM_INTS = 8;

template <class T>
double to_double(T x) {
    if constexpr (std::is_same_v<T, bf16>)
        return static_cast<double>(__bfloat162float(x));
    else
        return static_cast<double>(x);
}

}  // namespace

template <class T>
std::vector<T> normal_values(size_t n, uint64_t seed, double deviation) {
    std::vector<T> values(n);
    for (size_t i = 0; i < n; ++i) values[i] = T(static_cast<float>(deviation * random_normal(seed, NORMAL_VALUES, i)));
    return values;
}

std::vector<int> random_ints(size_t n, int below, uint64_t seed) {
    std::vector<int> values(n);
    for (size_t i = 0; i < n; ++i)
        values[i] = static_cast<int>(random_below(static_cast<uint64_t>(below), seed, RANDOM_INTS, i));
    return values;
}

template <class T>
std::vector<double> doubles(const std::vector<T>& v) {
    std::vector<double> result(v.size());
    for (size_t i = 0; i < v.size(); ++i) result[i] = to_double(v[i]);
    return result;
}

template <class T>
std::shared_ptr<DeviceArray<T>> device_copy(const std::vector<T>& v) {
    auto array = std::make_shared<DeviceArray<T>>(v.size());
    copy_to_device(array->get(), v.data(), v.size());
    return array;
}

template <class T>
std::vector<T> host_copy(const DeviceArray<T>& d) {
    std::vector<T> values(d.size());
    copy_to_host(values.data(), d.get(), values.size());
    return values;
}

template <class T>
std::vector<double> host_doubles(const DeviceArray<T>& d) {
    return doubles(host_copy(d));
}

#define INSTANTIATE(T)                                                           \
    template std::vector<double> doubles(const std::vector<T>&);                 \
    template std::shared_ptr<DeviceArray<T>> device_copy(const std::vector<T>&); \
    template std::vector<T> host_copy(const DeviceArray<T>&);                    \
    template std::vector<double> host_doubles(const DeviceArray<T>&);
INSTANTIATE(bf16)
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(int)
INSTANTIATE(uint16_t)
template std::vector<bf16> normal_values(size_t, uint64_t, double);
template std::vector<float> normal_values(size_t, uint64_t, double);
