//! Models and their sessions, on whichever backend.

use super::{Checkpoint, Result, parse, thrown};
use crate::engine::cpu::Cpu;
use crate::engine::gpu::WebGpu;
use crate::phi::check::self_check;
use crate::phi::decode::Session;
use crate::phi::model::{Loader, Wanted};
use crate::quant::Kernels;
use serde_json::json;
use wasm_bindgen::prelude::*;

#[allow(clippy::large_enum_variant)] // there is one at a time
enum AnyLoader {
    Cpu(Loader<Cpu>),
    Gpu(Loader<WebGpu>),
}

/// Takes the weights as they stream in; see [`Loader`].
#[wasm_bindgen]
pub struct ModelLoader {
    loader: AnyLoader,
    device: String,
}

#[wasm_bindgen]
impl ModelLoader {
    pub fn cpu(checkpoint: &Checkpoint, context: Option<usize>) -> Result<ModelLoader> {
        let loader = Loader::new(&checkpoint.0, Cpu::default(), context).map_err(thrown)?;
        Ok(Self { loader: AnyLoader::Cpu(loader), device: Kernels::best().name().to_owned() })
    }

    /// `any_adapter`: a software adapter will do too. The device has passed the self-check when this returns.
    pub async fn gpu(checkpoint: &Checkpoint, any_adapter: bool, context: Option<usize>) -> Result<ModelLoader> {
        let checkpoint = checkpoint.0.clone();
        let backend = WebGpu::new(any_adapter).await.map_err(thrown)?;
        let backend = self_check(backend, &checkpoint).await.map_err(thrown)?;
        let info = backend.info();
        let names = [info.name.as_str(), info.vendor.as_str(), "The adapter"];
        let device = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_owned();
        let loader = Loader::new(&checkpoint, backend, context).map_err(thrown)?;
        Ok(Self { loader: AnyLoader::Gpu(loader), device })
    }

    fn list(&self) -> &[Wanted] {
        match &self.loader {
            AnyLoader::Cpu(loader) => loader.wanted(),
            AnyLoader::Gpu(loader) => loader.wanted(),
        }
    }

    /// JSON: `[{ tensor, file, start, end, rowBytes }]`, in file order.
    pub fn wanted(&self) -> String {
        let one = |wanted: &Wanted| {
            let span = &wanted.span;
            json!({
                "tensor": wanted.tensor,
                "file": wanted.file,
                "start": span.start,
                "end": span.end,
                "rowBytes": wanted.row_bytes,
            })
        };
        json!(self.list().iter().map(one).collect::<Vec<_>>()).to_string()
    }

    /// Whole rows of the wanted tensor `index`, beginning with row `row`.
    pub fn put(&mut self, index: usize, row: f64, bytes: &[u8]) -> Result<()> {
        match &mut self.loader {
            AnyLoader::Cpu(loader) => loader.put(index, row as u64, bytes).map_err(thrown),
            AnyLoader::Gpu(loader) => loader.put(index, row as u64, bytes).map_err(thrown),
        }
    }

    pub async fn finish(self) -> Result<Model> {
        let bytes = self.list().iter().map(|wanted| wanted.span.end - wanted.span.start).sum();
        let session = match self.loader {
            AnyLoader::Cpu(loader) => AnySession::Cpu(loader.finish().and_then(Session::new).map_err(thrown)?),
            AnyLoader::Gpu(loader) => AnySession::Gpu(loader.finish().and_then(Session::new).map_err(thrown)?),
        };
        Ok(Model { session, device: self.device, bytes })
    }
}

#[allow(clippy::large_enum_variant)] // there is one at a time
enum AnySession {
    Cpu(Session<Cpu>),
    Gpu(Session<WebGpu>),
}

/// A model and one conversation's cache; see [`Session`].
#[wasm_bindgen]
pub struct Model {
    session: AnySession,
    device: String,
    bytes: u64,
}

/// The same expression for whichever session it is.
macro_rules! each {
    ($model:expr, $session:ident => $body:expr) => {
        match &mut $model.session {
            AnySession::Cpu($session) => $body,
            AnySession::Gpu($session) => $body,
        }
    };
}

#[wasm_bindgen]
impl Model {
    /// What computes, for people.
    pub fn device(&self) -> String {
        self.device.clone()
    }

    /// Tokens that the cache has room for.
    pub fn context(&mut self) -> usize {
        each!(self, session => session.model.context)
    }

    /// Bytes of the weights as they were loaded.
    pub fn bytes(&self) -> f64 {
        self.bytes as f64
    }

    /// `sampling`: JSON of [`crate::phi::sample::Sampling`]. Returns how many tokens remain to prefill.
    pub fn begin(&mut self, prompt: &[u32], sampling: &str) -> Result<usize> {
        let sampling = parse("the sampling options", sampling)?;
        each!(self, session => session.begin(prompt, sampling).map_err(thrown))
    }

    /// Prefills the next batch; returns how many tokens remain.
    pub async fn prefill(&mut self) -> Result<usize> {
        each!(self, session => session.prefill().await.map_err(thrown))
    }

    /// The next token; `undefined` where the model ends its answer.
    pub async fn next(&mut self) -> Result<Option<u32>> {
        each!(self, session => session.next().await.map_err(thrown))
    }

    /// Loses the GPU on purpose, for tests of what happens then; nothing on the CPU.
    #[wasm_bindgen(js_name = loseDevice)]
    pub fn lose_device(&self) {
        if let AnySession::Gpu(session) = &self.session {
            session.model.backend.lose();
        }
    }

    /// The latest logits, one for each of the vocabulary.
    pub fn logits(&mut self) -> Vec<f32> {
        each!(self, session => session.logits().to_vec())
    }
}
