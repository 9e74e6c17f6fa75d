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
                let options = anylora_engine_wgpu::OpenOptions {
                    poison: true,
                    ..Default::default()
                };
                let spec = anylora_engine::DeviceSpec::Software;
                let gpu = pollster::block_on(anylora_engine_wgpu::Wgpu::open(spec, options));
                super::$test(&gpu.expect("a software adapter: `scripts/setup` installs lavapipe"));
            })*
        }
    };
}
pub(crate) use on_engines;
