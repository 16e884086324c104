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

constexpr char kMagic[8] = {'K', 'V', 'C', 'K', 'P', 'T', '0', '1'};
constexpr size_t kBuildChars = 64;

struct Header {
    char magic[8];
    char build[kBuildChars];
    uint64_t size;
};

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
    bool failed() const { return failed_; }

private:
    void put(const void* data, size_t size) {
        for (const auto* from = static_cast<const char*>(data); size && !failed_;) {
            const ssize_t put = ::write(fd_, from, size);
            if (put < 0 && errno == EINTR) continue;
            if (put <= 0) failed_ = true;
            else from += put, size -= put;
        }
    }
    int fd_;
    bool failed_ = false;
};

class Reader final : public VerilatedDeserialize {
public:
    explicit Reader(int fd) : fd_(fd) {
        m_isOpen = true;
        m_endp = m_bufp;
    }
    void fill() override {
        const size_t left = m_endp - m_cp;
        std::memmove(m_bufp, m_cp, left);
        m_cp = m_bufp;
        m_endp = m_bufp + left;
        m_endp += get(m_endp, bufferSize() - left);
        // The model's own reader asks for more than there is near the end; it gets zeros, as from Verilator's.
        std::memset(m_endp, 0, m_bufp + bufferSize() - m_endp);
        if (m_endp < m_bufp + bufferSize()) m_endp = m_bufp + bufferSize();
    }
    void raw(void* data, size_t size) {
        auto* out = static_cast<char*>(data);
        const size_t buffered = std::min<size_t>(size, m_endp - m_cp);
        std::memcpy(out, m_cp, buffered);
        m_cp += buffered;
        if (size > buffered) get(out + buffered, size - buffered);
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
    size_t get(void* data, size_t size) {
        size_t total = 0;
        while (total < size) {
            const ssize_t got = ::read(fd_, static_cast<char*>(data) + total, size - total);
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) break;
            total += got;
        }
        return total;
    }
    int fd_;
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
    out.pod(h.cycles);
    h.memory.transfer(out);
    const std::vector<uint64_t> pages = h.memory.memory.used_pages();
    out.pod(uint64_t{pages.size()});
    out.raw(pages.data(), pages.size() * sizeof pages[0]);
    for (const uint64_t number : pages) out.raw(h.memory.memory.find(number)->data(), SparseMemory::kPageBytes);
    out << *h.model;
    out.flush();
    header.size = ::lseek(file.fd, 0, SEEK_CUR);  // last: a file that was cut short has no size
    const bool sized = ::pwrite(file.fd, &header, sizeof header, 0) == sizeof header;
    return out.failed() || !sized ? FileError::kWrite : FileError::kNone;
}

FileError checkpoint_restore(Harness& h, const char* path, const char* build) {
    const File file{::open(path, O_RDONLY | O_CLOEXEC)};
    if (file.fd < 0) return FileError::kCannotOpen;
    Header header{};
    struct stat status {};
    if (::fstat(file.fd, &status)) return FileError::kCannotOpen;
    if (::read(file.fd, &header, sizeof header) != sizeof header) return FileError::kDamaged;
    if (std::memcmp(header.magic, kMagic, sizeof kMagic)) return FileError::kDamaged;
    if (std::strncmp(header.build, build, kBuildChars)) return FileError::kForeign;
    if (header.size != static_cast<uint64_t>(status.st_size)) return FileError::kDamaged;
    Reader in(file.fd);
    in.pod(h.cycles);
    h.memory.transfer(in);
    uint64_t count = 0;
    in.pod(count);
    if (count > header.size / SparseMemory::kPageBytes) return FileError::kDamaged;
    std::vector<uint64_t> pages(count);
    in.raw(pages.data(), count * sizeof pages[0]);
    h.memory.memory.clear();
    for (const uint64_t number : pages) in.raw(h.memory.memory.touch(number).data(), SparseMemory::kPageBytes);
    in >> *h.model;
    return FileError::kNone;
}

}  // namespace kvsim
