//! Dispatch, with a kernel of the tests' own. Needs a software adapter: `scripts/setup` installs lavapipe.

use anylora_engine::{Backend, DType, DeviceSpec, Error, MemoryKind, Result, Tensor};
use anylora_shaders::{Binding, BindingKind, EntryPoint, Needs, Shader};
use pollster::block_on;

use crate::context::{Bind, Launch};
use crate::{OpenOptions, Wgpu};

const NEEDS: Needs = Needs {
    f16: false,
    subgroups: false,
    cooperative_matrix: false,
};

const ENTRY_POINTS: &[EntryPoint] = &[EntryPoint {
    name: "add",
    workgroup_size: [64, 1, 1],
    workgroup_bytes: 0,
    bindings: &[
        Binding {
            group: 0,
            index: 0,
            name: "params",
            kind: BindingKind::Uniform,
            min_size: 8,
        },
        Binding {
            group: 0,
            index: 1,
            name: "x",
            kind: BindingKind::Storage { read_only: true },
            min_size: 4,
        },
        Binding {
            group: 0,
            index: 2,
            name: "y",
            kind: BindingKind::Storage { read_only: false },
            min_size: 4,
        },
    ],
}];

static ADD: Shader = Shader {
    kernel: "add",
    defines: &[],
    needs: NEEDS,
    wgsl: include_str!("add.wgsl"),
    entry_points: ENTRY_POINTS,
};
static BROKEN: Shader = Shader {
    kernel: "broken",
    defines: &[],
    needs: NEEDS,
    wgsl: "fn add( {",
    entry_points: ENTRY_POINTS,
};
static MATRIX: Shader = Shader {
    kernel: "matrix",
    defines: &[],
    needs: Needs {
        cooperative_matrix: true,
        ..NEEDS
    },
    wgsl: "",
    entry_points: ENTRY_POINTS,
};

fn open(options: OpenOptions) -> Wgpu {
    block_on(Wgpu::open(DeviceSpec::Software, options)).expect("a software adapter")
}

fn tensor(gpu: &Wgpu, values: &[f32]) -> Tensor<Wgpu> {
    Tensor::from_f32(gpu, &[values.len()], MemoryKind::Scratch, values).unwrap()
}

fn launch(
    gpu: &Wgpu,
    shader: &'static Shader,
    length: usize,
    factor: f32,
    bindings: &[(&str, Bind)],
) -> Result<()> {
    gpu.launch_shader(
        shader,
        &Launch {
            kernel: shader.kernel,
            defines: &[],
            entry: "add",
            params: bytemuck::cast_slice(&[length as u32, factor.to_bits()]),
            bindings,
            workgroups: gpu.spread((length as u64).div_ceil(64)),
        },
    )
}

/// `y = y + x * factor`.
fn add(gpu: &Wgpu, x: &Tensor<Wgpu>, factor: f32, y: &Tensor<Wgpu>) -> Result<()> {
    launch(
        gpu,
        &ADD,
        y.len(),
        factor,
        &[("x", gpu.bind(x)), ("y", gpu.bind(y))],
    )
}

#[test]
fn thousands_of_dispatches_run_in_order_with_their_own_parameters() {
    for checked in [false, true] {
        let gpu = open(OpenOptions {
            checked,
            poison: true,
            ..OpenOptions::default()
        });
        let (x, y) = (tensor(&gpu, &[1.0; 100]), tensor(&gpu, &[0.0; 100]));
        for step in 1..=3000 {
            add(&gpu, &x, step as f32, &y).unwrap();
        }
        assert_eq!(block_on(y.to_f32()).unwrap(), [3000.0 * 3001.0 / 2.0; 100]);
    }
}

#[test]
fn an_upload_comes_after_what_was_launched_before() {
    let gpu = open(OpenOptions::default());
    let (x, y) = (tensor(&gpu, &[1.0; 8]), tensor(&gpu, &[0.0; 8]));
    for step in 0..100 {
        x.upload(bytemuck::cast_slice(&[step as f32; 8])).unwrap();
        add(&gpu, &x, 1.0, &y).unwrap();
    }
    assert_eq!(block_on(y.to_f32()).unwrap(), [4950.0; 8]);
}

#[test]
fn reused_memory_does_not_disturb_recorded_work() {
    let gpu = open(OpenOptions::default());
    let y = tensor(&gpu, &[0.0; 8]);
    for step in 0..100 {
        let x = tensor(&gpu, &[step as f32; 8]);
        add(&gpu, &x, 1.0, &y).unwrap();
    }
    assert_eq!(block_on(y.to_f32()).unwrap(), [4950.0; 8]);
    assert_eq!(gpu.reserved_bytes(), 64);
}

