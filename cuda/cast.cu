// out = x in another type, rounded to nearest even: from FROM to TO.
#include "shared/types.cuh"

KERNEL(256, cast, (const FROM *x, TO *out, u64 length)) {
    u64 i = (u64)block_index() * 256 + thread_index();
    if (i < length) put(out + i, value_of(x[i]));
}
