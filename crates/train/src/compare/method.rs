//! What is compared: the same run with the base model held in another way.

use crate::{Method, Quant, TrainConfig};

impl Method {
    /// All of them, the one that the others are measured against first.
    pub const ALL: [Self; 3] = [Self::Lora, Self::Qlora, Self::QloraDq];

    /// Its name for people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Lora => "LoRA (16-bit)",
            Self::Qlora => "QLoRA (NF4)",
            Self::QloraDq => "QLoRA (NF4 + DQ)",
        }
    }

    /// `config` with the base model held in this way; nothing else changes.
    pub fn configure(self, config: &TrainConfig) -> TrainConfig {
        let (quant, double_quant) = match self {
            Self::Lora => (Quant::None, false),
            Self::Qlora => (Quant::Nf4, false),
            Self::QloraDq => (Quant::Nf4, true),
        };
        TrainConfig {
            quant,
            double_quant,
            ..config.clone()
        }
    }
}