#[test]
fn views_and_windows_bind_their_own_rows() {
    let gpu = open(OpenOptions::default());
    let x = Tensor::from_f32(&gpu, &[3, 64], MemoryKind::Scratch, &[2.0; 192]).unwrap();
    let y = Tensor::from_f32(&gpu, &[3, 64], MemoryKind::Scratch, &[1.0; 192]).unwrap();
    add(&gpu, &x.rows(1..2).unwrap(), 1.0, &y.rows(1..2).unwrap()).unwrap();
    let window = [
        ("x", gpu.bind_rows(&x, 0..1, 256)),
        ("y", gpu.bind_rows(&y, 2..3, 256)),
    ];
    launch(&gpu, &ADD, 64, 10.0, &window).unwrap();
    let sums = block_on(y.to_f32()).unwrap();
    let expected: Vec<f32> = [1.0, 3.0, 21.0].into_iter().flat_map(|row| [row; 64]).collect();
    assert_eq!(sums, expected);
}

#[test]
fn more_workgroups_than_a_dimension_holds_are_folded() {
    let gpu = open(OpenOptions::default());
    assert_eq!(gpu.spread(0), [0, 1, 1]);
    assert_eq!(gpu.spread(65_535), [65_535, 1, 1]);
    assert_eq!(gpu.spread(65_536), [32_768, 2, 1]);
    assert!(gpu.spread(u64::MAX)[1] > 65_535);
    let length = 65_535 * 64 + 17;
    let (x, y) = (tensor(&gpu, &vec![1.0; length]), tensor(&gpu, &vec![1.0; length]));
    add(&gpu, &x, 1.0, &y).unwrap();
    assert!(block_on(y.to_f32()).unwrap().iter().all(|&value| value == 2.0));
}

#[test]
fn copies_and_clears_keep_their_place_among_launches() {
    let gpu = open(OpenOptions {
        poison: true,
        ..OpenOptions::default()
    });
    let (x, y, z) = (
        tensor(&gpu, &[1.0; 5]),
        tensor(&gpu, &[0.0; 5]),
        tensor(&gpu, &[0.0; 5]),
    );
    for _ in 0..3 {
        add(&gpu, &x, 1.0, &y).unwrap();
        gpu.copy_bytes(&y, &z).unwrap();
        add(&gpu, &z, 10.0, &y).unwrap();
    }
    // y: 11, 132, 1463
    assert_eq!(block_on(z.to_f32()).unwrap(), [133.0; 5]);
    assert_eq!(block_on(y.to_f32()).unwrap(), [1463.0; 5]);
    gpu.copy_bytes(&x.rows(0..2).unwrap(), &y.rows(3..5).unwrap())
        .unwrap();
    gpu.clear_bytes(&y.rows(1..3).unwrap()).unwrap();
    assert_eq!(block_on(y.to_f32()).unwrap(), [1463.0, 0.0, 0.0, 1.0, 1.0]);
    for (from, to) in [(&x, &x), (&x, &y.rows(1..3).unwrap())] {
        assert!(matches!(
            gpu.copy_bytes(from, to),
            Err(Error::Argument { op: "copy", .. })
        ));
    }
    let bytes = Tensor::from_bytes(&gpu, &[7], DType::U8, MemoryKind::Scratch, &[1; 7]).unwrap();
    let copy = Tensor::empty(&gpu, &[7], DType::U8, MemoryKind::Scratch).unwrap();
    gpu.copy_bytes(&bytes, &copy).unwrap();
    assert_eq!(block_on(copy.download()).unwrap(), [1; 7]);
    gpu.clear_bytes(&copy).unwrap();
    assert_eq!(block_on(copy.download()).unwrap(), [0; 7]);
}

#[test]
fn constants_are_uploaded_once_and_dummies_bind() {
    let gpu = open(OpenOptions::default());
    let y = tensor(&gpu, &[0.0; 8]);
    for _ in 0..3 {
        let table = gpu.constant(bytemuck::cast_slice(&[5.0_f32; 8]));
        launch(&gpu, &ADD, 8, 1.0, &[("x", table), ("y", gpu.bind(&y))]).unwrap();
    }
    launch(&gpu, &ADD, 0, 1.0, &[("x", gpu.dummy()), ("y", gpu.bind(&y))]).unwrap();
    assert_eq!(block_on(y.to_f32()).unwrap(), [15.0; 8]);
}

/// The launch is refused with a text that names the kernel and `part`, and the device works on.
fn refused(gpu: &Wgpu, result: Result<()>, part: &str) {
    match result {
        Err(Error::Device(text)) => assert!(text.contains("::add: ") && text.contains(part), "{text}"),
        other => panic!("{other:?}, where {part} was expected"),
    }
    let (x, y) = (tensor(gpu, &[1.0; 4]), tensor(gpu, &[2.0; 4]));
    add(gpu, &x, 1.0, &y).unwrap();
    assert_eq!(block_on(y.to_f32()).unwrap(), [3.0; 4]);
}

