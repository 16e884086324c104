// guest_port.h - serves the register accesses of a virtual machine: the fast half of `kvfpga vfio`.
//
// One thread does all: it answers the vfio-user messages that read or write BAR0 and BAR2, lets the clock run while the device
// has something to do, and signals the interrupt. Any other message stays in the socket and is the caller's
// (host/linux/vfio.py), who calls serve() again afterwards. What commands are made of, and what the guest takes out of queues, is
// noted down for the reference model; a look is due (kLook) when the device is idle and either nobody has asked for a while or
// much has been noted.
//
// As on PCIe, an access that the device refuses reads as all ones, or vanishes (contract R2).
#pragma once

#include <cstdint>

#include "sim.h"

namespace kvsim {

/// An access that was noted. The layouts of this file are shared with host/transport/sim/guest.py.
struct Access {
    uint32_t offset, value, is_write;
};

/// What is known of a word of BAR0.
enum WordKind : uint8_t {
    kNoteRead = 1,     // what is read there is noted …
    kIfValid = 2,      // … if bit 31 says that it holds something
    kTakesResult = 4,  // reading it takes a result off its queue: what the result says is noted before
    kHalf = 8,         // the low word of 64 bits: between it and its high word nobody else may read or write
    kInOrder = 16,     // is accessed when the device is idle, as commands that are queued would change what it means
    kLookBehind = 32,  // a look is due when it has been written
    kNoteWrite = 64,   // what is written there is noted
    kShowsResult = 128,  // is read when the device is idle or has a result: it shows what the oldest one computed
};

enum class Why : int32_t {
    kGoOn = 0,
    kMessage = 1,  // a message waits that is none of the register loop's
    kLook = 2,
    kWake = 3,     // somebody wrote to `wake`
    kGone = 4,     // the client closed the connection
    kCut = 5,      // a message has begun and does not come to its end
    kStuck = 6,    // the device does not answer
    kFull = 7,     // there is no room for more notes, and the device is not idle
};

struct GuestPort {
    int32_t socket, interrupt, wake;  // file descriptors; interrupt: an eventfd, or -1
    int32_t patience;                 // ms without a message until a look is due
    uint32_t room, noted, due;        // accesses that `notes` has room for, that it has, and with which a look is due
    uint32_t half;                    // the last access was to the low word of 64 bits
    uint32_t pressing;                // 1: a look is due whatever was noted; the caller sets it back
    uint32_t hurry;                   // cycles in which a device that only computes is done with a command
    uint64_t budget;                  // cycles that the guest is kept waiting at most, until the device is idle
    uint64_t reads, writes, refused, interrupts;
    uint32_t result_offset, result_words;  // of a result, without the word that takes it off its queue
    uint32_t status_offset, dma_busy, result_ready, unused;  // STATUS, and two of its bits
    Access* notes;                    // null: nothing is noted, nobody looks
    const uint8_t* kinds;             // WordKind of each word of BAR0
};

/// Until there is something for the caller to do.
Why serve(Sim& sim, GuestPort& port);

}  // namespace kvsim
