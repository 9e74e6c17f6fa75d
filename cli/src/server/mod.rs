//! The page, a model and adapters on localhost.
//!
//! | address | what |
//! |---|---|
//! | `/` | the page |
//! | `/anylora.json` | what is served, for the page: `{"model": {"name", "url"}, "adapters": [{"name", "url"}]}` |
//! | `/model/...` | the parts of the pack and its manifest, with ranges |
//! | `/adapters/0/...` | `adapter_config.json` and `adapter_model.safetensors` of the first adapter |
//!
//! Files are those that the manifest lists, and two of each adapter's: no other path reaches the disk.

mod page;

use std::path::PathBuf;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tower_http::services::ServeFile;

pub use self::page::Page;
use crate::packs::Packed;

/// The files of an adapter.
const ADAPTER: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// What every answer says. The first three make the page a context of its own, which other sites can neither open nor
/// embed; the page may run what it is served with, and fetch models and adapters from anywhere. What is here can change
/// while its address does not, so that browsers ask each time, and are told by the ETag where they have it already.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-embedder-policy"),
        "require-corp",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self' http: https: blob: data:; \
         img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// What is served.
pub struct Site {
    /// The page.
    pub page: Page,
    /// The model.
    pub model: Packed,
    /// Names and folders of adapters.
    pub adapters: Vec<(String, PathBuf)>,
}

impl Site {
    fn router(self) -> Router {
        let about = self.about().to_string();
        let about = get(|| async { ([(header::CONTENT_TYPE, "application/json")], about) });
        let mut router = Router::new().route("/anylora.json", about);
        let parts = self.model.manifest.parts().map(|part| part.path.as_str());
        for name in parts.chain(["manifest.json"]) {
            let file = ServeFile::new(self.model.folder.join(name));
            router = router.route_service(&format!("/model/{name}"), file);
        }
        for (i, (_, folder)) in self.adapters.iter().enumerate() {
            for name in ADAPTER {
                let file = ServeFile::new(folder.join(name));
                router = router.route_service(&format!("/adapters/{i}/{name}"), file);
            }
        }
        self.page
            .serve(router)
            .layer(middleware::map_response(with_headers))
            .layer(middleware::from_fn(only_local))
    }

    fn about(&self) -> serde_json::Value {
        let adapters = self.adapters.iter().enumerate();
        let adapters: Vec<_> = adapters
            .map(|(i, (name, _))| json!({"name": name, "url": format!("adapters/{i}/")}))
            .collect();
        let manifest = &self.model.manifest;
        json!({
            "model": {"name": manifest.name, "url": "model/", "bytes": manifest.total_bytes()},
            "adapters": adapters,
        })
    }

    /// Serves until the program ends.
    pub async fn run(self, listener: TcpListener) -> Result<()> {
        axum::serve(listener, self.router())
            .await
            .context("the server stopped")
    }
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Refuses requests for another host: a site whose name was made to mean this machine could read the model otherwise.
async fn only_local(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    if ["localhost", "127.0.0.1", "[::1]"].contains(&name) {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "anylora serves localhost only\n").into_response()
    }
}
