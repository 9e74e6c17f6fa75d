// What every kernel is written with. Element types are named as in Rust; values are computed with in f32.
//
// Nothing here needs a header of the CUDA toolkit, so that NVRTC alone compiles it. Tests compile the same kernels for
// the host with EMULATED, where crates/engine-cuda/emulator/emulator.h takes the place of the device's instructions.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef float f32;
struct f16 {
    u16 bits;
};
struct bf16 {
    u16 bits;
};

#ifdef EMULATED
#include "emulator.h"
#else

// `KERNEL(threads, name, (parameters)) { body }`: a block has `threads` threads, a grid one dimension.
#define KERNEL(threads, name, parameters) extern "C" __global__ void __launch_bounds__(threads) name parameters
// The same with as few registers a thread as two blocks on a multiprocessor leave.
#define KERNEL_BY_TWOS(threads, name, parameters) extern "C" __global__ void __launch_bounds__(threads, 2) name parameters
// Memory that a block shares, of the size that the launch names.
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]

// For code that would be repeated too often.
#define NOINLINE __noinline__

__device__ inline u32 thread_index() { return threadIdx.x; }
__device__ inline u32 block_index() { return blockIdx.x; }
#define block_barrier() __syncthreads()
#define shuffle_xor(value, mask) __shfl_xor_sync(0xFFFFFFFFu, value, mask)

__device__ inline f32 f16_value(u16 bits) {
    f32 value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
__device__ inline u16 f16_bits(f32 value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
__device__ inline u16 bf16_bits(f32 value) {
    u16 bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
__device__ inline f32 bits_value(u32 bits) { return __uint_as_float(bits); }
__device__ inline u32 high_product(u32 a, u32 b) { return __umulhi(a, b); }
#endif

__device__ inline f32 value_of(f32 x) { return x; }
__device__ inline f32 value_of(f16 x) { return f16_value(x.bits); }
__device__ inline f32 value_of(bf16 x) { return bits_value((u32)x.bits << 16); }

// Rounds to nearest even.
__device__ inline void put(f32 *at, f32 value) { *at = value; }
__device__ inline void put(f16 *at, f32 value) { at->bits = f16_bits(value); }
__device__ inline void put(bf16 *at, f32 value) { at->bits = bf16_bits(value); }

__device__ inline f32 not_a_number() { return bits_value(0x7FC00000u); }
__device__ inline u32 lowest(u32 a, u32 b) { return a < b ? a : b; }
__device__ inline u32 highest(u32 a, u32 b) { return a > b ? a : b; }

// Eight elements next to each other in memory, on their own alignment.
template <class T> struct alignas(8 * sizeof(T) < 16 ? 8 * sizeof(T) : 16) Eight {
    T x[8];
};

// The first `count` of eight elements from `at` on; zeros after them. ALIGNED says that all eight are there or none,
// and that `at` is aligned.
template <class T> __device__ inline void load_eight(const T *at, u32 count, f32 (&values)[8]) {
#if ALIGNED
    Eight<T> eight = {};
    if (count > 0) eight = *(const Eight<T> *)at;
#pragma unroll
    for (u32 i = 0; i < 8; i++) values[i] = value_of(eight.x[i]);
#else
#pragma unroll
    for (u32 i = 0; i < 8; i++) values[i] = i < count ? value_of(at[i]) : 0.0f;
#endif
}
