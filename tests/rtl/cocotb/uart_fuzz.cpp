// uart_fuzz - throws random bytes and levels at the pin of kvcpu_uart_bridge and watches the buses (see uart_fuzz.py).
//
// Between pieces of rubbish (noise on the line, damaged, cut and overlapping frames, wrong stop bits, breaks, foreign kinds, random
// programs) it sends intact RUN requests, whose effect is known. It fails, with the seed and the cycle, when
//   - a write appears on a bus that is not the next one of the request last sent intact, or a write is missing
//   - a reply does not say what was executed, or a repetition does not get the same reply
//   - anything that comes back is not a frame with a good CRC
//   - HELLO is not answered within three attempts after the line has come to rest
// Arguments: seed, seconds. The last line on stdout is what was done.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "Vkvcpu_uart_bridge.h"
#include "verilated.h"

using Bytes = std::vector<uint8_t>;
enum { HELLO = 1, RUN = 2, STATS = 3, NAK = 0x9F };
enum { OK, MORE, SLVERR, DECERR, NO_ANSWER, BAD_PROGRAM, NO_SESSION, BAD_SEQUENCE };

struct Random : std::mt19937_64 {
    using std::mt19937_64::mt19937_64;
    uint32_t below(uint32_t n) { return (*this)() % n; }
    bool one_in(uint32_t n) { return below(n) == 0; }
};

static uint32_t crc32(const Bytes &data, size_t size) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

static bool sealed(const Bytes &data) {  // long enough, and its CRC is right
    if (data.size() < 8) return false;
    uint32_t crc = 0;
    for (size_t i = 1; i <= 4; i++) crc = crc << 8 | data[data.size() - i];
    return crc == crc32(data, data.size() - 4);
}

static void put(Bytes &to, uint64_t value, int bytes) {
    while (bytes--) to.push_back(value), value >>= 8;
}

static Bytes stuffed(const Bytes &payload) {
    Bytes out{0x7E};
    for (uint8_t byte : payload) {
        if (byte == 0x7E || byte == 0x7D) out.push_back(0x7D), byte ^= 0x20;
        out.push_back(byte);
    }
    out.push_back(0x7E);
    return out;
}

struct Frame {
    uint8_t kind;
    uint16_t session;
    uint8_t sequence;
    Bytes body;
    Bytes wire() const {
        Bytes payload;
        put(payload, kind, 1), put(payload, session, 2), put(payload, sequence, 1);
        payload.insert(payload.end(), body.begin(), body.end());
        put(payload, crc32(payload, payload.size()), 4);
        return stuffed(payload);
    }
    bool operator==(const Frame &o) const {
        return kind == o.kind && session == o.session && sequence == o.sequence && body == o.body;
    }
};

struct Access {
    bool memory;
    uint64_t addr, data;
    uint8_t strobes;
};

// One AXI slave port: answers after random pauses, keeps bytes.
struct Slave {
    std::map<uint64_t, uint8_t> bytes;
    bool aw = false, w = false, ar = false;
    uint64_t waddr, wdata, raddr;
    uint8_t strobes;
    int pause = 0;

    uint64_t word(uint64_t addr, int size) {
        uint64_t value = 0;
        for (int i = size; i--;) {
            auto at = bytes.find(addr + i);
            value = value << 8 | (at == bytes.end() ? 0 : at->second);
        }
        return value;
    }
    void store(uint64_t addr, uint64_t data, int size, uint8_t mask) {
        for (int i = 0; i < size; i++)
            if (mask >> i & 1) bytes[addr + i] = data >> 8 * i;
    }
};

class Fuzz {
public:
    Fuzz(uint64_t seed) : random(seed), seed(seed) { epoch(); }

    void round() {
        if (random.one_in(50)) epoch();
        switch (random.below(10)) {
        case 0: noise_bytes(1 + random.below(random.one_in(20) ? 3000 : 60)); break;
        case 1: noise_line(); break;
        case 2: damaged(); break;
        case 3: wrong_stop(); break;
        case 4: foreign(); break;
        case 5: random_program(); break;
        case 6: case 7: glued(); break;
        default: break;
        }
        settle();
        request();
        rounds++;
    }

    uint64_t cycles = 0, rounds = 0, sent = 0, executed = 0, naks = 0, epochs = 0;

private:
    [[noreturn]] void fail(const std::string &what) {
        printf("FAIL seed %llu round %llu cycle %llu: %s\n", (unsigned long long)seed, (unsigned long long)rounds,
               (unsigned long long)cycles, what.c_str());
        exit(1);
    }

