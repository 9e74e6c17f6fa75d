//! Tests of the preprocessor.

use super::*;

fn run(kernel: &str, shared: &[(&str, &str)]) -> Result<Expanded, String> {
    let mut sources = Sources {
        folder: "shaders".into(),
        ..Sources::default()
    };
    sources.kernels.insert("k".into(), kernel.into());
    for (name, text) in shared {
        sources.shared.insert((*name).into(), (*text).into());
    }
    let defines = vec![("A".into(), "f16".into()), ("TILE".into(), "64".into())];
    let variant = Variant {
        kernel: "k".into(),
        defines,
        needs: Default::default(),
        line: 1,
    };
    expand(&sources, &variant).map_err(|problem| problem.to_string())
}

fn text(kernel: &str) -> String {
    run(kernel, &[]).unwrap().text
}

fn error(kernel: &str) -> String {
    run(kernel, &[]).unwrap_err()
}

#[test]
fn branches() {
    let source = "#if A == f32\n1\n#elif A == f16\n2\n#elif TILE == 64\n3\n#else\n4\n#endif\n5\n";
    assert_eq!(text(source), "2\n5\n");
    assert_eq!(text("#if A == f32\n1\n#else // A\n4\n#endif // A\n"), "4\n");
    assert_eq!(text("  #if A == f16 && TILE != 32\r\n1\r\n  #endif\r\n"), "1\n");
}

#[test]
fn nesting() {
    let source = "#if A == f16\na\n#if TILE == 32\nb\n#else\nc\n#endif\nd\n#else\n#if A == f16\ne\n#endif\nf\n#endif\n";
    assert_eq!(text(source), "a\nc\nd\n");
    // A branch that is left out keeps all of what is nested in it out, with names that do not exist here.
    assert_eq!(
        text("#if A == f32\n#if NONE == 1\nx\n#else\ny\n#endif\n#{NONE}\n#import none\n#endif\nz"),
        "z\n"
    );
}

#[test]
fn substitution() {
    assert_eq!(
        text("#{TILE}u\nconst T = #{TILE} * #{TILE}; // #{A}"),
        "64u\nconst T = 64 * 64; // f16\n"
    );
    assert!(error("\nconst T = #{TILES};").starts_with("error: shaders/k.wgsl:2: `TILES` is not defined"));
    assert!(error("#{TILE").starts_with("error: shaders/k.wgsl:1: expected `#{NAME}`"));
}

#[test]
fn mistakes_name_file_and_line() {
    for (source, expected) in [
        (
            "a\n#if B == 1\n#endif",
            "shaders/k.wgsl:2: `B` is not defined in this variant",
        ),
        ("#if A\n#endif", "shaders/k.wgsl:1: expected `NAME == value`"),
        (
            "#if A == f16\n#elif C == 1\n#endif",
            "shaders/k.wgsl:2: `C` is not defined",
        ),
        (
            "a\n\n#if A == f16\n#if A == f32\n#endif",
            "shaders/k.wgsl:3: this `#if` has no `#endif`",
        ),
        ("#endif", "shaders/k.wgsl:1: `#endif` without `#if`"),
        (
            "#if A == f16\n#else\n#else\n#endif",
            "shaders/k.wgsl:3: `#else` after `#else`",
        ),
        (
            "#if A == f16\n#else\n#elif A == f32\n#endif",
            "shaders/k.wgsl:3: `#elif` after `#else`",
        ),
        (
            "#if A == f16\n#else A == f32\n#endif",
            "shaders/k.wgsl:2: `#else` takes no expression",
        ),
        (
            "#if A == f16\n#define X\n#endif",
            "shaders/k.wgsl:2: unknown directive `#define`",
        ),
        (
            "\n#import none",
            "shaders/k.wgsl:2: `#import none`: there is no shaders/shared/none.wgsl",
        ),
    ] {
        assert!(
            error(source).starts_with(&format!("error: {expected}")),
            "{source}: {}",
            error(source)
        );
    }
}

#[test]
fn imports_come_once_and_nest() {
    let shared = [
        ("a", "#import b\nfn a() {}"),
        ("b", "#if A == f16\nfn b() {}\n#endif"),
    ];
    let expanded = run(
        "enable f16;\n#import a\n#import b\n#import a\nfn main() {}\nfn last() {}",
        &shared,
    )
    .unwrap();
    let code: Vec<_> = expanded
        .text
        .lines()
        .filter(|line| !line.starts_with("// ---- "))
        .collect();
    assert_eq!(
        code,
        [
            "enable f16;",
            "fn b() {}",
            "fn a() {}",
            "fn main() {}",
            "fn last() {}"
        ]
    );
    assert_eq!(
        expanded.origin_of("fn b"),
        ("shaders/shared/b.wgsl".into(), Some(2))
    );
    assert_eq!(
        expanded.origin_of("fn a"),
        ("shaders/shared/a.wgsl".into(), Some(2))
    );
    assert_eq!(expanded.origin_of("fn last"), ("shaders/k.wgsl".into(), Some(6)));
    assert_eq!(expanded.origin_of("fn none"), ("shaders/k.wgsl".into(), None));
}

#[test]
fn cycles_and_errors_of_shared_files() {
    let shared = [
        ("a", "#import b"),
        ("b", "\n#import a"),
        ("own", "#import own"),
        ("bad", "\n\n#{NONE}"),
    ];
    let error = |source| run(source, &shared).unwrap_err();
    let cycle = "error: shaders/shared/b.wgsl:2: `#import a` closes a cycle: a -> b -> a";
    assert!(error("#import a").starts_with(cycle), "{}", error("#import a"));
    assert!(error("#import own").contains("shared/own.wgsl:1: `#import own` closes a cycle: own -> own"));
    assert!(error("#import bad").starts_with("error: shaders/shared/bad.wgsl:3: `NONE` is not defined"));
}
