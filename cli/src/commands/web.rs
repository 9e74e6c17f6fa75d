//! `anylora web`: the page, a model and adapters on localhost.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use anylora_checkpoint::{Adapter, Checkpoint};
use anylora_engine::{Caps, Dry};
use anylora_models::adapters;
use clap::Args;
use tokio::net::TcpListener;

use crate::error::{Annotate, request};
use crate::model::{Quant, checkpoint_error, model_error};
use crate::output;
use crate::packs::{self, Packed};
use crate::server::{Page, Site};

/// Chat with a model in the browser, on its GPU.
///
/// Packs the model into the user's cache where it is no pack yet, serves the page, the model and the adapters on
/// localhost, opens the browser, and goes on until Ctrl-C. The browser computes everything, and keeps the model for the
/// next time.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    anylora web --model HuggingFaceTB/SmolLM2-135M-Instruct --adapter runs/first/adapter")]
pub struct Web {
    /// A model folder, a pack, a .gguf file or a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// LoRA adapters' folders, in PEFT's format
    #[arg(long, value_name = "FOLDER", num_args = 1..)]
    adapter: Vec<PathBuf>,
    /// How linear layers are packed where the model is no pack yet
    #[arg(long, value_enum, default_value = "nf4", value_name = "FORMAT")]
    quant: Quant,
    /// The port; 0 takes a free one. Browsers keep a model for each port anew
    #[arg(long, default_value_t = 8017, value_name = "N")]
    port: u16,
    /// Print the address without opening the browser
    #[arg(long)]
    no_open: bool,
    /// Serve the page from a folder that `scripts/build-web` wrote, rather than the built-in one
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
}

impl Web {
    /// Serves.
    pub fn run(self) -> Result<()> {
        let page = self.find_page()?;
        let model = packs::find(&self.model, self.quant)?;
        let adapters = self.find_adapters(&model)?;
        let site = Site {
            page,
            model,
            adapters,
        };
        ctrlc::set_handler(|| std::process::exit(0)).context("Ctrl-C could not be caught")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let runtime = runtime.context("the server could not be started")?;
        runtime.block_on(async {
            let (listener, port) = self.listen().await?;
            let address = format!("http://localhost:{port}/");
            output::print(&format!("{address}\n"))?;
            anstream::eprintln!("Ctrl-C ends");
            if !self.no_open
                && let Err(error) = open::that_detached(&address)
            {
                anstream::eprintln!("no browser could be opened ({error}); open {address}");
            }
            site.run(listener).await
        })
    }

    fn find_page(&self) -> Result<Page> {
        match &self.page {
            Some(folder) if folder.join("index.html").is_file() => Ok(Page::Folder(folder.clone())),
            Some(folder) => {
                let error = request(format!(
                    "{}: expected index.html, found no such file",
                    folder.display()
                ));
                Err(error).hint("scripts/build-web writes the page into web/dist")
            }
            None => Page::built_in()
                .context("this program was built without the page")
                .hint("scripts/build-web && cargo install --path cli"),
        }
    }

    /// Names and folders of the adapters, which fit the model.
    fn find_adapters(&self, model: &Packed) -> Result<Vec<(String, PathBuf)>> {
        if self.adapter.is_empty() {
            return Ok(Vec::new());
        }
        let checkpoint = Checkpoint::open(&model.folder).map_err(checkpoint_error)?;
        let device = Dry::new(Caps::HOST, None);
        let named = self.adapter.iter().map(|folder| {
            let adapter = Adapter::open(folder).map_err(checkpoint_error)?;
            adapters(&device, checkpoint.config(), &adapter, false)
                .map_err(model_error)
                .with_context(|| folder.display().to_string())?;
            Ok((name(folder), folder.clone()))
        });
        named.collect()
    }

    async fn listen(&self) -> Result<(TcpListener, u16)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await;
        let listener = match listener {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let hint = format!("--port {}", self.port.checked_add(1).unwrap_or(8017));
                Err(error)
                    .context(format!("port {} is in use", self.port))
                    .hint(hint)
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error)
                .context(format!("port {} is not for every user", self.port))
                .hint("--port 8017"),
            other => other.with_context(|| format!("port {} could not be opened", self.port)),
        }?;
        let port = listener.local_addr().context("the port has no address")?.port();
        Ok((listener, port))
    }
}

/// An adapter's folder, or the run that it is the adapter of.
fn name(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let named = match folder.parent() {
        Some(run) if folder.ends_with("adapter") && run.file_name().is_some() => run,
        _ => &folder,
    };
    let name = named.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
