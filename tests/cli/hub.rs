//! Models by hub id, from a hub on this machine that speaks the parts of the hub's interface which a download takes.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use assert_cmd::Command;
use tempfile::TempDir;

use crate::anylora;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const ID: &str = "someone/tiny-llama";

/// Serves a folder as [`ID`] and notes what was asked for. It ends with the test's process.
struct Hub {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn serve(folder: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (folder, log) = (folder.clone(), Arc::clone(&log));
                std::thread::spawn(move || answer(stream.unwrap(), &folder, &log));
            }
        });
        Self { endpoint, asked }
    }

    /// How many times a file's bytes were fetched.
    fn fetched(&self, name: &str) -> usize {
        let wanted = format!("GET /{ID}/resolve/{COMMIT}/{name}");
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|line| **line == wanted)
            .count()
    }
}

/// One request a connection.
fn answer(mut stream: TcpStream, folder: &Path, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else { return };
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let path = target.split('?').next().unwrap();
    log.lock().unwrap().push(format!("{method} {path}"));
    let body = if path == format!("/api/models/{ID}/revision/main") {
        Some(
            serde_json::json!({ "id": ID, "sha": COMMIT })
                .to_string()
                .into_bytes(),
        )
    } else if path == format!("/api/models/{ID}/tree/{COMMIT}") {
        Some(tree(folder))
    } else {
        path.strip_prefix(&format!("/{ID}/resolve/{COMMIT}/"))
            .and_then(|name| std::fs::read(folder.join(name)).ok())
    };
    let (status, body) = match body {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", b"Repository not found".to_vec()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nx-repo-commit: {COMMIT}\r\netag: \"{}\"\r\nconnection: close\r\n\r\n",
        body.len(),
        path.rsplit('/').next().unwrap(),
    );
    stream.write_all(head.as_bytes()).unwrap();
    if method != "HEAD" {
        stream.write_all(&body).unwrap();
    }
}

/// The listing of a repository.
fn tree(folder: &Path) -> Vec<u8> {
    let files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            serde_json::json!({
                "type": "file",
                "oid": "0",
                "size": entry.metadata().unwrap().len(),
                "path": entry.file_name().to_str().unwrap(),
            })
        })
        .collect();
    serde_json::to_vec(&files).unwrap()
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tiny/tiny-llama")
}

/// `anylora` with a hub's cache of its own.
fn with_hub(arguments: &[&str], home: &TempDir, endpoint: &str) -> Command {
    let mut command = anylora(arguments);
    command
        .env("HF_HOME", home.path())
        .env("HF_ENDPOINT", endpoint)
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("HF_TOKEN");
    command
}

#[test]
fn a_model_is_fetched_once_and_then_found_in_the_cache() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::serve(model());
    let inspect = ["inspect", ID, "--json"];
    let first = with_hub(&inspect, &home, &hub.endpoint).assert().success();
    let text = String::from_utf8(first.get_output().stdout.clone()).unwrap();
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["family"], "llama", "{text}");
    assert_eq!(hub.fetched("model.safetensors"), 1);

    // The standard cache: PEFT and transformers find it too.
    let snapshot = home
        .path()
        .join("hub/models--someone--tiny-llama/snapshots")
        .join(COMMIT);
    let original = std::fs::read(model().join("model.safetensors")).unwrap();
    assert!(std::fs::read(snapshot.join("model.safetensors")).unwrap() == original);

    with_hub(&inspect, &home, &hub.endpoint).assert().success();
    assert_eq!(hub.fetched("model.safetensors"), 1);
    with_hub(&inspect, &home, "http://127.0.0.1:9")
        .env("HF_HUB_OFFLINE", "1")
        .assert()
        .success();
    let without = with_hub(&inspect, &home, "http://127.0.0.1:9").assert().success();
    let message = String::from_utf8(without.get_output().stderr.clone()).unwrap();
    assert!(message.contains("the hub can't be reached; using"), "{message}");
}

#[test]
fn no_hub_and_no_such_model_are_told_apart() {
    let home = tempfile::tempdir().unwrap();
    let hub = Hub::serve(model());
    let error = |arguments: &[&str], endpoint: &str, code: i32| {
        let assert = with_hub(arguments, &home, endpoint).assert().code(code);
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    let unknown = error(&["inspect", "someone/else"], &hub.endpoint, 2);
    assert!(
        unknown.contains("someone/else could not be fetched from the hub"),
        "{unknown}"
    );
    assert!(unknown.contains("hint: check the id"), "{unknown}");
    let unreachable = error(&["inspect", ID], "http://127.0.0.1:9", 1);
    assert!(unreachable.contains("the hub can't be reached"), "{unreachable}");
    assert!(unreachable.contains("hint: pass a folder"), "{unreachable}");
}