#[test]
fn wrong_launches_are_errors_and_do_no_harm() {
    let gpu = open(OpenOptions {
        max_binding_bytes: Some(1024),
        ..OpenOptions::default()
    });
    let (x, y) = (tensor(&gpu, &[1.0; 256]), tensor(&gpu, &[0.0; 256]));
    let bind = |tensor| gpu.bind(tensor);
    let go = |bindings: &[(&str, Bind)]| launch(&gpu, &ADD, 4, 1.0, bindings);

    refused(&gpu, go(&[("x", bind(&x)), ("out", bind(&y))]), "no binding out");
    refused(&gpu, go(&[("x", bind(&x))]), "y is not bound");
    refused(&gpu, go(&[("x", bind(&x)), ("x", bind(&y))]), "x is bound twice");
    refused(
        &gpu,
        go(&[("x", bind(&x)), ("params", bind(&x)), ("y", bind(&y))]),
        "no binding params",
    );
    refused(&gpu, go(&[("x", bind(&y)), ("y", bind(&y))]), "are one buffer");
    refused(
        &gpu,
        go(&[("x", gpu.bind_rows(&x, 1..2, 4)), ("y", bind(&y))]),
        "x can't be bound",
    );
    let matrix = launch(&gpu, &MATRIX, 4, 1.0, &[]).unwrap_err();
    assert!(
        matrix.to_string().contains("matrix::add: the variant needs more"),
        "{matrix}"
    );

    let mut wrong = Launch {
        kernel: "add",
        defines: &[],
        entry: "add",
        params: &[0; 4],
        bindings: &[],
        workgroups: [1, 65_536, 1],
    };
    refused(&gpu, gpu.launch_shader(&ADD, &wrong), "at most 65535");
    wrong.workgroups = [1; 3];
    wrong.params = &[0; 40];
    refused(&gpu, gpu.launch_shader(&ADD, &wrong), "40 bytes of parameters");
    wrong.entry = "sub";
    assert!(matches!(gpu.launch_shader(&ADD, &wrong), Err(Error::Device(text)) if text.contains("add::sub")));
    wrong.kernel = "no_such_kernel";
    assert!(matches!(gpu.launch(&wrong), Err(Error::Device(text)) if text.contains("no_such_kernel")));

    let large = Tensor::empty(&gpu, &[257], DType::F32, MemoryKind::Scratch).unwrap();
    let error = go(&[("x", bind(&large)), ("y", bind(&y))]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::BindingLimit {
                op: "add",
                bytes: 1040,
                limit: 1024,
                ..
            }
        ),
        "{error}"
    );
    // Nothing of it ran.
    assert_eq!(block_on(y.to_f32()).unwrap(), [0.0; 256]);
}

#[test]
fn a_kernel_that_does_not_compile_is_an_error_every_time() {
    let gpu = open(OpenOptions::default());
    let (x, y) = (tensor(&gpu, &[1.0; 4]), tensor(&gpu, &[0.0; 4]));
    for _ in 0..2 {
        let result = launch(&gpu, &BROKEN, 4, 1.0, &[("x", gpu.bind(&x)), ("y", gpu.bind(&y))]);
        assert!(matches!(result, Err(Error::Device(_))), "{result:?}");
    }
    refused(&gpu, launch(&gpu, &BROKEN, 4, 1.0, &[]), "x is not bound");
}

#[test]
fn what_the_device_reports_is_the_next_calls_error_once() {
    let gpu = open(OpenOptions::default());
    let y = tensor(&gpu, &[0.0; 4]);
    // Beyond the buffer's end: wgpu's validation reports it to nobody in particular.
    gpu.0.queue.write_buffer(&y.storage().buffer, 1 << 20, &[0; 4]);
    assert!(matches!(y.upload(&[0; 16]), Err(Error::Device(text)) if !text.is_empty()));
    y.upload(&[0; 16]).unwrap();
    block_on(gpu.synchronize()).unwrap();
}

#[test]
fn a_lost_device_launches_nothing() {
    let gpu = open(OpenOptions::default());
    let (x, y) = (tensor(&gpu, &[1.0; 4]), tensor(&gpu, &[0.0; 4]));
    add(&gpu, &x, 1.0, &y).unwrap();
    gpu.destroy();
    assert!(matches!(add(&gpu, &x, 1.0, &y), Err(Error::DeviceLost(_))));
}

#[test]
fn several_threads_share_a_device() {
    let gpu = open(OpenOptions::default());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let gpu = gpu.clone();
            scope.spawn(move || {
                let (x, y) = (tensor(&gpu, &[thread as f32; 50]), tensor(&gpu, &[0.0; 50]));
                for step in 1..=200 {
                    add(&gpu, &x, 1.0, &y).unwrap();
                    if step % 20 == 0 {
                        assert_eq!(block_on(y.to_f32()).unwrap(), [(thread * step) as f32; 50]);
                    }
                }
            });
        }
    });
    block_on(gpu.synchronize()).unwrap();
}

#[test]
fn a_closed_device_leaves_no_thread() {
    let gpu = open(OpenOptions::default());
    let weak = std::sync::Arc::downgrade(&gpu.0);
    let y = tensor(&gpu, &[0.0; 4]);
    block_on(y.download()).unwrap();
    drop((y, gpu));
    assert_eq!(weak.strong_count(), 0);
}
