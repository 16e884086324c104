// lz4.h - the two functions of liblz4 that Verilator's FST writer calls, so that FST waveforms need no system package.
//
// Our own greedy encoder of the LZ4 block format: 4-byte matches found through one hash table, within 64 KiB. It
// honours the format's end rules (last match starts 12 bytes before the end or earlier; last 5 bytes are literals).
// Compresses less than liblz4, and that is all it is for.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

inline int LZ4_compress_default(const char* source, char* target, int size, int capacity) {
    if (capacity < LZ4_compressBound(size)) return 0;
    const auto* const in = reinterpret_cast<const uint8_t*>(source);
    auto* out = reinterpret_cast<uint8_t*>(target);
    std::vector<int> seen(1 << 13, -1);
    const auto word = [in](int at) {
        uint32_t value;
        std::memcpy(&value, in + at, 4);
        return value;
    };
    const auto length = [&out](int value) {  // what is beyond the token's 4 bits
        for (value -= 15; value >= 255; value -= 255) *out++ = 255;
        *out++ = static_cast<uint8_t>(value);
    };
    const auto sequence = [&](int literals_at, int literals, int offset, int match) {
        uint8_t& token = *out++;
        token = static_cast<uint8_t>((literals < 15 ? literals : 15) << 4);
        if (literals >= 15) length(literals);
        std::memcpy(out, in + literals_at, literals);
        out += literals;
        if (!match) return;
        *out++ = static_cast<uint8_t>(offset);
        *out++ = static_cast<uint8_t>(offset >> 8);
        token |= match - 4 < 15 ? match - 4 : 15;
        if (match - 4 >= 15) length(match - 4);
    };
    int anchor = 0;
    for (int at = 0; at < size - 12;) {
        int& slot = seen[word(at) * 2654435761u >> 19];
        const int from = slot;
        slot = at;
        if (from < 0 || at - from > 65535 || word(from) != word(at)) {
            ++at;
            continue;
        }
        int match = 4;
        while (at + match < size - 5 && in[from + match] == in[at + match]) ++match;
        sequence(anchor, at - anchor, at - from, match);
        anchor = at += match;
    }
    sequence(anchor, size - anchor, 0, 0);
    return static_cast<int>(out - reinterpret_cast<uint8_t*>(target));
}
