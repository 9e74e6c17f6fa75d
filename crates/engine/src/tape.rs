//! A block's forward operations, recorded so that they run backward. Gradients of trained matrices are added to
//! buffers that the caller owns; frozen weights have none.

use crate::ops::{self, AttentionInput, LoraMatrices};
use crate::{Backend, Dropout, Error, Mask, Result, Tensor, Weight};

/// A trained adapter on one linear layer.
pub struct Lora<B: Backend> {
    /// `[r, K]` f32.
    pub a: Tensor<B>,
    /// `[N, r]` f32.
    pub b: Tensor<B>,
    /// A's gradient is added to this, `[r, K]` f32.
    pub grad_a: Tensor<B>,
    /// B's gradient is added to this, `[N, r]` f32.
    pub grad_b: Tensor<B>,
    /// `lora_alpha / r`, or `lora_alpha / sqrt(r)` for rsLoRA.
    pub scale: f32,
    /// On the branch's input.
    pub dropout: Option<Dropout>,
}

impl<B: Backend> Clone for Lora<B> {
    fn clone(&self) -> Self {
        Self {
            a: self.a.clone(),
            b: self.b.clone(),
            grad_a: self.grad_a.clone(),
            grad_b: self.grad_b.clone(),
            scale: self.scale,
            dropout: self.dropout,
        }
    }
}

impl<B: Backend> Lora<B> {
    fn matrices(&self) -> LoraMatrices<'_, B> {
        LoraMatrices {
            a: &self.a,
            b: &self.b,
            scale: self.scale,
            dropout: self.dropout,
        }
    }
}

/// A value on a [`Tape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Var(usize);

/// How a value was made, with what its backward needs beside its inputs' values.
enum Op<B: Backend> {
    Leaf,
    RmsNorm {
        x: Var,
        weight: Tensor<B>,
        eps: f32,
    },
    Linear {
        x: Var,
        weight: Weight<B>,
    },
    LoraLinear {
        x: Var,
        weight: Weight<B>,
        lora: Box<Lora<B>>,
        xa: Tensor<B>,
    },
    Rope {
        x: Var,
        positions: Tensor<B>,
        table: Tensor<B>,
    },
    Attention {
        qkv: [Var; 3],
        segments: Option<Tensor<B>>,
        mask: Mask,
        scale: f32,
        lse: Tensor<B>,
    },
    Swiglu {
        gate: Var,
        up: Var,
    },
    Add {
        a: Var,
        b: Var,
    },
    Reshape {
        x: Var,
    },
}

struct Node<B: Backend> {
    value: Tensor<B>,
    op: Op<B>,
    needs_grad: bool,
}

/// Operations in the order in which they ran.
pub struct Tape<B: Backend> {
    nodes: Vec<Node<B>>,
}

impl<B: Backend> Default for Tape<B> {
    fn default() -> Self {
        Self { nodes: Vec::new() }
    }
}

impl<B: Backend> Tape<B> {
    /// An input. Where it needs no gradient (the embedding's output), backward skips what only it would need.
    pub fn leaf(&mut self, value: Tensor<B>, needs_grad: bool) -> Var {
        self.push(value, Op::Leaf, needs_grad)
    }

    /// A value computed so far.
    pub fn value(&self, var: Var) -> &Tensor<B> {
        &self.nodes[var.0].value
    }

    /// See [`ops::rms_norm`].
    ///
    /// # Errors
    /// See [`ops`]; so in every method below.
    pub fn rms_norm(&mut self, x: Var, weight: &Tensor<B>, eps: f32) -> Result<Var> {
        let value = ops::rms_norm(self.value(x), weight, eps)?;
        Ok(self.push(
            value,
            Op::RmsNorm {
                x,
                weight: weight.clone(),
                eps,
            },
            self.needs(x),
        ))
    }

    /// See [`ops::linear`].
    ///
    /// # Errors
    /// See [`ops`].
    pub fn linear(&mut self, x: Var, weight: &Weight<B>, bias: Option<&Tensor<B>>) -> Result<Var> {
        let value = ops::linear(self.value(x), weight, bias)?;
        Ok(self.push(
            value,
            Op::Linear {
                x,
                weight: weight.clone(),
            },
            self.needs(x),
        ))
    }

    /// See [`ops::lora_linear`].
    ///
    /// # Errors
    /// See [`ops`].
    pub fn lora_linear(
        &mut self,
        x: Var,
        weight: &Weight<B>,
        bias: Option<&Tensor<B>>,
        lora: &Lora<B>,
    ) -> Result<Var> {
        let (value, xa) = ops::lora_linear(self.value(x), weight, bias, &lora.matrices())?;
        Ok(self.push(
            value,
            Op::LoraLinear {
                x,
                weight: weight.clone(),
                lora: Box::new(lora.clone()),
                xa,
            },
            true,
        ))
    }

    /// See [`ops::rope`].
    ///
    /// # Errors
    /// See [`ops`].
    pub fn rope(&mut self, x: Var, positions: &Tensor<B>, table: &Tensor<B>) -> Result<Var> {
        let value = ops::rope(self.value(x), positions, table, false)?;
        let op = Op::Rope {
            x,
            positions: positions.clone(),
            table: table.clone(),
        };
        Ok(self.push(value, op, self.needs(x)))
    }

    /// See [`ops::attention`].
    ///
    /// # Errors
    /// See [`ops`].
    pub fn attention(
        &mut self,
        [q, k, v]: [Var; 3],
        segments: Option<&Tensor<B>>,
        mask: Mask,
        scale: f32,
    ) -> Result<Var> {
        let (q_value, k_value, v_value) = (self.value(q), self.value(k), self.value(v));
        let input = AttentionInput {
            q: q_value,
            k: k_value,
            v: v_value,
            segments,
            mask,
            scale,
        };
        let (value, lse) = ops::attention(&input)?;
        let needs = self.needs(q) || self.needs(k) || self.needs(v);
        let op = Op::Attention {
            qkv: [q, k, v],
            segments: segments.cloned(),
            mask,
            scale,
            lse,
        };
        Ok(self.push(value, op, needs))
    }

