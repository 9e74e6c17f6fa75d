// A stand-in for NVIDIA's driver library, with the functions that the engine calls and the host's memory in the place of
// a GPU's. It runs no kernel, and refuses what a driver refuses: calls without a context on the thread, addresses and
// handles that are not alive, more shared memory than was asked for. Work is queued, and done when somebody waits.
//
// STAND_IN_* in the environment say what kind of driver it is. When the last context is released, a line on stderr says
// what was not given back.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
       INVALID_IMAGE = 200, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread void *current;
static int started, retained;
static char context_handle, stream_handle, pool_handle;
enum { STREAMS, POOLS, EVENTS, PINNED, MODULES, ALLOCATIONS, KINDS };
static const char *names[KINDS] = {"streams", "pools", "events", "pinned", "modules", "allocations"};
static int alive[KINDS];
static size_t used, peak;

static long setting(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

// How many GPUs CUDA_VISIBLE_DEVICES leaves: those it names, up to the first number that there is none of.
static int count_gpus(void) {
    int count = setting("STAND_IN_COUNT", 1), shown = 0;
    const char *text = getenv("CUDA_VISIBLE_DEVICES");
    if (!text) return count;
    for (char *end; *text; text = end + (*end == ',')) {
        long index = strtol(text, &end, 10);
        if (end == text || index < 0 || index >= count) break;
        shown++;
    }
    return shown;
}

static struct Allocation {
    char *at;
    size_t bytes;
} allocations[4096];

static struct Allocation *find(uint64_t address, size_t bytes) {
    for (int i = 0; i < 4096; i++) {
        struct Allocation *one = &allocations[i];
        uint64_t begin = (uint64_t)(uintptr_t)one->at;
        if (one->at && address >= begin && address + bytes <= begin + one->bytes) return one;
    }
    return NULL;
}

// Queued copies, fills and frees.
static struct Work {
    enum { COPY, FILL, FREE } kind;
    char *to;
    const char *from;
    size_t bytes;
    int value;
} queue[65536];
static int queued;

static void work_off(void) {
    for (int i = 0; i < queued; i++) {
        struct Work *work = &queue[i];
        if (work->kind == COPY) memcpy(work->to, work->from, work->bytes);
        if (work->kind == FILL) memset(work->to, work->value, work->bytes);
        if (work->kind == FREE) free(work->to);
    }
    queued = 0;
}
static Result add(struct Work work) {
    if (queued == 65536) work_off();
    queue[queued++] = work;
    return 0;
}

#define ENTER                                                                                                          \
    if (!started) return NOT_INITIALIZED;                                                                              \
    if (!current || !retained) return INVALID_CONTEXT;                                                                 \
    Guard guard __attribute__((cleanup(leave))) = pthread_mutex_lock(&lock);                                           \
    (void)guard;
typedef int Guard;
static void leave(Guard *guard) {
    (void)guard;
    pthread_mutex_unlock(&lock);
}

Result cuDriverGetVersion(int *version) {
    *version = setting("STAND_IN_VERSION", 12040);
    return setting("STAND_IN_VERSION_CODE", 0);
}
Result cuInit(unsigned flags) {
    (void)flags;
    Result code = setting("STAND_IN_INIT", getenv("CUDA_VISIBLE_DEVICES") && !count_gpus() ? NO_DEVICE : 0);
    started = code == 0;
    return code;
}
Result cuGetErrorName(Result code, const char **text) {
    static __thread char name[32];
    snprintf(name, sizeof(name), "CODE_%d", code);
    *text = name;
    return 0;
}
Result cuGetErrorString(Result code, const char **text) {
    (void)code;
    *text = "as the stand-in says";
    return 0;
}
Result cuDeviceGetCount(int *count) {
    if (!started) return NOT_INITIALIZED;
    *count = count_gpus();
    return 0;
}
Result cuDeviceGet(int *device, int index) {
    *device = index;
    return index < count_gpus() ? 0 : INVALID_DEVICE;
}
Result cuDeviceGetName(char *name, int bytes, int device) {
    snprintf(name, bytes, "Stand-in %d", device);
    return 0;
}
Result cuDeviceTotalMem_v2(size_t *bytes, int device) {
    (void)device;
    *bytes = setting("STAND_IN_MEMORY", 1 << 30);
    return 0;
}
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = 0;
    // The first of two GPUs is an old one.
    if (attribute == 75) *value = device == 0 && setting("STAND_IN_COUNT", 1) > 1 ? 7 : setting("STAND_IN_MAJOR", 8);
    if (attribute == 88) *value = setting("STAND_IN_READS_HOST", 0);
    return 0;
}
Result cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    *context = &context_handle;
    retained++;
    return 0;
}
Result cuDevicePrimaryCtxRelease_v2(int device) {
    (void)device;
    if (--retained > 0) return 0;
    for (int i = 0; i < KINDS; i++) {
        if (alive[i]) fprintf(stderr, "stand-in: not given back: %d %s\n", alive[i], names[i]);
    }
    return 0;
}
Result cuCtxSetCurrent(void *context) {
    current = context;
    return 0;
}

