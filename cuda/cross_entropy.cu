// Softmax cross-entropy, a block a row, over a chunk of the head's logits:
//   stats[0, m] = lse(logits[m]) - logits[m, label],  stats[1, m] = 1, or zeros where the label is -100
// and with `gradient` logits become (softmax(logits) - onehot(label)) grad_scale, or zeros. A label outside 0..V gives
// NaN.
#include "shared/reduce.cuh"

KERNEL(256, cross_entropy, (f32 *logits, // [M, V]
                            const i32 *labels, // [M]
                            f32 *stats, // [2, S], written from `column` on
                            u32 vocab, u32 stats_columns, u32 column, u32 gradient, f32 grad_scale)) {
    f32 *row = logits + (u64)block_index() * vocab;
    i32 label = labels[block_index()];
    u32 place = column + block_index();
    if (label == -100) {
        if (gradient) {
            for (u32 i = thread_index(); i < vocab; i += 256) row[i] = 0.0f;
        }
        if (thread_index() == 0) stats[place] = stats[stats_columns + place] = 0.0f;
        return;
    }
    // A maximum and a sum relative to it run along.
    f32 most = -3.0e38f;
    f32 sum = 0.0f;
    for (u32 i = thread_index(); i < vocab; i += 256) {
        f32 next = fmaxf(most, row[i]);
        sum = sum * expf(most - next) + expf(row[i] - next);
        most = next;
    }
    f32 row_most = block_max<256>(most);
    f32 row_sum = block_sum<256>(sum * expf(most - row_most));
    f32 lse = row_most + logf(row_sum);

    bool inside = label >= 0 && (u32)label < vocab;
    if (thread_index() == 0) {
        stats[place] = inside ? lse - row[label] : not_a_number();
        stats[stats_columns + place] = 1.0f;
    }
    if (!gradient) return;
    block_barrier(); // the label's logit was read
    f32 factor = inside ? grad_scale : not_a_number();
    for (u32 i = thread_index(); i < vocab; i += 256) {
        f32 value = expf(row[i] - lse) * factor;
        row[i] = inside && i == (u32)label ? value - factor : value;
    }
}
