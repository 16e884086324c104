// checkpoint.cpp - see checkpoint.h.
#include "checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <deque>
#include <type_traits>

#include "verilated_save.h"

namespace kvsim {
namespace {

constexpr char kMagic[8] = {'K', 'V', 'C', 'K', 'P', 'T', '0', '2'};
constexpr size_t kBuildChars = 64;

/// Places of a checkpoint's page numbers: more than there are, so that pages rarely move when one is added.
uint64_t capacity(uint64_t count) {
    uint64_t places = 512;
    while (places < count) places *= 2;
    return places;
}

struct Header {
    char magic[8];
    char build[kBuildChars];
    uint64_t size;  // of the file
    uint64_t sum;   // of all that is behind the header
};

/// Bytes of a file from `at` on; how many: fewer at its end, or where it cannot be read.
size_t read_at(int fd, void* data, size_t size, uint64_t at) {
    size_t total = 0;
    while (total < size) {
        const ssize_t got = ::pread(fd, static_cast<char*>(data) + total, size - total, at + total);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        total += got;
    }
    return total;
}

/// Can be undone, so that different numbers stay different.
uint64_t mixed(uint64_t number) {
    number *= 0x9E3779B97F4A7C15;
    return number ^ number >> 32;
}

/// One number for all that is in a file behind the header. A change within one word always changes it, others do but once in 2^64.
/// There are lanes because a processor multiplies several numbers in the time that one takes.
uint64_t sum_of(int fd) {
    constexpr size_t kLanes = 4;
    uint64_t words[512 * kLanes], lanes[kLanes] = {}, at = sizeof(Header);
    for (size_t size; (size = read_at(fd, words, sizeof words, at)); at += size) {
        std::memset(reinterpret_cast<char*>(words) + size, 0, -size % sizeof lanes);
        for (size_t i = 0; i * sizeof words[0] < size; i += kLanes) {
            for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = mixed(lanes[lane] ^ words[i + lane]);
        }
    }
    uint64_t sum = 0;
    for (const uint64_t lane : lanes) sum = mixed(sum ^ lane);
    return sum;
}

class Writer final : public VerilatedSerialize {
public:
    explicit Writer(int fd) : fd_(fd) { m_isOpen = true; }
    void flush() override {
        put(m_bufp, m_cp - m_bufp);
        m_cp = m_bufp;
    }
    /// Around the byte-wise buffer, for what is large.
    void raw(const void* data, size_t size) {
        flush();
        put(data, size);
    }
    template <class T>
    void pod(const T& value) {
        static_assert(std::has_unique_object_representations_v<T>, "padding would make equal states differ");
        write(&value, sizeof value);
    }
    template <class T>
    void queue(const std::deque<T>& items) {
        pod(uint64_t{items.size()});
        for (const T& item : items) pod(item);
    }
    /// Zeros up to the next page.
    void align() {
        static constexpr char zeros[SparseMemory::kPageBytes] = {};
        flush();
        if (const uint64_t over = position_ % sizeof zeros) put(zeros, sizeof zeros - over);
    }
    bool failed() const { return failed_; }

private:
    void put(const void* data, size_t size) {
        for (const auto* from = static_cast<const char*>(data); size && !failed_;) {
            const ssize_t put = ::write(fd_, from, size);
            if (put < 0 && errno == EINTR) continue;
            if (put <= 0) failed_ = true;
            else from += put, size -= put, position_ += put;
        }
    }
    int fd_;
    uint64_t position_ = 0;
    bool failed_ = false;
};

class Reader final : public VerilatedDeserialize {
public:
    Reader(int fd, uint64_t position) : fd_(fd), taken_(position) {
        m_isOpen = true;
        m_endp = m_bufp;
    }
    void fill() override {
        const size_t left = m_endp - m_cp;
        std::memmove(m_bufp, m_cp, left);
        m_cp = m_bufp;
        m_endp = m_bufp + left;
        m_endp += read_at(fd_, m_endp, bufferSize() - left, taken_);
        // The model's own reader asks for more than there is near the end; it gets zeros, as from Verilator's.
        std::memset(m_endp, 0, m_bufp + bufferSize() - m_endp);
        m_endp = m_bufp + bufferSize();
        taken_ += bufferSize() - left;
    }
    /// What Writer::align put there.
    void align() {
        char skipped[SparseMemory::kPageBytes];
        if (const uint64_t over = (taken_ - (m_endp - m_cp)) % sizeof skipped) raw(skipped, sizeof skipped - over);
    }
    void raw(void* data, size_t size) {
        auto* out = static_cast<char*>(data);
        const size_t buffered = std::min<size_t>(size, m_endp - m_cp);
        std::memcpy(out, m_cp, buffered);
        m_cp += buffered;
        if (size > buffered) taken_ += read_at(fd_, out + buffered, size - buffered, taken_);
    }
    template <class T>
    void pod(T& value) {
        static_assert(std::has_unique_object_representations_v<T>, "padding would make equal states differ");
        read(&value, sizeof value);
    }
    template <class T>
    void queue(std::deque<T>& items) {
        uint64_t size = 0;
        pod(size);
        items.resize(std::min<uint64_t>(size, 64));
        for (T& item : items) pod(item);
    }

private:
    int fd_;
    uint64_t taken_;  // up to where of the file what was read or buffered goes
};

struct File {
    int fd;
    ~File() {
        if (fd >= 0) ::close(fd);
    }
};

}  // namespace

FileError checkpoint_save(Harness& h, const char* path, const char* build) {
    const File file{::open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
    if (file.fd < 0) return FileError::kCannotOpen;
    Writer out(file.fd);
    Header header{};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    std::strncpy(header.build, build, kBuildChars);
    out.pod(header);
    out << *h.model;
    out.pod(h.cycles);
    h.memory.transfer(out);
    std::vector<uint64_t> pages = h.memory.memory.used_pages();
    const uint64_t count = pages.size();
    out.pod(count);
    out.align();
    pages.resize(capacity(count));
    out.raw(pages.data(), pages.size() * sizeof pages[0]);
    for (uint64_t i = 0; i < count; ++i) out.raw(h.memory.memory.find(pages[i])->data(), SparseMemory::kPageBytes);
    out.flush();
    header.size = ::lseek(file.fd, 0, SEEK_CUR);
    header.sum = sum_of(file.fd);
    const bool summed = ::pwrite(file.fd, &header, sizeof header, 0) == sizeof header;
    return out.failed() || !summed ? FileError::kWrite : FileError::kNone;
}

FileError checkpoint_restore(Harness& h, const char* path, const char* build) {
    const File file{::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};  // a pipe would wait for who writes
    if (file.fd < 0) return FileError::kCannotOpen;
    Header header{};
    struct stat status {};
    if (::fstat(file.fd, &status)) return FileError::kCannotOpen;
    if (read_at(file.fd, &header, sizeof header, 0) != sizeof header) return FileError::kDamaged;
    if (std::memcmp(header.magic, kMagic, sizeof kMagic)) return FileError::kDamaged;
    if (std::strncmp(header.build, build, kBuildChars)) return FileError::kForeign;
    if (header.size != static_cast<uint64_t>(status.st_size) || header.sum != sum_of(file.fd)) return FileError::kDamaged;
    Reader in(file.fd, sizeof header);
    in >> *h.model;
    in.pod(h.cycles);
    h.memory.transfer(in);
    uint64_t count = 0;
    in.pod(count);
    in.align();
    std::vector<uint64_t> pages(capacity(count));
    in.raw(pages.data(), pages.size() * sizeof pages[0]);
    pages.resize(count);
    h.memory.memory.clear();
    for (const uint64_t number : pages) in.raw(h.memory.memory.touch(number).data(), SparseMemory::kPageBytes);
    return FileError::kNone;
}

}  // namespace kvsim