    /// See [`ops::swiglu`].
    ///
    /// # Errors
    /// See [`ops`].
    pub fn swiglu(&mut self, gate: Var, up: Var) -> Result<Var> {
        let value = ops::swiglu(self.value(gate), self.value(up))?;
        Ok(self.push(value, Op::Swiglu { gate, up }, self.needs(gate) || self.needs(up)))
    }

    /// See [`ops::add`].
    ///
    /// # Errors
    /// See [`ops`].
    pub fn add(&mut self, a: Var, b: Var) -> Result<Var> {
        let value = ops::add(self.value(a), self.value(b))?;
        Ok(self.push(value, Op::Add { a, b }, self.needs(a) || self.needs(b)))
    }

    /// See [`Tensor::reshape`].
    ///
    /// # Errors
    /// See [`Tensor::reshape`].
    pub fn reshape(&mut self, x: Var, shape: &[usize]) -> Result<Var> {
        let value = self.value(x).reshape(shape)?;
        Ok(self.push(value, Op::Reshape { x }, self.needs(x)))
    }

    /// Runs the tape backward from `output`, whose gradient is `grad`: adds the adapters' gradients to their
    /// buffers and returns the gradient of `input`, or None where it needs none. What a step no longer needs is
    /// freed as it goes.
    ///
    /// # Errors
    /// See [`ops`]. On an error everything that the tape held is freed; the adapters' gradients are then partial.
    pub fn backward(mut self, output: Var, grad: Tensor<B>, input: Var) -> Result<Option<Tensor<B>>> {
        grad.expect_shape("backward", "grad", self.value(output).shape())?;
        let mut grads: Vec<Option<Tensor<B>>> = self.nodes.iter().map(|_| None).collect();
        grads[output.0] = Some(grad);
        while let Some(node) = self.nodes.pop() {
            let index = self.nodes.len();
            if index == input.0 {
                return Ok(grads[index].take().filter(|_| node.needs_grad));
            }
            if let Some(grad) = grads[index].take().filter(|_| node.needs_grad) {
                self.backward_node(node, grad, &mut grads)?;
            }
        }
        Err(Error::Argument {
            op: "backward",
            what: format!("{input:?} is not on this tape"),
        })
    }

    fn backward_node(&self, node: Node<B>, dy: Tensor<B>, grads: &mut [Option<Tensor<B>>]) -> Result<()> {
        let mut give = |var: Var, grad: Tensor<B>| self.accumulate(grads, var, grad);
        match node.op {
            Op::Leaf => Ok(()),
            Op::RmsNorm { x, weight, eps } => {
                give(x, ops::rms_norm_backward(self.value(x), &weight, eps, &dy)?)
            }
            Op::Linear { x, weight } => give(x, ops::linear_backward(&dy, &weight)?),
            Op::LoraLinear { x, weight, lora, xa } => {
                let (x_value, needs) = (self.value(x), self.needs(x));
                let (matrices, grad_a, grad_b) = (lora.matrices(), &lora.grad_a, &lora.grad_b);
                let dx =
                    ops::lora_linear_backward(x_value, &weight, &matrices, &xa, &dy, grad_a, grad_b, needs)?;
                dx.map_or(Ok(()), |dx| give(x, dx))
            }
            Op::Rope { x, positions, table } => give(x, ops::rope(&dy, &positions, &table, true)?),
            Op::Attention {
                qkv: [q, k, v],
                segments,
                mask,
                scale,
                lse,
            } => {
                let (q_value, k_value, v_value) = (self.value(q), self.value(k), self.value(v));
                let segments = segments.as_ref();
                let input = AttentionInput {
                    q: q_value,
                    k: k_value,
                    v: v_value,
                    segments,
                    mask,
                    scale,
                };
                let [dq, dk, dv] = ops::attention_backward(&input, &node.value, &lse, &dy)?;
                give(q, dq)?;
                give(k, dk)?;
                give(v, dv)
            }
            Op::Swiglu { gate, up } => {
                let [dgate, dup] = ops::swiglu_backward(self.value(gate), self.value(up), &dy)?;
                give(gate, dgate)?;
                give(up, dup)
            }
            Op::Add { a, b } => {
                give(a, dy.clone())?;
                give(b, dy)
            }
            Op::Reshape { x } => give(x, dy.reshape(self.value(x).shape())?),
        }
    }

    fn accumulate(&self, grads: &mut [Option<Tensor<B>>], var: Var, grad: Tensor<B>) -> Result<()> {
        if !self.needs(var) {
            return Ok(());
        }
        let slot = &mut grads[var.0];
        *slot = Some(match slot.take() {
            None => grad,
            Some(sum) if sum.is_unique() => {
                ops::add_assign(&sum, &grad)?;
                sum
            }
            Some(sum) if grad.is_unique() => {
                ops::add_assign(&grad, &sum)?;
                grad
            }
            Some(sum) => ops::add(&sum, &grad)?,
        });
        Ok(())
    }

    fn needs(&self, var: Var) -> bool {
        self.nodes[var.0].needs_grad
    }

    fn push(&mut self, value: Tensor<B>, op: Op<B>, needs_grad: bool) -> Var {
        self.nodes.push(Node {
            value,
            op,
            needs_grad,
        });
        Var(self.nodes.len() - 1)
    }
}
