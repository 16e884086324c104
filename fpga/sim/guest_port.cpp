#include "guest_port.h"

#include <cerrno>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace kvsim {
namespace {

constexpr uint64_t kSlice = 16;  // cycles between two looks at the socket: what a read waits for at most
constexpr uint32_t kMost = 4096;  // bytes of one access
constexpr uint32_t kBar0Bytes = 1 << 16, kBar2Bytes = 1 << 22, kBar2At = 1 << 22;
constexpr uint16_t kRegionRead = 9, kRegionWrite = 10;
constexpr uint32_t kReply = 1, kNoReply = 16, kTypeBits = 15;
constexpr uint32_t kValid = 1u << 31;

struct Message {  // of the two kinds that are answered here
    uint16_t id, command;
    uint32_t size, flags, error;
    uint64_t offset;
    uint32_t region, count;
    uint8_t data[kMost];
};
constexpr uint32_t kHeaderBytes = 16, kRegionBytes = 32;

class Loop {
public:
    Loop(Sim& sim, GuestPort& port) : sim_(sim), bus_(sim.program.bus()), port_(port) {}

    Why run() {
        for (;;) {
            if (!idle_) clock(kSlice);
            ring();
            if (idle_) held_ = 0;
            if (look_is_due()) {
                if (idle_) return Why::kLook;
                if (may_wait(held_)) {  // whoever writes on waits until the device has done what there is
                    held_ += kSlice;
                    continue;
                }
                held_ = port_.budget;  // until then he is not stopped again
                if (is_full()) return Why::kFull;
            }
            const bool curious = port_.notes && (port_.noted || port_.pressing) && !port_.half;
            pollfd waiting[] = {{port_.socket, POLLIN, 0}, {port_.wake, POLLIN, 0}};
            const int ready = poll(waiting, 2, !idle_ ? 0 : curious ? port_.patience : -1);
            if (waiting[1].revents && ready > 0) return Why::kWake;
            if (ready == 0 && idle_) return Why::kLook;
            if (ready <= 0 || !waiting[0].revents) continue;
            const Why why = take();
            if (why != Why::kGoOn) return why;
        }
    }

private:
    bool look_is_due() const {
        if (!port_.notes) return false;
        return is_full() || ((port_.noted >= port_.due || port_.pressing) && !port_.half);
    }
    bool is_full() const { return port_.noted + kMost / 4 + 8 > port_.room; }

    /// As Program::wait_idle has it: `idle` counts when it has been high for two cycles running.
    void clock(uint64_t cycles) {
        unsigned stable = 0;
        for (; cycles && stable < 2; --cycles) {
            sim_.settle();
            stable = sim_.top.idle ? stable + 1 : 0;
            sim_.edge();
        }
        idle_ = stable >= 2;
        if (idle_) quiet_ = 0;
    }

    /// A message for each time that the level rises: it may have been low for one cycle only.
    void ring() {
        if (port_.interrupt < 0 || !sim_.irq_was_low || !sim_.top.irq) return;
        sim_.irq_was_low = false;
        ++port_.interrupts;
        const uint64_t one = 1;
        (void)!write(port_.interrupt, &one, sizeof one);
    }

