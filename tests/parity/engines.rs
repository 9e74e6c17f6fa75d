//! Tests that are generic over the engine.

/// A test that is generic over the engine, as a `#[test]` for each engine.
macro_rules! on_engines {
    ($($test:ident),* $(,)?) => {
        mod cpu {
            $(#[test]
            fn $test() {
                super::$test(&anylora_engine_burn::Cpu::new(None));
            })*
        }
        #[cfg(feature = "cuda")]
        mod cuda {
            $(#[test]
            fn $test() {
                // Where CUDA finds no GPU there is nothing to test: `anylora devices` says what is here.
                if let Some(gpu) = anylora_tests::cuda() {
                    super::$test(gpu);
                }
            })*
        }
        mod wgpu {
            $(#[test]
            fn $test() {
                if anylora_tests::tests_adapters() {
                    super::$test(&anylora_tests::wgpu_with(|_| {}));
                }
            })*
        }
    };
}
pub(crate) use on_engines;
