// The device's instructions on the host, so that tests run the kernels of cuda/ without a GPU: indexing, barriers and
// arithmetic are the kernels' own. A block's threads are fibers of one thread of the host. Between two barriers of the
// block it runs one warp after the other as far as each goes, and in a warp one lane after the other; blocks, warps and
// lanes all come in ascending or all in descending order. Whichever two threads race, each is first in one of the orders.
//
// Found besides wrong results: shared memory that is read before it is written (it starts as NaN), barriers that
// not all threads reach, launches whose parameters are not the kernel's, indices past an array in shared memory or past
// what the launch sized, addresses outside of every tensor, and addresses that are not on their type's alignment.
#pragma once
// C's headers only: they are read once a variant, and C++'s take most of a compilation.
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
extern "C" {
float expf(float);
float logf(float);
float sqrtf(float);
float fabsf(float);
float fmaxf(float, float);
float ldexpf(float, int);
float frexpf(float, int *);
float nearbyintf(float);
}

#define __device__ static
#define NOINLINE
#define __shared__ static __attribute__((section("emulated_shared")))

extern char __start_emulated_shared[], __stop_emulated_shared[];
// What a block may have at most on every GPU from compute capability 8.0 on.
static const u32 EMULATED_SHARED = 99 << 10;
alignas(16) static char emulated_dynamic[EMULATED_SHARED + (16 << 10)] __attribute__((section("emulated_shared"), used));
#define DYNAMIC_SHARED(type, name) type *name = (type *)emulated_dynamic

static const u32 EMULATED_STACK = 1 << 17;

struct EmulatedBarrier {
    u32 arrived = 0, generation = 0;
    int line = 0;
};
struct EmulatedFiber {
    jmp_buf at;
    bool done = true;
};
static EmulatedFiber emulated_fibers[1024];
static EmulatedBarrier emulated_block_barrier, emulated_warp_barriers[32];
static char emulated_slots[32][2][32][32]; // by warp, parity and lane
static u32 emulated_parity[1024];
static jmp_buf emulated_scheduler;
static u32 emulated_thread, emulated_block, emulated_threads, emulated_progress;
static const EmulatedBarrier *emulated_released; // that all have reached
static const char *emulated_fault;

static u32 thread_index() { return emulated_thread; }
static u32 block_index() { return emulated_block; }

static void emulated_yield() {
    if (!_setjmp(emulated_fibers[emulated_thread].at)) _longjmp(emulated_scheduler, 1);
}

static void emulated_wait(EmulatedBarrier &barrier, u32 count, int line) {
    if (barrier.arrived == 0) barrier.line = line;
    if (barrier.line != line) emulated_fault = "threads meet at different barriers";
    emulated_progress++;
    u32 generation = barrier.generation;
    if (++barrier.arrived == count) {
        barrier.arrived = 0;
        barrier.generation++;
        emulated_released = &barrier;
        emulated_yield(); // those that come first in the order go on first
    }
    while (generation == barrier.generation) emulated_yield();
}
#define block_barrier() emulated_wait(emulated_block_barrier, emulated_threads, __LINE__)

// What all lanes of the warp put in, by lane.
template <class T> static const char (*emulated_exchange(const T &mine))[32] {
    static_assert(sizeof(T) <= 32, "a slot");
    u32 warp = emulated_thread / 32;
    u32 parity = emulated_parity[emulated_thread] ^= 1;
    memcpy(emulated_slots[warp][parity][emulated_thread % 32], &mine, sizeof(T));
    emulated_wait(emulated_warp_barriers[warp], 32, 0);
    return emulated_slots[warp][parity];
}
template <class T> static T emulated_slot(const char (*slots)[32], u32 lane) {
    T value;
    memcpy(&value, slots[lane], sizeof(T));
    return value;
}

