//! TrainConfig, Trainer, schedule, checkpoint and resume, plan, evaluate, compare.
