//! The page: the files that were built into the program, or a folder of them.

use std::path::PathBuf;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower_http::services::ServeDir;

use crate::cache;

/// Name and content of every file, with `/` between folders.
static BUILT_IN: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// Where the page's files are.
#[derive(Clone, Debug)]
pub enum Page {
    /// In the program.
    BuiltIn,
    /// In a folder.
    Folder(PathBuf),
}

impl Page {
    /// The built-in page, where the program was built with one.
    pub fn built_in() -> Option<Self> {
        let has_index = BUILT_IN.iter().any(|(name, _)| *name == "index.html");
        has_index.then_some(Self::BuiltIn)
    }

    /// Answers every request that nothing else answers.
    pub fn serve(self, router: Router) -> Router {
        match self {
            Self::BuiltIn => router.fallback(built_in),
            Self::Folder(folder) => router.fallback_service(ServeDir::new(folder)),
        }
    }
}

async fn built_in(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    let path = request.uri().path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    match BUILT_IN.iter().find(|(name, _)| *name == path) {
        Some((name, bytes)) => file(name, bytes, request.headers()),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A file with its type and hash, or that the browser has it already.
fn file(name: &str, bytes: &'static [u8], asked: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", &cache::hash(bytes)[..32]);
    let has = asked.get(header::IF_NONE_MATCH);
    let has = has.is_some_and(|tags| tags.to_str().is_ok_and(|tags| tags.contains(&etag)));
    let mime = mime_guess::from_path(name).first_or_octet_stream();
    let mut response = match has {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => bytes.into_response(),
    };
    let headers = response.headers_mut();
    for (header, value) in [
        (header::ETAG, etag.as_str()),
        (header::CONTENT_TYPE, mime.as_ref()),
    ] {
        // Digits and names of types are header values.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(header, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let first = file("a/page.js", b"let x", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_TYPE], "text/javascript");
        let tag = first.headers()[header::ETAG].clone();
        let asked = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag.clone())]);
        assert_eq!(
            file("a/page.js", b"let x", &asked).status(),
            StatusCode::NOT_MODIFIED
        );
        let other = file("a/page.js", b"let y", &asked);
        assert_eq!(other.status(), StatusCode::OK);
        assert_ne!(other.headers()[header::ETAG], tag);
        assert_eq!(
            file("x.wasm", b"\0asm", &HeaderMap::new()).headers()[header::CONTENT_TYPE],
            "application/wasm"
        );
    }
}
