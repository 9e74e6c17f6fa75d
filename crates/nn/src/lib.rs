//! Layers on the Backend trait: frozen linear, LoRA, norms, attention, MLP.