Result cuStreamCreate(void **stream, unsigned flags) {
    ENTER
    if (flags != 1) return INVALID_VALUE; // it must not wait for the null stream
    *stream = &stream_handle;
    alive[STREAMS]++;
    return 0;
}
Result cuStreamSynchronize(void *stream) {
    ENTER
    if (stream != &stream_handle) return INVALID_HANDLE;
    work_off();
    return 0;
}
Result cuStreamDestroy_v2(void *stream) {
    ENTER
    if (stream != &stream_handle) return INVALID_HANDLE;
    work_off();
    alive[STREAMS]--;
    return 0;
}
Result cuEventCreate(void **event, unsigned flags) {
    (void)flags;
    ENTER
    if (setting("STAND_IN_EVENT", 0)) return setting("STAND_IN_EVENT", 0);
    *event = malloc(1);
    alive[EVENTS]++;
    return 0;
}
Result cuEventRecord(void *event, void *stream) {
    ENTER
    return event && stream == &stream_handle ? 0 : INVALID_HANDLE;
}
Result cuEventSynchronize(void *event) {
    ENTER
    if (!event) return INVALID_HANDLE;
    work_off();
    return setting("STAND_IN_WAIT", 0);
}
Result cuEventDestroy_v2(void *event) {
    ENTER
    free(event);
    alive[EVENTS]--;
    return 0;
}