    // ---- clock, buses, line ----------------------------------------------------------------------------------------------
    // A port's side of a cycle: inputs are set before the edge from what the design showed behind the last one.
    template <typename Addr, typename Data>
    void serve(Slave &slave, bool memory, const Addr &awaddr, uint8_t awvalid, uint8_t &awready, const Data &wdata, uint8_t wstrb,
               uint8_t wvalid, uint8_t &wready, uint8_t &bvalid, uint8_t bready, const Addr &araddr, uint8_t arvalid,
               uint8_t &arready, Data &rdata, uint8_t &rvalid, uint8_t rready) {
        const int size = sizeof(Data);
        if (awvalid && awready) slave.aw = true, slave.waddr = awaddr, slave.pause = random.below(slowness);
        if (wvalid && wready) slave.w = true, slave.wdata = wdata, slave.strobes = wstrb;
        if (arvalid && arready) slave.ar = true, slave.raddr = araddr, slave.pause = random.below(slowness);
        if (bvalid && bready) bvalid = 0;
        if (rvalid && rready) rvalid = 0;
        if (slave.aw && slave.w && !slave.pause--) {
            slave.aw = slave.w = false;
            written(Access{memory, slave.waddr, slave.wdata, slave.strobes});
            slave.store(slave.waddr, slave.wdata, size, slave.strobes);
            bvalid = 1;
        }
        if (slave.ar && !slave.pause--) {
            slave.ar = false;
            rdata = slave.word(slave.raddr, size);
            rvalid = 1;
        }
        awready = !slave.aw && random.below(2);
        wready = !slave.w && random.below(2);
        arready = !slave.ar && random.below(2);
    }

    void written(const Access &access) {
        if (anything_goes) return;
        if (expected.empty()) fail("a write that nobody asked for");
        const Access &next = expected.front();
        if (access.memory != next.memory || access.addr != next.addr || access.data != next.data || access.strobes != next.strobes)
            fail("another write than the one asked for");
        expected.pop_front();
    }

    void cycle(int rx) {
        auto &d = *dut;
        d.uart_rx = rx;
        // The slaves decide on the handshakes of the coming edge; what they change is seen by the design behind it.
        d.eval();
        struct { uint8_t awready, wready, bvalid, arready, rvalid; uint32_t rdata; } r{
            d.m_axil_awready, d.m_axil_wready, d.m_axil_bvalid, d.m_axil_arready, d.m_axil_rvalid, d.m_axil_rdata};
        serve(registers, false, d.m_axil_awaddr, d.m_axil_awvalid, r.awready, d.m_axil_wdata, d.m_axil_wstrb, d.m_axil_wvalid,
              r.wready, r.bvalid, d.m_axil_bready, d.m_axil_araddr, d.m_axil_arvalid, r.arready, r.rdata, r.rvalid, d.m_axil_rready);
        struct { uint8_t awready, wready, bvalid, arready, rvalid; uint64_t rdata; } m{
            d.m_axi_awready, d.m_axi_wready, d.m_axi_bvalid, d.m_axi_arready, d.m_axi_rvalid, d.m_axi_rdata};
        serve(memory, true, d.m_axi_awaddr, d.m_axi_awvalid, m.awready, d.m_axi_wdata, d.m_axi_wstrb, d.m_axi_wvalid,
              m.wready, m.bvalid, d.m_axi_bready, d.m_axi_araddr, d.m_axi_arvalid, m.arready, m.rdata, m.rvalid, d.m_axi_rready);
        d.clk = 1;
        d.eval();
        d.m_axil_awready = r.awready, d.m_axil_wready = r.wready, d.m_axil_bvalid = r.bvalid, d.m_axil_arready = r.arready;
        d.m_axil_rvalid = r.rvalid, d.m_axil_rdata = r.rdata;
        d.m_axi_awready = m.awready, d.m_axi_wready = m.wready, d.m_axi_bvalid = m.bvalid, d.m_axi_arready = m.arready;
        d.m_axi_rvalid = m.rvalid, d.m_axi_rdata = m.rdata;
        d.clk = 0;
        d.eval();
        cycles++;
        listen(d.uart_tx);
    }

    void hold(int level, double bits) {
        for (until += bits * clocks_per_bit; now < until; now += 1) cycle(level);
    }
    void rest(double bits) { hold(1, bits); }

