// threads.h - when a loop is worth sharing. Waking another thread costs a few microseconds, more when the cores are
// busy; tiny models would spend their steps on that. Results never depend on the answer: every kernel gives the same
// bits for any number of threads.
#pragma once
#include <cstddef>

namespace cpu {

// `elements`: numbers read or written once. One core takes about 5 us for 2^14 of them.
inline bool worth_sharing(size_t elements) { return elements >= size_t{1} << 14; }
inline bool worth_sharing(int rows, int columns) {
    return worth_sharing(static_cast<size_t>(rows) * static_cast<size_t>(columns));
}
// The same for multiply-adds, of which a core does some 50 a nanosecond.
inline bool worth_sharing_products(size_t multiply_adds) { return multiply_adds >= size_t{1} << 18; }

}  // namespace cpu