static f32 shuffle_xor(f32 value, u32 mask) {
    return emulated_slot<f32>(emulated_exchange(value), (emulated_thread % 32) ^ mask);
}
static u32 high_product(u32 a, u32 b) { return (u32)(((u64)a * b) >> 32); }
static f32 bits_value(u32 bits) {
    f32 value;
    memcpy(&value, &bits, 4);
    return value;
}
static u32 value_bits(f32 value) {
    u32 bits;
    memcpy(&bits, &value, 4);
    return bits;
}
static u16 bf16_bits(f32 value) {
    u32 bits = value_bits(value);
    if (value != value) return 0x7FFF;
    return (u16)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
static f32 f16_value(u16 bits) {
    u32 exponent = (bits >> 10) & 31, mantissa = bits & 1023;
    f32 sign = bits & 0x8000 ? -1.0f : 1.0f;
    if (exponent == 31) return mantissa ? bits_value(0x7FC00000u) : sign * __builtin_inff();
    return exponent ? sign * ldexpf((f32)(1024 + mantissa), (int)exponent - 25) : sign * ldexpf((f32)mantissa, -24);
}
static u16 f16_bits(f32 value) {
    u16 sign = (value_bits(value) >> 16) & 0x8000;
    f32 size = fabsf(value);
    if (value != value) return 0x7FFF;
    if (size >= 65520.0f) return sign | 0x7C00;
    if (size < 6.103515625e-5f) return sign | (u16)nearbyintf(size * 16777216.0f);
    int exponent;
    frexpf(size, &exponent); // size = m * 2^exponent with m from 0.5 on
    u32 mantissa = (u32)nearbyintf(ldexpf(size, 11 - exponent)); // 1024 to 2048
    return sign | (u16)(((exponent + 14) << 10) + (mantissa - 1024));
}

static u32 pack(f16, f32 low, f32 high) { return f16_bits(low) | (u32)f16_bits(high) << 16; }
static u32 pack(bf16, f32 low, f32 high) { return bf16_bits(low) | (u32)bf16_bits(high) << 16; }
static f32 emulated_half(f16, u16 bits) { return f16_value(bits); }
static f32 emulated_half(bf16, u16 bits) { return bits_value((u32)bits << 16); }

static void load_matrices(u32 (&words)[4], const u16 *row) {
    auto slots = emulated_exchange(row);
    u32 lane = emulated_thread % 32;
    for (u32 i = 0; i < 4; i++) {
        const u16 *of = emulated_slot<const u16 *>(slots, 8 * i + lane / 4);
        if ((uintptr_t)of % 16) emulated_fault = "a matrix's row is not aligned to 16 bytes";
        words[i] = of[lane % 4 * 2] | (u32)of[lane % 4 * 2 + 1] << 16;
    }
}
static void load_transposed(u32 (&words)[4], const u16 *row) {
    auto slots = emulated_exchange(row);
    u32 lane = emulated_thread % 32;
    for (u32 i = 0; i < 4; i++) {
        const u16 *first = emulated_slot<const u16 *>(slots, 8 * i + lane % 4 * 2);
        const u16 *second = emulated_slot<const u16 *>(slots, 8 * i + lane % 4 * 2 + 1);
        if ((uintptr_t)first % 16) emulated_fault = "a matrix's row is not aligned to 16 bytes";
        words[i] = first[lane / 4] | (u32)second[lane / 4] << 16;
    }
}

// mma.m16n8k16: every lane puts in its words, and sums up its four places.
struct EmulatedOperands {
    u32 left[4], right[2];
};
template <class T> static void multiply_add(T type, f32 (&sums)[4], const u32 (&left)[4], u32 right0, u32 right1) {
    EmulatedOperands mine = {{left[0], left[1], left[2], left[3]}, {right0, right1}};
    auto slots = emulated_exchange(mine);
    u32 lane = emulated_thread % 32;
    for (u32 place = 0; place < 4; place++) {
        u32 row = lane / 4 + place / 2 * 8, column = lane % 4 * 2 + place % 2;
        for (u32 k = 0; k < 16; k++) {
            auto of_row = (const EmulatedOperands *)slots[row % 8 * 4 + k % 8 / 2];
            auto of_column = (const EmulatedOperands *)slots[column * 4 + k % 8 / 2];
            u32 a = of_row->left[row / 8 + k / 8 * 2] >> (k % 2 * 16);
            u32 b = of_column->right[k / 8] >> (k % 2 * 16);
            sums[place] += emulated_half(type, (u16)a) * emulated_half(type, (u16)b);
        }
    }
}

static void (*emulated_body)(void *);
static void *emulated_arguments;

// A fiber runs the kernel once a block.
static void emulated_fiber() {
    for (;;) {
        emulated_body(emulated_arguments);
        emulated_fibers[emulated_thread].done = true;
        emulated_progress++;
        emulated_yield();
    }
}

// The letter of a parameter: p a pointer, f an f32, u 4 bytes, l 8 bytes, and s a struct.
template <class T> struct EmulatedKind {
    static const char letter = 's';
};
template <class T> struct EmulatedKind<T *> {
    static const char letter = 'p';
};
template <> struct EmulatedKind<f32> {
    static const char letter = 'f';
};
template <> struct EmulatedKind<u32> {
    static const char letter = 'u';
};
template <> struct EmulatedKind<u64> {
    static const char letter = 'l';
};
template <size_t... I> struct EmulatedIndices {};

struct EmulatedLaunch {
    u32 blocks, threads, shared_bytes, descending;
    void **values; // of the parameters
    const u32 *sizes;
    const char *kinds;
};

template <class... A> struct EmulatedCall {
    void (*kernel)(A...);
    void **values;
    template <size_t... I> void call(EmulatedIndices<I...>) { kernel(*(A *)values[I]...); }
    static void body(void *self) { ((EmulatedCall *)self)->call(EmulatedIndices<__integer_pack(sizeof...(A))...>()); }
};

static void emulated_start(void *stacks) {
    static ucontext_t contexts[1024], back;
    for (u32 i = 0; i < emulated_threads; i++) {
        getcontext(&contexts[i]);
        contexts[i].uc_stack.ss_sp = (char *)stacks + (size_t)i * EMULATED_STACK;
        contexts[i].uc_stack.ss_size = EMULATED_STACK;
        contexts[i].uc_link = &back;
        makecontext(&contexts[i], emulated_fiber, 0);
    }
    // A fiber's first turn begins in its context, the others where it yielded.
    for (volatile u32 turn = 0; turn < emulated_threads; turn = turn + 1) {
        emulated_thread = turn;
        emulated_fibers[turn].done = false;
        if (!_setjmp(emulated_scheduler)) setcontext(&contexts[turn]);
    }
}

static void emulated_run_block(bool descending) {
    memset(__start_emulated_shared, 0xFF, __stop_emulated_shared - __start_emulated_shared);
    for (u32 i = 0; i < emulated_threads; i++) emulated_fibers[i].done = false;
    u32 warps = (emulated_threads + 31) / 32;
    for (volatile u32 turn = 0; turn < warps && !emulated_fault;) {
        emulated_progress = 0;
        emulated_released = nullptr;
        for (volatile u32 place = 0; place < 32 && !emulated_released; place = place + 1) {
            u32 warp = descending ? warps - 1 - turn : (u32)turn;
            u32 thread = 32 * warp + (descending ? 31 - place : (u32)place);
            if (thread >= emulated_threads || emulated_fibers[thread].done) continue;
            emulated_thread = thread;
            if (!_setjmp(emulated_scheduler)) _longjmp(emulated_fibers[thread].at, 1);
        }
        if (emulated_released == &emulated_block_barrier) turn = 0;
        else if (emulated_progress == 0) turn = turn + 1; // it waits for the other warps, or is done
    }
    for (u32 i = 0; i < emulated_threads && !emulated_fault; i++) {
        if (!emulated_fibers[i].done) emulated_fault = "some threads wait at a barrier for ever";
    }
}

// Whether the rest of the memory that a launch sizes is as it was.
static bool emulated_untouched(u32 shared_bytes) {
    const char *rest = emulated_dynamic + shared_bytes;
    return rest[0] == (char)0xFF && !memcmp(rest, rest + 1, sizeof(emulated_dynamic) - shared_bytes - 1);
}

// A fault of a thread ends its kernel.
static void emulated_signal(int signal) {
    emulated_fault = signal == SIGILL ? "an index is past its array, or an address is not on its type's alignment"
                                      : "an address is outside of every tensor, or not on its type's alignment";
    _longjmp(emulated_scheduler, 1);
}

// For as long as it lives, such faults come to the emulator.
struct EmulatedSignals {
    struct sigaction before[3];
    static int of(u32 i) { return i == 0 ? SIGSEGV : i == 1 ? SIGBUS : SIGILL; }
    EmulatedSignals() {
        struct sigaction action = {};
        action.sa_handler = emulated_signal;
        action.sa_flags = SA_NODEFER;
        for (u32 i = 0; i < 3; i++) sigaction(of(i), &action, &before[i]);
    }
    ~EmulatedSignals() {
        for (u32 i = 0; i < 3; i++) sigaction(of(i), &before[i], nullptr);
    }
};

// Why the launch is wrong, or null.
template <class... A> static const char *emulated_run(void (*kernel)(A...), u32 threads, const EmulatedLaunch &launch) {
    const char kinds[] = {EmulatedKind<A>::letter..., 0};
    const u32 sizes[] = {(u32)sizeof(A)..., 0};
    if (strcmp(kinds, launch.kinds)) return "the parameters' types are not the kernel's";
    for (u32 i = 0; i < sizeof...(A); i++) {
        if (sizes[i] != launch.sizes[i]) return "a parameter's size is not the kernel's";
    }
    if (launch.threads != threads) return "a block's threads are not the kernel's";
    if (launch.shared_bytes > EMULATED_SHARED) return "too much shared memory";
    EmulatedCall<A...> call = {kernel, launch.values};
    size_t stack_bytes = (size_t)threads * EMULATED_STACK;
    void *stacks = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) return "no memory for stacks";
    emulated_threads = threads;
    emulated_fault = nullptr;
    emulated_block_barrier = EmulatedBarrier();
    for (auto &barrier : emulated_warp_barriers) barrier = EmulatedBarrier();
    memset(emulated_parity, 0, sizeof(emulated_parity));
    emulated_body = [](void *) {};
    emulated_start(stacks);
    emulated_body = EmulatedCall<A...>::body;
    emulated_arguments = &call;
    EmulatedSignals signals;
    for (u32 i = 0; i < launch.blocks && !emulated_fault; i++) {
        emulated_block = launch.descending ? launch.blocks - 1 - i : i;
        emulated_run_block(launch.descending);
        if (!emulated_fault && !emulated_untouched(launch.shared_bytes)) {
            emulated_fault = "it writes past the shared memory that the launch sized";
        }
    }
    munmap(stacks, stack_bytes);
    return emulated_fault;
}

#define KERNEL(threads, name, parameters)                                                                              \
    static void name parameters;                                                                                       \
    extern "C" const char *emulated_##name(const EmulatedLaunch *launch) { return emulated_run(name, threads, *launch); } \
    static void name parameters
#define KERNEL_BY_TWOS KERNEL