    void send(uint8_t byte, int stop = 1) {
        hold(0, 1);
        for (int i = 0; i < 8; i++) hold(byte >> i & 1, 1);
        hold(stop, 1);
        if (!stop) hold(1, 1);
        sent++;
    }
    void send(const Bytes &bytes) {
        for (uint8_t byte : bytes) send(byte);
        if (random.one_in(4)) rest(random.below(30));
    }

    // Receiver: the middle of each bit, counted from the start edge at the rate that the design was told.
    void listen(int tx) {
        if (!receiving) {
            if (!tx) receiving = true, age = 0, bit = 0;
            return;
        }
        if (++age < (bit + 0.5) * told) return;
        if (bit == 0 && tx) fail("a glitch on the transmitter");
        if (bit >= 1 && bit <= 8) shift = shift >> 1 | tx << 7;
        if (bit++ == 9) {
            if (!tx) fail("a byte without stop bit");
            receiving = false;
            received(shift);
        }
    }

    void received(uint8_t byte) {
        if (byte == 0x7E) {
            if (in_frame && !partial.empty()) complete();
            partial.clear(), in_frame = true, escaped = false;
        } else if (!in_frame) {
            fail("a byte outside of a frame");
        } else if (byte == 0x7D) {
            escaped = true;
        } else {
            partial.push_back(escaped ? byte ^ 0x20 : byte);
            escaped = false;
        }
    }

    void complete() {
        if (!sealed(partial)) fail("a short frame or a wrong CRC came back");
        size_t size = partial.size() - 4;
        Frame frame{partial[0], uint16_t(partial[1] | partial[2] << 8), partial[3], Bytes(partial.begin() + 4, partial.begin() + size)};
        if (frame.kind == NAK) naks++;
        else replies.push_back(frame);
    }

    // ---- what is sent ------------------------------------------------------------------------------------------------------
    void epoch() {  // reset, at another rate
        slowness = random.one_in(3) ? 2000 : 4;
        told = 8 + random.below(300) / 10.0;
        clocks_per_bit = told * (1 + (int(random.below(31)) - 15) / 1000.0);
        dut->rst = 1, dut->clk_hz = 25000000, dut->device_idle = 1;
        dut->baud_step = uint32_t(4294967296.0 / told + 0.5);
        receiving = in_frame = false, partial.clear(), replies.clear(), expected.clear();
        registers = Slave(), memory = Slave();
        dut->m_axil_awready = dut->m_axil_wready = dut->m_axil_arready = dut->m_axil_bvalid = dut->m_axil_rvalid = 0;
        dut->m_axi_awready = dut->m_axi_wready = dut->m_axi_arready = dut->m_axi_bvalid = dut->m_axi_rvalid = 0;
        for (int i = 0; i < 10; i++) cycle(1);
        receiving = in_frame = false, partial.clear(), replies.clear();
        dut->rst = 0;
        session = 1 + random.below(0xFFFF), sequence = 0, last = {};
        greet();
        epochs++;
    }

    void greet() {
        for (int attempt = 0; attempt < 3; attempt++) {
            replies.clear();
            send(Frame{HELLO, session, uint8_t(attempt), {'K', 'V', 'U', 'B', 1}}.wire());
            rest(500);
            for (const Frame &reply : replies)
                if (reply.kind == (HELLO | 0x80) && reply.session == session && reply.sequence == attempt && reply.body.size() == 16) return;
        }
        fail("HELLO is not answered");
    }

    // Let everything come to an end, close what may be open, and see that the bridge is there.
    void settle() {
        rest(12);
        send(0x7E);
        for (int quiet = 0, waited = 0; quiet < 15; quiet++) {
            rest(20);
            if (dut->busy) quiet = 0;
            if (++waited > 1000000) fail("it does not come to an end");
        }
        greet();
        if (!expected.empty() && expected.size() != asked) fail("a program stopped half way");
    }

    void noise_bytes(int count) {
        while (count--) send(random.one_in(6) ? 0x7E : random.one_in(6) ? 0x7D : random(), !random.one_in(50));
    }

    void noise_line() {
        for (int i = random.below(300); i--;) hold(random.below(2), random.below(1000) / (random.one_in(3) ? 100.0 : 400.0));
    }

    Frame fresh() {
        Frame frame{RUN, session, sequence, {}};
        program(frame.body, nullptr, nullptr);
        return frame;
    }

