//! temporary
use anylora_engine::*;
use anylora_engine_burn::Cpu;
use anylora_quant::*;
use std::time::Instant;
fn vals(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i as u32).wrapping_mul(2654435761) >> 8) as f32 / 8388608.0 - 1.0)
        .collect()
}
fn t(name: &str, flops: f64, bytes: f64, mut f: impl FnMut()) {
    f();
    let s = Instant::now();
    let mut n = 0;
    while n < 3 || s.elapsed().as_secs_f64() < 0.5 {
        f();
        n += 1;
    }
    let d = s.elapsed().as_secs_f64() / n as f64;
    println!(
        "{name:40} {:9.3} ms {:8.1} GFLOP/s {:8.2} GB/s",
        d * 1e3,
        flops / d / 1e9,
        bytes / d / 1e9
    );
}
fn main() {
    let cpu = Cpu::new(None);
    println!("{:?}", cpu.info());
    let ten =
        |s: &[usize]| Tensor::from_f32(&cpu, s, MemoryKind::Activations, &vals(s.iter().product())).unwrap();
    let (n, k) = (2048usize, 2048usize);
    let d = vals(n * k);
    let q = quantize(&d, Codebook::Nf4, BlockSize::default()).unwrap();
    let bf: Vec<u8> = d
        .iter()
        .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
        .collect();
    for (name, w) in [
        (
            "f32",
            Weight::dense(&cpu, [n, k], DType::F32, bytemuck::cast_slice(&d)).unwrap(),
        ),
        ("bf16", Weight::dense(&cpu, [n, k], DType::BF16, &bf).unwrap()),
        ("nf4", Weight::quantized(&cpu, [n, k], &q).unwrap()),
        (
            "nf4dq",
            Weight::quantized(&cpu, [n, k], &q.clone().double_quantize().unwrap()).unwrap(),
        ),
    ] {
        for m in [1, 16, 128, 512] {
            let x = ten(&[m, k]);
            let fl = 2.0 * (m * n * k) as f64;
            t(&format!("linear {name} M={m}"), fl, (n * k * 4) as f64, || {
                ops::linear(&x, &w, None).unwrap();
            });
            if m >= 128 {
                let dy = ten(&[m, n]);
                t(&format!("linear_backward {name} M={m}"), fl, 0.0, || {
                    ops::linear_backward(&dy, &w).unwrap();
                });
            }
        }
        let (m, r) = (512, 16);
        let x = ten(&[m, k]);
        let dy = ten(&[m, n]);
        let a = ten(&[r, k]);
        let b = ten(&[n, r]);
        let ga = ten(&[r, k]);
        let gb = ten(&[n, r]);
        for dropout in [
            None,
            Some(Dropout {
                p: 0.1,
                seed: 1,
                step: 1,
                layer: 1,
            }),
        ] {
            let l = ops::LoraMatrices {
                a: &a,
                b: &b,
                scale: 1.0,
                dropout,
            };
            t(
                &format!("lora_linear {name} {}", dropout.is_some()),
                2.0 * (m * n * k) as f64,
                0.0,
                || {
                    ops::lora_linear(&x, &w, None, &l).unwrap();
                },
            );
            let (_, xa) = ops::lora_linear(&x, &w, None, &l).unwrap();
            t(
                &format!("lora_linear_backward {name} {}", dropout.is_some()),
                2.0 * (m * n * k) as f64,
                0.0,
                || {
                    ops::lora_linear_backward(&x, &w, &l, &xa, &dy, &ga, &gb, true).unwrap();
                },
            );
        }
    }
    for (bt, tt, hq, hkv, dd) in [(1, 512, 9, 3, 64), (4, 256, 32, 8, 64), (1, 2048, 9, 3, 64)] {
        let q = ten(&[bt, tt, hq, dd]);
        let kk = ten(&[bt, tt, hkv, dd]);
        let v = ten(&[bt, tt, hkv, dd]);
        let i = ops::AttentionInput {
            q: &q,
            k: &kk,
            v: &v,
            segments: None,
            mask: Mask {
                causal: true,
                window: None,
            },
            scale: 0.125,
        };
        let fl = 4.0 * (bt * hq * tt * tt * dd) as f64 / 2.0;
        t(&format!("attention {bt} {tt} {hq}"), fl, 0.0, || {
            ops::attention(&i).unwrap();
        });
        let (o, l) = ops::attention(&i).unwrap();
        t("attention_backward", fl * 2.5, 0.0, || {
            ops::attention_backward(&i, &o, &l, &q).unwrap();
        });
    }
    let g = ten(&[512, 8192]);
    let u = ten(&[512, 8192]);
    let by = (512 * 8192 * 4) as f64;
    t("swiglu", 0.0, by * 3.0, || {
        ops::swiglu(&g, &u).unwrap();
    });
    t("swiglu_backward", 0.0, by * 5.0, || {
        ops::swiglu_backward(&g, &u, &g).unwrap();
    });
    let w = ten(&[8192]);
    t("rms_norm", 0.0, by * 2.0, || {
        ops::rms_norm(&g, &w, 1e-5).unwrap();
    });
    t("rms_norm_backward", 0.0, by * 3.0, || {
        ops::rms_norm_backward(&g, &w, 1e-5, &u).unwrap();
    });
    t("add", 0.0, by * 3.0, || {
        ops::add(&g, &u).unwrap();
    });
    t("add_assign", 0.0, by * 3.0, || {
        ops::add_assign(&g, &u).unwrap();
    });
    let x = ten(&[512, 576]);
    let wt = ten(&[49152, 576]);
    let lab: Vec<u8> = (0..512i32).flat_map(|i| i.to_le_bytes()).collect();
    let labels = Tensor::from_bytes(&cpu, &[512], DType::I32, MemoryKind::Activations, &lab).unwrap();
    t(
        "head_loss 512x576x49152",
        4.0 * 512.0 * 576.0 * 49152.0,
        0.0,
        || {
            ops::head_loss(&x, &Weight::Dense(wt.clone()), &labels, Some(1.0)).unwrap();
        },
    );
    let lg = ten(&[128, 49152]);
    let st = ten(&[2, 128]);
    t("cross_entropy 128x49152", 0.0, (128 * 49152 * 4) as f64, || {
        cpu.cross_entropy(&lg, &labels.rows(0..128).unwrap(), Some(1.0), &st, 0)
            .unwrap();
    });
}
