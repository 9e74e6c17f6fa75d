use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Runs `test` on `count` values of the strategy, always the same ones, and on a failure looks for a smaller value
/// that fails for at most 32 more runs.
#[track_caller]
pub fn cases<S: Strategy>(count: u32, strategy: S, test: impl Fn(S::Value)) {
    let config = Config {
        cases: count,
        max_shrink_iters: 32,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&strategy, |value| {
        test(value);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
