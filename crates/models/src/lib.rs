//! Model families by config.json's model_type.
