//! From tensors on the device to a model.

use anylora_engine::{Backend, Tensor, Weight};
use anylora_nn::{Attention, Block, FrozenLinear, Mlp, Projection, Resident, RmsNorm};

use crate::load::Loaded;
use crate::model::rope;
use crate::{Loader, Model, ModelError, Result, TensorProblem, layout};

impl<B: Backend> Loader<B> {
    /// The model, once all its tensors are there.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] with every tensor that is missing.
    pub fn finish(mut self) -> Result<Model<B>> {
        let mut missing = self.missing(|name| self.loaded.contains_key(name));
        if !missing.is_empty() {
            missing.sort_by(|a, b| a.name.cmp(&b.name));
            return Err(ModelError::Tensors(missing));
        }
        let blocks = (0..self.config.num_hidden_layers)
            .map(|layer| self.block(layer))
            .collect::<Result<Vec<_>>>()?;
        let embed_tokens = self.take_weight("model.embed_tokens.weight")?;
        let lm_head = if self.config.tie_word_embeddings {
            embed_tokens.clone()
        } else {
            self.take_weight("lm_head.weight")?
        };
        Ok(Model {
            embed_tokens,
            blocks: Box::new(Resident::new(blocks)),
            norm: self.norm("model.norm")?,
            lm_head,
            rope: rope(&self.config),
            activation: self.options.activation,
            config: self.config,
        })
    }

    fn block(&mut self, layer: usize) -> Result<Block<B>> {
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        let qk_norm = self.architecture.qk_norm;
        let mut head_norm = |name: &str| qk_norm.then(|| self.norm(&at(name))).transpose();
        let (q_norm, k_norm) = (head_norm("self_attn.q_norm")?, head_norm("self_attn.k_norm")?);
        Ok(Block {
            input_layernorm: self.norm(&at("input_layernorm"))?,
            self_attn: Attention {
                q_proj: self.linear(Projection::Q, layer)?,
                k_proj: self.linear(Projection::K, layer)?,
                v_proj: self.linear(Projection::V, layer)?,
                o_proj: self.linear(Projection::O, layer)?,
                q_norm,
                k_norm,
                num_heads: self.config.num_attention_heads,
                num_kv_heads: self.config.num_key_value_heads,
                head_dim: self.config.head_dim,
                window: self.config.sliding_windows.get(layer).copied().flatten(),
            },
            post_attention_layernorm: self.norm(&at("post_attention_layernorm"))?,
            mlp: Mlp {
                gate_proj: self.linear(Projection::Gate, layer)?,
                up_proj: self.linear(Projection::Up, layer)?,
                down_proj: self.linear(Projection::Down, layer)?,
            },
        })
    }

    fn linear(&mut self, projection: Projection, layer: usize) -> Result<FrozenLinear<B>> {
        let module = projection.module(layer);
        let weight = self.take_weight(&format!("{module}.weight"))?;
        let bias = layout::has_bias(self.architecture, projection)
            .then(|| self.take_tensor(&format!("{module}.bias")))
            .transpose()?;
        Ok(FrozenLinear::new(weight, bias))
    }

    fn norm(&mut self, module: &str) -> Result<RmsNorm<B>> {
        Ok(RmsNorm {
            weight: self.take_tensor(&format!("{module}.weight"))?,
            eps: self.config.rms_norm_eps as f32,
        })
    }

    fn take_tensor(&mut self, name: &str) -> Result<Tensor<B>> {
        match self.loaded.remove(name) {
            Some(Loaded::Tensor(tensor)) => Ok(tensor),
            _ => Err(absent(name)),
        }
    }

    fn take_weight(&mut self, name: &str) -> Result<Weight<B>> {
        match self.loaded.remove(name) {
            Some(Loaded::Weight(weight)) => Ok(weight),
            _ => Err(absent(name)),
        }
    }
}

fn absent(name: &str) -> ModelError {
    ModelError::Tensors(vec![TensorProblem {
        name: name.to_owned(),
        expected: "a tensor".to_owned(),
        found: "no such tensor".to_owned(),
    }])
}
