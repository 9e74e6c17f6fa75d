//! `anylora web`: what the server answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::run;

fn fixture(name: &str) -> String {
    format!("{}/../tests/fixtures/tiny/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A running server, its page and its cache.
struct Server {
    child: Child,
    address: String,
    folder: TempDir,
}

impl Server {
    /// Serves tiny-llama with an adapter from a folder and a cache of its own.
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page");
        std::fs::create_dir(&page).unwrap();
        std::fs::write(page.join("index.html"), "<!doctype html><title>page</title>").unwrap();
        std::fs::write(page.join("x.wasm"), "\0asm").unwrap();
        std::fs::write(folder.path().join("secret.txt"), "secret").unwrap();
        write_adapter(&folder.path().join("runs/first/adapter"), "q_proj");
        let mut command = Command::new(env!("CARGO_BIN_EXE_anylora"));
        command
            .args([
                "web",
                "--no-open",
                "--port",
                "0",
                "--model",
                &fixture("tiny-llama"),
                "--adapter",
            ])
            .arg(folder.path().join("runs/first/adapter"))
            .arg("--page")
            .arg(&page)
            .env("XDG_CACHE_HOME", folder.path().join("cache"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://localhost:").unwrap();
        let address = format!("127.0.0.1:{}", address.trim_end_matches('/'));
        Self {
            child,
            address,
            folder,
        }
    }

    fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}"))
    }

    /// Sends a request, whose head lacks its end, as it is: no client tidies up its path.
    fn ask(&self, head: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{head}Connection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        Answer {
            head: String::from_utf8(answer[..end].to_vec())
                .unwrap()
                .to_ascii_lowercase(),
            body: answer[end + 4..].to_vec(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

struct Answer {
    /// In lower case.
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn header(&self, name: &str) -> &str {
        let value = self
            .head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }
}

/// A LoRA of rank 1 for one module of tiny-llama's first block.
fn write_adapter(folder: &Path, module: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let config =
        format!(r#"{{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["{module}"]}}"#);
    std::fs::write(folder.join("adapter_config.json"), config).unwrap();
    let name = format!("base_model.model.model.layers.0.self_attn.{module}");
    let header = format!(
        r#"{{"{name}.lora_A.weight":{{"dtype":"F32","shape":[1,128],"data_offsets":[0,512]}},"{name}.lora_B.weight":{{"dtype":"F32","shape":[128,1],"data_offsets":[512,1024]}}}}"#
    );
    let file = [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &[0; 1024],
    ]
    .concat();
    std::fs::write(folder.join("adapter_model.safetensors"), file).unwrap();
}

#[test]
fn the_server_answers_browsers() {
    let server = Server::start();

    let page = server.get("/", "");
    assert_eq!(page.status(), 200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert_eq!(page.header("cross-origin-opener-policy"), "same-origin");
    assert_eq!(page.header("cross-origin-embedder-policy"), "require-corp");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(
        server.get("/x.wasm", "").header("content-type"),
        "application/wasm"
    );

    let about: Value = serde_json::from_slice(&server.get("/anylora.json", "").body).unwrap();
    assert_eq!(about["model"]["name"], "tiny-llama");
    assert_eq!(about["adapters"][0]["name"], "first");

    let manifest = server.get("/model/manifest.json", "");
    assert_eq!(manifest.header("content-type"), "application/json");
    let manifest: Value = serde_json::from_slice(&manifest.body).unwrap();
    assert_eq!(manifest["quantization"], "nf4");
    let shard = &manifest["shards"][0];
    let path = format!("/model/{}", shard["path"].as_str().unwrap());
    let length = shard["bytes"].as_u64().unwrap() as usize;

    let whole = server.get(&path, "");
    assert_eq!((whole.status(), whole.body.len()), (200, length));
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(whole.header("content-length"), length.to_string());
    assert_eq!(whole.header("cache-control"), "no-cache");

    // Ranges: within, open, from the end, and beyond it.
    for (range, expected) in [
        ("100-299", 100..300),
        ("1000-", 1000..length),
        ("-7", length - 7..length),
    ] {
        let part = server.get(&path, &format!("Range: bytes={range}\r\n"));
        assert_eq!(part.status(), 206, "{range}");
        let content = format!("bytes {}-{}/{length}", expected.start, expected.end - 1);
        assert_eq!(part.header("content-range"), content);
        assert_eq!(part.body, whole.body[expected]);
    }
    let beyond = server.get(&path, &format!("Range: bytes={length}-\r\n"));
    assert_eq!(
        (beyond.status(), beyond.header("content-range")),
        (416, format!("bytes */{length}").as_str())
    );

    // Nothing is sent again that is there already, and nothing but the head where that is asked for.
    let tag = whole.header("etag").to_owned();
    let again = server.get(&path, &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((again.status(), again.body.len()), (304, 0));
    let head = server.ask(&format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n"));
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), length.to_string());

    assert_eq!(
        server.get("/adapters/0/adapter_model.safetensors", "").status(),
        200
    );
    assert_eq!(server.get("/adapters/1/adapter_config.json", "").status(), 404);
}

#[test]
fn the_server_answers_nobody_else() {
    let server = Server::start();
    assert!(server.folder.path().join("secret.txt").is_file());
    for path in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/model/../../secret.txt",
        "/model/..%2f..%2fsecret.txt",
        "/model/config.json/../manifest.json",
        "/adapters/0/../../../secret.txt",
        "/..\\secret.txt",
        "//etc/passwd",
        "/model/",
        "/model",
    ] {
        let answer = server.get(path, "");
        assert!((400..500).contains(&answer.status()), "{path}: {}", answer.head);
        assert!(!answer.body.windows(6).any(|bytes| bytes == b"secret"), "{path}");
    }
    // A name of another site that was made to mean this machine.
    for host in [
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org:80",
        "",
    ] {
        let answer = server.ask(&format!("GET /anylora.json HTTP/1.1\r\nHost: {host}\r\n"));
        assert_eq!(answer.status(), 421, "{host}");
    }
    assert_eq!(
        server
            .ask("GET /anylora.json HTTP/1.1\r\nHost: [::1]:8017\r\n")
            .status(),
        200
    );
    let post = server.ask("POST /model/manifest.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n");
    assert_eq!(post.status(), 405);
}

#[test]
fn wrong_requests_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().display().to_string();
    let model = fixture("tiny-llama");
    let web = |more: &[&str], code: i32| {
        let arguments = [&["web", "--no-open", "--model", &model, "--page", &page], more].concat();
        let output = crate::anylora(&arguments)
            .env("XDG_CACHE_HOME", folder.path())
            .assert()
            .code(code)
            .get_output()
            .clone();
        String::from_utf8(output.stderr).unwrap()
    };
    let found = web(&[], 2);
    assert!(
        found.contains("expected index.html") && found.contains("hint: scripts/build-web"),
        "{found}"
    );
    std::fs::write(folder.path().join("index.html"), "").unwrap();

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let found = web(&["--port", &port.to_string()], 1);
    assert!(found.contains(&format!("port {port} is in use")), "{found}");
    assert!(found.contains(&format!("hint: --port {}", port + 1)), "{found}");
    assert!(web(&["--port", "70000"], 2).contains("70000"));

    let adapter = folder.path().join("adapter");
    write_adapter(&adapter, "k_proj");
    let adapter = adapter.display().to_string();
    // A k_proj of tiny-llama has 64 rows.
    let found = web(&["--adapter", &adapter], 2);
    assert!(found.contains("model.layers.0.self_attn.k_proj"), "{found}");

    let (_, found) = run(&["web", "--model", "nowhere", "--page", &page, "--no-open"], 2);
    assert!(found.contains("nowhere"), "{found}");
}

/// Starts a server until it prints its address, and returns what it said before on stderr.
fn visit(model: &Path, folder: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anylora"));
    command
        .args(["web", "--no-open", "--port", "0", "--model"])
        .arg(model)
        .arg("--page")
        .arg(folder)
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("http://localhost:"), "{line}");
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_model_is_packed_once_and_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "").unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(fixture("tiny-llama")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
        }
    }
    let packs = || {
        std::fs::read_dir(folder.path().join("cache/anylora/packs"))
            .unwrap()
            .count()
    };
    assert!(visit(&model, folder.path()).contains("packing"));
    assert!(!visit(&model, folder.path()).contains("packing"));
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    std::fs::write(model.join("config.json"), format!("{config}\n")).unwrap();
    assert!(visit(&model, folder.path()).contains("packing"));
    assert_eq!(packs(), 1, "the stale pack is gone");
}

#[test]
fn a_damaged_pack_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "").unwrap();
    let page = folder.path().display().to_string();
    let out = folder.path().join("pack").display().to_string();
    run(&["pack", "--model", &fixture("tiny-llama"), "--out", &out], 0);
    let shard = Path::new(&out).join("model-00001-of-00001.safetensors");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes[1..]).unwrap();
    let (_, found) = run(
        &[
            "web",
            "--model",
            &out,
            "--page",
            &page,
            "--no-open",
            "--port",
            "0",
        ],
        1,
    );
    let expected = format!("expected {} bytes, found {} bytes", bytes.len(), bytes.len() - 1);
    assert!(
        found.contains(&expected) && found.contains("hint: pack the model again"),
        "{found}"
    );
}
