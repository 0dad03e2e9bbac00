// add_tree_cases.cpp - the sum over lanes: the bits of the tree, in place and apart.
#include "test/cases/case.h"

namespace {

// Neighbours in pairs, then pairs of pairs, until one is left.
template <class T>
std::vector<T> tree_of(const std::vector<T>& terms, size_t stride, int n, size_t count) {
    std::vector<T> sums;
    for (size_t i = 0; i < count; ++i) {
        std::vector<T> level;
        for (size_t k = 0; k < static_cast<size_t>(n); ++k) level.push_back(terms[k * stride + i]);
        while (level.size() > 1) {
            std::vector<T> next;
            for (size_t k = 0; k < level.size(); k += 2) next.push_back(level[k] + level[k + 1]);
            level = next;
        }
        sums.push_back(level[0]);
    }
    return sums;
}

template <class T>
Case tree_case(int n, size_t count, size_t stride) {
    Case result;
    result.name = format_text("add_tree %s n=%d count=%zu stride=%zu", TYPE_NAME<T>, n, count, stride);
    result.bytes = static_cast<double>(sizeof(T)) * (n + 1) * static_cast<double>(count);
    const Once<std::vector<T>> formula;
    result.make = [=] {
        const size_t n_terms = static_cast<size_t>(n);
        const Tensor<T> terms(normal_values<T>(n_terms * stride, 1)), in_place(terms.first());
        const Tensor<T> to(count + 3);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            backend::add_tree<T>(to, terms, stride, n, count, stream);
            if (!fresh) return;
            in_place.reset();
            backend::add_tree<T>(in_place, in_place, stride, n, count, stream);
        };
        instance.check = [=] {
            const std::vector<T>& want = formula([&] { return tree_of(terms.first(), stride, n, count); });
            std::vector<T> all = to.now(), summed = in_place.now();
            Doubles after(3);  // what lies after the sums is not touched
            for (size_t i = 0; i < 3; ++i) after[i] = all[count + i] == all[count + i] ? 1 : 0;
            Doubles in_double(count);
            for (size_t k = 0; k < n_terms; ++k)
                for (size_t i = 0; i < count; ++i) in_double[i] += to_double(terms.first()[k * stride + i]);
            std::vector<T> others = terms.first();  // in place: x_0 is the sum, the other terms stay
            std::copy(want.begin(), want.end(), others.begin());
            return Outputs{{"sums", count, 0, doubles(part(all, 0, count)), doubles(want)},
                           {"sums in place", stride, 0, doubles(summed), doubles(others)},
                           {"sums in double", count, tolerance<T>(0, 2e-7), doubles(part(all, 0, count)), in_double},
                           {"after the sums", 3, 0, after, Doubles(3)}};
        };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> add_tree_cases() {
    std::vector<Case> cases;
    const auto add = [&](int n, size_t count, size_t stride) {
        cases.push_back(tree_case<float>(n, count, stride));
        cases.push_back(tree_case<double>(n, count, stride));
    };
    for (int n = 1; n <= MAX_LANES; n *= 2) {
        add(n, 1, 1);
        add(n, 7, 8);
        add(n, 1030, 1030);  // the terms do not lie on 16 bytes
        add(n, 2099, 2104);
    }
    add(4, ON_CPU ? 1000003 : 50003, ON_CPU ? 1000008 : 50008);
    return cases;
}

std::vector<Case> add_tree_timed_cases(const TrainingStep& step) {
    // a layer's gradients of 4 and of 8 lanes; steps of one lane have none
    const size_t layer = (12 * static_cast<size_t>(step.C) + 13) * static_cast<size_t>(step.C);
    return {tree_case<float>(4, layer, layer), tree_case<float>(8, layer, layer)};
}
