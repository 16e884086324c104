// checkpoint.h - the whole simulation in one file: device, memory pages that are not zero, random numbers, bus state.
//
// Layout: 8 bytes of magic, the 64 characters that identify the build (Verilator's own header does not), the file's
// size, a sum of all that follows; then the Verilated model as --savable writes it, cycles, memory state, and from a
// multiple of 4,096 bytes on the pages: their numbers, with room for more, then 4,096 bytes each. So what does not change
// stays in its place. restore() looks at magic, build, size and sum before it touches the model. Written in place and
// not synced to disk: whoever needs atomicity writes to another name and renames.
#pragma once

#include <string>

#include "harness.h"

namespace kvsim {

enum class FileError { kNone, kCannotOpen, kDamaged, kForeign, kWrite, kNoMemory };

FileError checkpoint_save(Harness& harness, const char* path, const char* build);
FileError checkpoint_restore(Harness& harness, const char* path, const char* build);

}  // namespace kvsim