    Why take() {
        ssize_t got = recv(port_.socket, &message_, kRegionBytes, MSG_PEEK | MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return Why::kGone;
        if (got < 0) return Why::kGoOn;
        if (!whole(got, kHeaderBytes)) return Why::kCut;
        const bool reads = message_.command == kRegionRead;
        if (!reads && message_.command != kRegionWrite) return Why::kMessage;
        if (message_.flags & kTypeBits || message_.size < kRegionBytes) return Why::kMessage;
        if (!whole(got, kRegionBytes)) return Why::kCut;
        const uint64_t bytes = message_.region == 0 ? kBar0Bytes : message_.region == 2 ? kBar2Bytes : 0;
        const uint64_t last = message_.offset + message_.count;
        if (message_.count > kMost || last > bytes || last < message_.offset) return Why::kMessage;
        if (message_.size != kRegionBytes + (reads ? 0 : message_.count)) return Why::kMessage;
        got = recv(port_.socket, &message_, message_.size, MSG_WAITALL);
        if (got != ssize_t(message_.size)) return Why::kCut;
        const Why why = access(reads);
        return why != Why::kGoOn ? why : answer(reads);
    }

    /// Are that many bytes of the message there? They come soon after the first, or not at all: the socket has a timeout.
    bool whole(ssize_t got, ssize_t wanted) {
        return got >= wanted || recv(port_.socket, &message_, wanted, MSG_PEEK | MSG_WAITALL) == wanted;
    }

    Why access(bool reads) {
        ++(reads ? port_.reads : port_.writes);
        const uint32_t offset = message_.offset + (message_.region == 2 ? kBar2At : 0);
        if (message_.count % 4 || offset % 4) {
            if (reads) std::memset(message_.data, 0xFF, message_.count);
            ++port_.refused;
            return Why::kGoOn;
        }
        for (uint32_t at = 0; at < message_.count; at += 4) {
            uint32_t word;
            std::memcpy(&word, message_.data + at, 4);
            const uint8_t kind = port_.kinds && offset + at < kBar0Bytes ? port_.kinds[(offset + at) / 4] : 0;
            if (kind & kInOrder) wait_idle();
            if (reads && kind & kShowsResult) wait_for_result();
            const Status status = reads ? read(offset + at, word, kind) : write_word(offset + at, word, kind);
            if (status == kHang) return Why::kStuck;
            if (status != kOk) {
                word = ~0u;
                ++port_.refused;
            }
            if (reads) std::memcpy(message_.data + at, &word, 4);
            port_.half = kind & kHalf;
        }
        idle_ = false;
        return Why::kGoOn;
    }

    Status read(uint32_t offset, uint32_t& word, uint8_t kind) {
        if (port_.notes && kind & kTakesResult) {
            uint32_t words[8];
            for (uint32_t i = 0; i < port_.result_words; ++i) {
                const Status status = bus_.read(port_.result_offset + 4 * i, words[i]);
                if (status != kOk) return status;
            }
            if (words[0] & kValid) {
                for (uint32_t i = 0; i < port_.result_words; ++i) note(port_.result_offset + 4 * i, words[i], false);
                note(offset, 0, false);
            }
        }
        const Status status = bus_.read(offset, word);
        if (status == kOk && kind & kNoteRead && (!(kind & kIfValid) || word & kValid)) note(offset, word, false);
        return status;
    }

    Status write_word(uint32_t offset, uint32_t word, uint8_t kind) {
        const Status status = bus_.write(offset, word);
        if (status == kOk) {
            if (kind & kNoteWrite) note(offset, word, true);
            if (kind & kLookBehind) port_.pressing = 1;
        }
        return status;
    }

    void note(uint32_t offset, uint32_t value, bool is_write) {
        if (port_.notes && port_.noted < port_.room) port_.notes[port_.noted++] = {offset, value, is_write};
    }

    /// May the guest be kept waiting on until the device is idle? Not where that waits for him to take a result, as a SCORE does when
    /// those of two before it are not taken: it has one, moves nothing, and STATUS says the same for longer than a command takes.
    bool may_wait(uint64_t waited) {
        uint32_t status = 0;
        if (waited >= port_.budget || bus_.read(port_.status_offset, status) != kOk) return false;
        quiet_ = status == status_ && !(status & port_.dma_busy) ? quiet_ + kSlice : 0;
        status_ = status;
        return quiet_ < port_.hurry || !(status & port_.result_ready);
    }

    void wait_idle() {
        clock(2);
        for (uint64_t waited = 0; !idle_ && may_wait(waited); waited += kSlice) clock(kSlice);
    }

    void wait_for_result() {
        clock(2);
        for (uint64_t waited = 0; !idle_ && !has_result() && waited < port_.budget; waited += kSlice) clock(kSlice);
    }

    bool has_result() {
        uint32_t status = 0;
        return bus_.read(port_.result_offset, status) == kOk && status & kValid;
    }

    Why answer(bool reads) {
        if (message_.flags & kNoReply) return Why::kGoOn;
        message_.size = kRegionBytes + (reads ? message_.count : 0);
        message_.flags = kReply;
        message_.error = 0;
        const ssize_t sent = send(port_.socket, &message_, message_.size, MSG_NOSIGNAL);
        return sent == ssize_t(message_.size) ? Why::kGoOn : Why::kGone;
    }

    Sim& sim_;
    AxilMaster& bus_;
    GuestPort& port_;
    Message message_;
    uint64_t held_ = 0;   // cycles for which the guest was not asked for more, since the device was idle
    uint64_t quiet_ = 0;  // cycles of waiting in which STATUS stayed the same
    uint32_t status_ = 0;
    bool idle_ = false;
};

}  // namespace

Why serve(Sim& sim, GuestPort& port) { return Loop(sim, port).run(); }

}  // namespace kvsim
