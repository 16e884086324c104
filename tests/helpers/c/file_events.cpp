// file_events.cpp - counts what a process changes below a folder, and ends it, or fills its disk, at a given change. To be preloaded
// (tests/helpers/file_events.py), so it meets the calls of Python, numpy and the C++ of the simulation alike.
//
//   EVENTS_UNDER=DIR   changes of files and folders in there are counted, from 1
//   EVENTS_LOG=FILE    gets a line for each
//
// events_at(N, 0): SIGKILL instead of change N; a write has written half of its bytes by then. events_at(0, N): from change N on
// nothing more fits, and whatever needs room gets ENOSPC.
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

std::string setting(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

const std::string under = setting("EVENTS_UNDER");
const std::string log_path = setting("EVENTS_LOG");
long kill_at = 0, full_from = 0;
std::atomic<long> events{0};

std::string path_of(int fd) {
    char found[PATH_MAX];
    const ssize_t size = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), found, sizeof found);
    return size < 0 ? "" : std::string(found, size);
}

std::string absolute(int folder, const char* path) {
    if (path[0] == '/') return path;
    if (folder != AT_FDCWD) return path_of(folder) + "/" + path;
    char here[PATH_MAX];
    return std::string(::getcwd(here, sizeof here)) + "/" + path;
}

enum class Fate { kGoOn, kNoRoom, kLast };

/// Count a change of `path`; what is to become of it. kLast: die once half of it is done.
Fate meet(const char* what, const std::string& path, bool needs_room) {
    if (under.empty() || path.compare(0, under.size(), under) != 0) return Fate::kGoOn;
    const long number = ++events;
    const std::string line = std::to_string(number) + " " + what + " " + path + "\n";
    const int log = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666));
    ::syscall(SYS_write, log, line.data(), line.size());
    ::syscall(SYS_close, log);
    if (number == kill_at) return Fate::kLast;
    return full_from && number >= full_from && needs_room ? Fate::kNoRoom : Fate::kGoOn;
}

[[noreturn]] void die() {
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();
}

/// For changes that happen whole or not at all: false with errno set where there is no room.
bool allowed(const char* what, const std::string& path, bool needs_room) {
    const Fate fate = meet(what, path, needs_room);
    if (fate == Fate::kLast) die();
    if (fate == Fate::kNoRoom) errno = ENOSPC;
    return fate == Fate::kGoOn;
}

template <typename F>
F* next(const char* name) {
    return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}

int open_file(int folder, const char* path, int flags, mode_t mode) {
    const std::string whole = absolute(folder, path);
    const bool makes = (flags & O_CREAT) && ::access(whole.c_str(), F_OK) != 0;
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) && !(flags & O_DIRECTORY) && !allowed("open", whole, makes)) return -1;
    return next<int(int, const char*, int, mode_t)>("openat64")(folder, path, flags, mode);
}

/// `real(n)` puts the first n of these bytes into the file.
template <typename Real>
ssize_t put(int fd, size_t size, Real real) {
    switch (meet("write", path_of(fd), true)) {
        case Fate::kLast:
            real(size / 2);
            die();
        case Fate::kNoRoom:
            errno = ENOSPC;
            return -1;
        default:
            return real(size);
    }
}

}  // namespace

extern "C" {

void events_at(long kill, long full) {
    kill_at = kill;
    full_from = full;
}


#define OPEN(NAME, BEFORE, FOLDER)                                     \
    int NAME(BEFORE const char* path, int flags, ...) {                \
        va_list more;                                                  \
        va_start(more, flags);                                         \
        const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                  \
        return open_file(FOLDER, path, flags, mode);                   \
    }
#define NOTHING
#define AT int folder,
OPEN(open, NOTHING, AT_FDCWD)
OPEN(open64, NOTHING, AT_FDCWD)
OPEN(openat, AT, folder)
OPEN(openat64, AT, folder)

ssize_t write(int fd, const void* from, size_t size) {
    return put(fd, size, [=](size_t n) { return next<ssize_t(int, const void*, size_t)>("write")(fd, from, n); });
}
ssize_t pwrite(int fd, const void* from, size_t size, off_t at) {
    return put(fd, size, [=](size_t n) { return next<ssize_t(int, const void*, size_t, off_t)>("pwrite")(fd, from, n, at); });
}
ssize_t pwrite64(int fd, const void* from, size_t size, off_t at) { return pwrite(fd, from, size, at); }

#define SIMPLE(NAME, WHAT, PATH, ROOM, PARAMETERS, ARGUMENTS) \
    int NAME PARAMETERS { return allowed(WHAT, PATH, ROOM) ? next<int PARAMETERS>(#NAME) ARGUMENTS : -1; }
SIMPLE(mkdir, "mkdir", absolute(AT_FDCWD, path), true, (const char* path, mode_t mode), (path, mode))
SIMPLE(mkdirat, "mkdir", absolute(at, path), true, (int at, const char* path, mode_t mode), (at, path, mode))
SIMPLE(rmdir, "rmdir", absolute(AT_FDCWD, path), false, (const char* path), (path))
SIMPLE(unlink, "unlink", absolute(AT_FDCWD, path), false, (const char* path), (path))
SIMPLE(unlinkat, "unlink", absolute(at, path), false, (int at, const char* path, int flags), (at, path, flags))
SIMPLE(rename, "rename", absolute(AT_FDCWD, to), false, (const char* from, const char* to), (from, to))
SIMPLE(renameat, "rename", absolute(there, to), false, (int here, const char* from, int there, const char* to), (here, from, there, to))
SIMPLE(fsync, "fsync", path_of(fd), false, (int fd), (fd))
SIMPLE(fdatasync, "fsync", path_of(fd), false, (int fd), (fd))
SIMPLE(ftruncate, "truncate", path_of(fd), false, (int fd, off_t size), (fd, size))
SIMPLE(ftruncate64, "truncate", path_of(fd), false, (int fd, off_t size), (fd, size))

}  // extern "C"
