//! Launchers, one module an operation. Stand-ins until they land.

use anylora_engine::{
    AdamW, Attention, AttentionBackward, AttentionDecode, Error, Linear, LinearBackward, LoraDown, LoraGrad,
    Result, Tensor,
};

use crate::Wgpu;

macro_rules! pending {
    ($($module:ident { $($name:ident($($argument:ty),*);)* })*) => {$(
        pub(crate) mod $module {
            use super::*;
            $(pub(crate) fn $name(_gpu: &Wgpu, $(_: $argument),*) -> Result<()> {
                let engine = "engine-wgpu".to_owned();
                Err(Error::Unsupported { op: stringify!($name), what: "the kernel".to_owned(), engine })
            })*
        }
    )*};
}
type T<'a> = &'a Tensor<Wgpu>;
pending! {
    embedding { embedding(T, T, T); }
    rms_norm { rms_norm(T, T, f32, T); rms_norm_backward(T, T, f32, T, T); }
    linear { linear(Linear<'_, Wgpu>); linear_backward(LinearBackward<'_, Wgpu>); }
    lora { lora_down(LoraDown<'_, Wgpu>); lora_grad(LoraGrad<'_, Wgpu>); }
    rope { rope(T, T, T, bool, T); }
    attention { attention(Attention<'_, Wgpu>); attention_backward(AttentionBackward<'_, Wgpu>); }
    swiglu { swiglu(T, T, T); swiglu_backward(T, T, T, T, T); }
    cross_entropy { cross_entropy(T, T, Option<f32>, T, usize); }
    adamw { adamw(AdamW<'_, Wgpu>); }
    reduce { reduce(T, bool, usize, T, usize); }
    elementwise { add(T, T, T); scale(T, f32); fill(T, f32); cast(T, T); copy(T, T); }
    attention_decode { attention_decode(AttentionDecode<'_, Wgpu>); }
    cache_append { cache_append(T, T, T); }
}
