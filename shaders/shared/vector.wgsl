// WIDTH elements of an activation: as they lie in memory, and as kernels compute with them.
#if WIDTH == 4
alias Stored = vec4<#{ACT}>;
alias Value = vec4<f32>;
#else
alias Stored = #{ACT};
alias Value = f32;
#endif