    void damaged() {
        Bytes wire = fresh().wire();
        for (int i = 1 + random.below(3); i-- && !wire.empty();) {
            size_t at = random.below(wire.size());
            switch (random.below(4)) {
            case 0: wire.erase(wire.begin() + at); break;
            case 1: wire.insert(wire.begin() + at, random()); break;
            case 2: wire.resize(at + 1); break;
            default: wire[at] ^= 1 << random.below(8);
            }
        }
        if (intact(wire)) return;  // deleted or doubled a flag
        send(wire);
    }

    // Whether a good frame can be read in these bytes.
    static bool intact(const Bytes &wire) {
        Bytes part;
        bool escaped = false;
        for (uint8_t byte : wire) {
            if (byte == 0x7E) {
                if (sealed(part)) return true;
                part.clear(), escaped = false;
            } else if (byte == 0x7D) escaped = true;
            else part.push_back(escaped ? byte ^ 0x20 : byte), escaped = false;
        }
        return sealed(part);  // the flag that settle() sends would close it
    }

    void wrong_stop() {
        Bytes wire = fresh().wire();
        size_t at = 1 + random.below(wire.size() - 2);
        for (size_t i = 0; i < wire.size(); i++) send(wire[i], i != at);
        if (random.one_in(5)) hold(0, random.below(200)), rest(2);
    }

    void foreign() {  // good frames that ask for nothing
        Frame frame{uint8_t(random()), uint16_t(random()), uint8_t(random()), Bytes(random.below(30))};
        if (frame.kind == HELLO || frame.session == session) frame.kind = 0x40;
        for (uint8_t &byte : frame.body) byte = random();
        send(frame.wire());
    }

    void random_program() {  // anything in an intact frame: it must come to an end, and leaves the session usable
        Frame frame{RUN, session, sequence, Bytes(random.below(200))};
        for (uint8_t &byte : frame.body) byte = random.one_in(2) ? random.below(8) : random();
        for (size_t i = 0; i + 5 <= frame.body.size(); i += 5)
            if (frame.body[i] == 3) frame.body[i + 4] = 0;  // no wait of a minute
        anything_goes = true;
        if (answer(frame).body.size() < 4) fail("a reply without status");
        anything_goes = false;
        sequence++;
        last = {};
    }

    // A program of reads and writes, and what it does: writes on the bus, data in the reply.
    void program(Bytes &body, std::deque<Access> *writes, Bytes *data) {
        Slave r = registers, m = memory;
        int operations = random.below(6);
        position = operations;
        for (int i = 0; i < operations; i++) {
            int kind = 1 + random.below(6), count = 1 + random.below(random.one_in(10) ? 40 : 4);
            uint32_t offset = random.below(64) * 4 + (random.one_in(2) ? 0x400000 : 0);
            uint64_t addr = random.below(64) * 8 + (uint64_t(random.below(2)) << 40);
            uint8_t first = random.one_in(2) ? 0xFF : random(), final = random.one_in(2) ? 0xFF : random();
            if (kind == 3 || kind == 4) kind = 3, count = 0, offset = random.below(3);
            if (kind == 5) offset = 0;
            if (kind == 6) offset = first | final << 8;
            put(body, kind, 1), put(body, count, 1), put(body, offset, 3);
            if (kind >= 5) put(body, addr, 8);
            for (int n = 0; n < count; n++) {
                uint64_t value = random.one_in(8) ? 0x7E7D7E7D7D7E5E5D : random();
                uint8_t strobes = (n ? 0xFF : first) & (n + 1 < count ? 0xFF : final);
                if (kind == 1 && data) put(*data, r.word(offset + 4 * n, 4), 4);
                if (kind == 5 && data) put(*data, m.word(addr + 8 * n, 8), 8);
                if (kind == 2) {
                    value &= 0xFFFFFFFF;
                    put(body, value, 4), r.store(offset + 4 * n, value, 4, 0xF);
                    if (writes) writes->push_back(Access{false, offset + 4u * n, value, 0xF});
                }
                if (kind == 6) {
                    put(body, value, 8), m.store(addr + 8 * n, value, 8, strobes);
                    if (writes) writes->push_back(Access{true, addr + 8 * n, value, strobes});
                }
            }
        }
    }

