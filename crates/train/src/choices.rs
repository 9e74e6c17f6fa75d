//! The words that settings take.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A setting with named values, in TOML and as a flag.
macro_rules! choice {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $value_doc:literal])+ $value:ident = $text:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
        pub enum $name {
            $($(#[doc = $value_doc])+ #[serde(rename = $text)] #[cfg_attr(feature = "clap", value(name = $text))] $value,)+
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$value => $text,)+ })
            }
        }
    };
}

choice! {
    /// How the frozen linear layers are stored.
    Quant {
        /// 4 bits: QLoRA
        Nf4 = "nf4",
        /// As they are: LoRA
        None = "none",
    }
}

choice! {
    /// How the base model is held while its adapter is trained.
    Method {
        /// In 16 bits
        Lora = "lora",
        /// In 4 bits, NF4
        Qlora = "qlora",
        /// In 4 bits, NF4 with double quantization
        QloraDq = "qlora-dq",
    }
}

choice! {
    /// The type of dense base weights and, where the device has it, of activations.
    Dtype {
        /// Activations in f32, weights as stored
        F32 = "f32",
        /// Weights in f16; activations too where the device has f16
        F16 = "f16",
        /// Weights in bf16; activations too where the device has bf16 (CUDA)
        Bf16 = "bf16",
    }
}

choice! {
    /// How the learning rate goes after the warm-up.
    Schedule {
        /// Stays
        Constant = "constant",
        /// Falls to 0 in a line
        Linear = "linear",
        /// Falls to 0 along half a cosine
        Cosine = "cosine",
    }
}

choice! {
    /// Which tokens are trained.
    TrainOn {
        /// Completions, or the assistant's turns
        Completion = "completion",
        /// All but padding
        All = "all",
    }
}

choice! {
    /// What held-out data are evaluated as, beside their loss.
    HeldOutTask {
        /// What their content says
        Auto = "auto",
        /// The loss alone
        None = "none",
        /// How often the right label word is the likeliest: accuracy, macro F1
        Classification = "classification",
        /// How well questions about a passage are answered: exact match, F1
        Qa = "qa",
        /// How near texts come to the reference: ROUGE-1, -2 and -L
        Summarization = "summarization",
    }
}
