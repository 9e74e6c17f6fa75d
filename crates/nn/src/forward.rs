//! The operations that layers are made of, recorded or not.

use anylora_engine::ops::{self, AttentionInput};
use anylora_engine::{Backend, Error, Mask, Result, Tape, Tensor, Var, Weight};

use crate::LoraAdapter;

/// Runs a layer's operations: a [`Tape`] records them, [`Eager`] only computes. `M = batch * time`.
///
/// Values that an operation consumes are passed by value, so that eager execution frees or reuses their memory.
/// Formulas, shapes and errors are those of [`anylora_engine::ops`].
pub trait Forward<B: Backend> {
    /// A value that operations take and give.
    type Value: Clone;

    /// The memory behind a value.
    fn tensor<'a>(&'a self, value: &'a Self::Value) -> &'a Tensor<B>;

    /// See [`ops::rms_norm`].
    ///
    /// # Errors
    /// See [`ops`]; so in every method below.
    fn rms_norm(&mut self, x: &Self::Value, weight: &Tensor<B>, eps: f32) -> Result<Self::Value>;

    /// See [`ops::linear`], and [`ops::lora_linear`] where there is an adapter.
    ///
    /// # Errors
    /// See [`ops`]; [`Error::Argument`] where operations are recorded and the adapter has no gradient buffers.
    fn linear(
        &mut self,
        x: &Self::Value,
        weight: &Weight<B>,
        bias: Option<&Tensor<B>>,
        lora: Option<&LoraAdapter<B>>,
    ) -> Result<Self::Value>;

    /// See [`ops::rope`].
    ///
    /// # Errors
    /// See [`ops`].
    fn rope(&mut self, x: Self::Value, positions: &Tensor<B>, table: &Tensor<B>) -> Result<Self::Value>;

    /// See [`ops::attention`].
    ///
    /// # Errors
    /// See [`ops`].
    fn attention(
        &mut self,
        qkv: [Self::Value; 3],
        segments: Option<&Tensor<B>>,
        mask: Mask,
        scale: f32,
    ) -> Result<Self::Value>;

    /// See [`ops::swiglu`].
    ///
    /// # Errors
    /// See [`ops`].
    fn swiglu(&mut self, gate: Self::Value, up: Self::Value) -> Result<Self::Value>;

    /// See [`ops::add`].
    ///
    /// # Errors
    /// See [`ops`].
    fn add(&mut self, a: Self::Value, b: Self::Value) -> Result<Self::Value>;

    /// See [`Tensor::reshape`].
    ///
    /// # Errors
    /// See [`Tensor::reshape`].
    fn reshape(&mut self, x: Self::Value, shape: &[usize]) -> Result<Self::Value>;
}

/// Computes and keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Eager;

impl<B: Backend> Forward<B> for Eager {
    type Value = Tensor<B>;

    fn tensor<'a>(&'a self, value: &'a Tensor<B>) -> &'a Tensor<B> {
        value
    }

    fn rms_norm(&mut self, x: &Tensor<B>, weight: &Tensor<B>, eps: f32) -> Result<Tensor<B>> {
        ops::rms_norm(x, weight, eps)
    }

    fn linear(
        &mut self,
        x: &Tensor<B>,
        weight: &Weight<B>,
        bias: Option<&Tensor<B>>,
        lora: Option<&LoraAdapter<B>>,
    ) -> Result<Tensor<B>> {
        match lora {
            None => ops::linear(x, weight, bias),
            Some(lora) => Ok(ops::lora_linear(x, weight, bias, &lora.matrices())?.0),
        }
    }

    fn rope(&mut self, x: Tensor<B>, positions: &Tensor<B>, table: &Tensor<B>) -> Result<Tensor<B>> {
        ops::rope(&x, positions, table, false)
    }

    fn attention(
        &mut self,
        [q, k, v]: [Tensor<B>; 3],
        segments: Option<&Tensor<B>>,
        mask: Mask,
        scale: f32,
    ) -> Result<Tensor<B>> {
        let (out, _) = ops::attention(&AttentionInput {
            q: &q,
            k: &k,
            v: &v,
            segments,
            mask,
            scale,
        })?;
        Ok(out)
    }

    fn swiglu(&mut self, gate: Tensor<B>, up: Tensor<B>) -> Result<Tensor<B>> {
        ops::swiglu(&gate, &up)
    }

    fn add(&mut self, a: Tensor<B>, b: Tensor<B>) -> Result<Tensor<B>> {
        if b.is_unique() {
            ops::add_assign(&b, &a)?;
            return Ok(b);
        }
        ops::add(&a, &b)
    }

    fn reshape(&mut self, x: Tensor<B>, shape: &[usize]) -> Result<Tensor<B>> {
        x.reshape(shape)
    }
}

impl<B: Backend> Forward<B> for Tape<B> {
    type Value = Var;

    fn tensor<'a>(&'a self, value: &'a Var) -> &'a Tensor<B> {
        self.value(*value)
    }

    fn rms_norm(&mut self, x: &Var, weight: &Tensor<B>, eps: f32) -> Result<Var> {
        Tape::rms_norm(self, *x, weight, eps)
    }

    fn linear(
        &mut self,
        x: &Var,
        weight: &Weight<B>,
        bias: Option<&Tensor<B>>,
        lora: Option<&LoraAdapter<B>>,
    ) -> Result<Var> {
        let Some(lora) = lora else {
            return Tape::linear(self, *x, weight, bias);
        };
        let trained = lora.trained().ok_or_else(|| Error::Argument {
            op: "lora_linear",
            what: "the adapter was loaded for inference and has no gradient buffers".to_owned(),
        })?;
        self.lora_linear(*x, weight, bias, &trained)
    }

    fn rope(&mut self, x: Var, positions: &Tensor<B>, table: &Tensor<B>) -> Result<Var> {
        Tape::rope(self, x, positions, table)
    }

    fn attention(
        &mut self,
        qkv: [Var; 3],
        segments: Option<&Tensor<B>>,
        mask: Mask,
        scale: f32,
    ) -> Result<Var> {
        Tape::attention(self, qkv, segments, mask, scale)
    }

    fn swiglu(&mut self, gate: Var, up: Var) -> Result<Var> {
        Tape::swiglu(self, gate, up)
    }

    fn add(&mut self, a: Var, b: Var) -> Result<Var> {
        Tape::add(self, a, b)
    }

    fn reshape(&mut self, x: Var, shape: &[usize]) -> Result<Var> {
        Tape::reshape(self, x, shape)
    }
}