    Frame answer(const Frame &frame) {
        for (int attempt = 0; attempt < 3; attempt++) {
            replies.clear();
            send(frame.wire());
            for (int waited = 0; waited < 1000000; waited++) {
                rest(10);
                if (!replies.empty()) {
                    rest(12);
                    Frame reply = replies.front();
                    if (reply.kind != (frame.kind | 0x80) || reply.session != frame.session || reply.sequence != frame.sequence)
                        fail("a reply to something else");
                    return reply;
                }
                if (!dut->busy && waited > 60) break;
            }
        }
        fail("no reply to an intact request");
    }

    // The next request: executed once whatever came before, and answered as its program says.
    void request() {
        Frame frame{RUN, session, sequence, {}};
        Frame reply{RUN | 0x80, session, sequence, {}};
        Bytes data;
        program(frame.body, &expected, &data);
        put(reply.body, OK, 1), put(reply.body, 0, 1), put(reply.body, position, 2);
        reply.body.insert(reply.body.end(), data.begin(), data.end());
        asked = expected.size();
        finish(frame, reply);
    }

    void finish(const Frame &frame, const Frame &reply) {
        if (!(answer(frame) == reply)) fail("the reply is not what the program says");
        if (!expected.empty()) fail("a write is missing");
        sequence++, executed++;
        last = reply, last_request = frame, last_request.sequence = reply.sequence;
        if (random.one_in(3) && !(answer(last_request) == last)) fail("a repetition has another reply");
        if (random.one_in(5)) {
            Frame wrong = frame;
            wrong.sequence = sequence + 1 + random.below(254);
            if (answer(wrong).body != Bytes{BAD_SEQUENCE, 0, 0, 0}) fail("a wrong sequence is not refused");
            if (!(answer(last_request) == last)) fail("the stored reply is lost");
        }
        if (random.one_in(10)) {
            Frame wrong = frame;
            wrong.session ^= 1 + random.below(0xFFFF);
            if (answer(wrong).body != Bytes{NO_SESSION, 0, 0, 0}) fail("a wrong session is not refused");
        }
    }

    // An intact request with rubbish right before, behind, or over it: executed once or not at all; the repetition settles it.
    void glued() {
        Frame frame{RUN, session, sequence, {}};
        Frame reply{RUN | 0x80, session, sequence, {}};
        Bytes data;
        program(frame.body, &expected, &data);
        put(reply.body, OK, 1), put(reply.body, 0, 1), put(reply.body, position, 2);
        reply.body.insert(reply.body.end(), data.begin(), data.end());
        asked = expected.size();
        Bytes wire = frame.wire();
        Frame other = fresh();
        other.sequence += 2 + random.below(250);
        switch (random.below(5)) {
        case 0: noise_bytes(random.below(40)); send(wire); break;
        case 3: send(wire); send(other.wire()); break;
        case 1: send(wire); noise_bytes(random.below(40)); break;
        case 2: send(wire); send(wire); send(wire); break;
        default: noise_line(); send(wire); noise_line(); break;
        }
        settle();
        finish(frame, reply);
    }

    Random random;
    const uint64_t seed;
    std::unique_ptr<Vkvcpu_uart_bridge> dut = std::make_unique<Vkvcpu_uart_bridge>();
    Slave registers, memory;
    std::deque<Access> expected;  // writes of the program that may be executed now, in order
    size_t asked = 0;
    int slowness = 4;             // of the slaves: longest pause before an answer, in cycles
    bool anything_goes = false;
    double told = 8, clocks_per_bit = 8, now = 0, until = 0;
    bool receiving = false, in_frame = false, escaped = false;
    int age = 0, bit = 0, position = 0;
    uint8_t shift = 0;
    Bytes partial;
    std::vector<Frame> replies;
    uint16_t session = 0;
    uint8_t sequence = 0;
    Frame last{}, last_request{};
};

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "arguments: seed seconds\n"), 2;
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(atof(argv[2]));
    Fuzz fuzz(strtoull(argv[1], nullptr, 0));
    do fuzz.round();
    while (std::chrono::steady_clock::now() < end || fuzz.rounds < 20);
    printf("PASS %llu rounds, %llu requests executed, %llu bytes sent, %llu NAKs, %llu resets, %llu cycles\n",
           (unsigned long long)fuzz.rounds, (unsigned long long)fuzz.executed, (unsigned long long)fuzz.sent,
           (unsigned long long)fuzz.naks, (unsigned long long)fuzz.epochs, (unsigned long long)fuzz.cycles);
}
