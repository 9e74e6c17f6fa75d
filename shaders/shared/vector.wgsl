// WIDTH elements of an activation next to each other in a row: in memory, and as kernels compute with them. WIDTH 4 is
// for rows whose length is a multiple of 4.
#if WIDTH == 4
alias Stored = vec4<#{ACT}>;
alias Value = vec4<f32>;
#else
alias Stored = #{ACT};
alias Value = f32;
#endif