Result cuMemPoolCreate(void **pool, const void *properties) {
    (void)properties;
    ENTER
    *pool = &pool_handle;
    Result code = setting("STAND_IN_POOL", 0);
    alive[POOLS] += code == 0;
    return code;
}
Result cuMemPoolDestroy(void *pool) {
    ENTER
    if (pool != &pool_handle) return INVALID_HANDLE;
    alive[POOLS]--;
    return 0;
}
Result cuMemPoolSetAttribute(void *pool, int attribute, void *value) {
    ENTER
    if (pool != &pool_handle) return INVALID_HANDLE;
    if (attribute == 8 && *(uint64_t *)value == 0) peak = used; // CU_MEMPOOL_ATTR_USED_MEM_HIGH
    return 0;
}
Result cuMemPoolGetAttribute(void *pool, int attribute, void *value) {
    ENTER
    if (pool != &pool_handle || attribute != 8) return INVALID_VALUE;
    *(uint64_t *)value = peak;
    return 0;
}
static int trimmed;
Result cuMemPoolTrimTo(void *pool, size_t bytes) {
    ENTER
    if (pool != &pool_handle || bytes) return INVALID_VALUE;
    trimmed = 1;
    return 0;
}
Result cuMemAllocFromPoolAsync(uint64_t *address, size_t bytes, void *pool, void *stream) {
    ENTER
    if (!bytes || pool != &pool_handle || stream != &stream_handle) return INVALID_VALUE;
    if (used + bytes > (size_t)setting("STAND_IN_MEMORY", 1 << 30)) return OUT_OF_MEMORY;
    // What is in pieces: a large allocation fits after the pool was trimmed only.
    if (setting("STAND_IN_PIECES", 0) && bytes >= 1 << 20 && !trimmed) return OUT_OF_MEMORY;
    for (int i = 0; i < 4096; i++) {
        if (allocations[i].at) continue;
        allocations[i] = (struct Allocation){aligned_alloc(256, (bytes + 255) / 256 * 256), bytes};
        *address = (uint64_t)(uintptr_t)allocations[i].at;
        alive[ALLOCATIONS]++;
        used += bytes;
        if (used > peak) peak = used;
        return 0;
    }
    return OUT_OF_MEMORY;
}
Result cuMemFreeAsync(uint64_t address, void *stream) {
    ENTER
    struct Allocation *one = find(address, 0);
    if (!one || (uint64_t)(uintptr_t)one->at != address || stream != &stream_handle) return INVALID_VALUE;
    add((struct Work){FREE, one->at, NULL, 0, 0});
    used -= one->bytes;
    one->at = NULL;
    alive[ALLOCATIONS]--;
    return 0;
}
Result cuMemHostAlloc(void **at, size_t bytes, unsigned flags) {
    ENTER
    if (!bytes || flags) return INVALID_VALUE;
    *at = malloc(bytes);
    alive[PINNED]++;
    return 0;
}
Result cuMemFreeHost(void *at) {
    ENTER
    for (int i = 0; i < queued; i++) {
        if (queue[i].to == at || queue[i].from == at) fprintf(stderr, "stand-in: freed before it was copied\n");
    }
    free(at);
    alive[PINNED]--;
    return 0;
}
Result cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream) {
    ENTER
    if (!find(to, bytes) || stream != &stream_handle) return ILLEGAL_ADDRESS;
    return add((struct Work){FILL, (char *)(uintptr_t)to, NULL, bytes, value});
}
Result cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    ENTER
    if (!find(to, bytes) || stream != &stream_handle) return ILLEGAL_ADDRESS;
    add((struct Work){COPY, (char *)(uintptr_t)to, from, bytes, 0});
    // A GPU that reads the host's pages does so when it comes to it.
    if (!setting("STAND_IN_READS_HOST", 0)) work_off();
    return 0;
}
Result cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream) {
    ENTER
    if (!find(from, bytes) || stream != &stream_handle) return ILLEGAL_ADDRESS;
    return add((struct Work){COPY, to, (const char *)(uintptr_t)from, bytes, 0});
}
Result cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
    ENTER
    if (!find(from, bytes) || !find(to, bytes) || stream != &stream_handle) return ILLEGAL_ADDRESS;
    return add((struct Work){COPY, (char *)(uintptr_t)to, (const char *)(uintptr_t)from, bytes, 0});
}

static struct Function {
    char name[64];
    int shared_bytes;
} functions[256];

Result cuModuleLoadData(void **module, const void *image) {
    ENTER
    // The stand-in for NVRTC begins an image with its version.
    if (atol(image) > setting("STAND_IN_READS", 12)) return INVALID_IMAGE;
    *module = malloc(1);
    alive[MODULES]++;
    return 0;
}
Result cuModuleUnload(void *module) {
    ENTER
    free(module);
    alive[MODULES]--;
    return 0;
}
Result cuModuleGetFunction(void **function, void *module, const char *name) {
    ENTER
    if (!module) return INVALID_HANDLE;
    for (int i = 0; i < 256; i++) {
        if (functions[i].name[0]) continue;
        snprintf(functions[i].name, sizeof(functions[i].name), "%s", name);
        functions[i].shared_bytes = 48 << 10;
        *function = &functions[i];
        return 0;
    }
    return NOT_FOUND;
}
Result cuFuncSetAttribute(void *function, int attribute, int value) {
    ENTER
    if (attribute != 8 || value > 99 << 10) return INVALID_VALUE; // what the smallest GPU has
    ((struct Function *)function)->shared_bytes = value;
    return 0;
}
Result cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y,
                      unsigned threads_z, unsigned shared_bytes, void *stream, void **arguments, void **extra) {
    ENTER
    struct Function *of = function;
    if (!x || x >= 1u << 31 || y != 1 || z != 1 || !threads || threads > 1024 || threads_y != 1 || threads_z != 1) {
        return INVALID_VALUE;
    }
    if (stream != &stream_handle || !arguments || extra || (int)shared_bytes > of->shared_bytes) return INVALID_VALUE;
    return setting("STAND_IN_LAUNCH", 0);
}
