//! What every backend must do with the checkpoints of `tests/fixtures/phi`: one test body for all of them. Fixtures are
//! compiled in, so that the bodies run in a browser too.
#![allow(dead_code)] // every test file takes what it needs

use phiquant::checkpoint::{Checkpoint, Kind, Located};
use phiquant::engine::Backend;
use phiquant::formats::{Header, HeaderReader, safetensors};
use phiquant::phi::config::Config;
use phiquant::phi::decode::Session;
use phiquant::phi::model::{Loader, Model};
use phiquant::phi::sample::Sampling;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// A checkpoint and what transformers computes with it (tools/phi_fixtures.py).
pub struct Fixture {
    pub name: &'static str,
    pub config: &'static str,
    pub weights: &'static [u8],
    pub cases: &'static str,
    /// By case: the logits at every position of the prompt, f32.
    pub logits: &'static [(&'static str, &'static [u8])],
}

macro_rules! file {
    ($path:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/phi/", $path)
    };
}

/// As Phi-3-mini: a head of keys for each of queries, a sliding window, an output matrix; F32.
pub const MHA: Fixture = Fixture {
    name: "mha",
    config: include_str!(file!("mha/config.json")),
    weights: include_bytes!(file!("mha/model.safetensors")),
    cases: include_str!(file!("mha/cases.json")),
    logits: &[("window", include_bytes!(file!("mha/window.logits")))],
};

/// As Phi-4-mini: grouped queries, partial rotation, LongRoPE around 96 tokens, tied matrices; BF16.
pub const GQA: Fixture = Fixture {
    name: "gqa",
    config: include_str!(file!("gqa/config.json")),
    weights: include_bytes!(file!("gqa/model.safetensors")),
    cases: include_str!(file!("gqa/cases.json")),
    logits: &[
        ("short", include_bytes!(file!("gqa/short.logits"))),
        ("crossing", include_bytes!(file!("gqa/crossing.logits"))),
        ("long", include_bytes!(file!("gqa/long.logits"))),
    ],
};

/// As Phi-2: attention and feed-forward side by side, biases, partial rotation; F16.
pub const PHI2: Fixture = Fixture {
    name: "phi2",
    config: include_str!(file!("phi2/config.json")),
    weights: include_bytes!(file!("phi2/model.safetensors")),
    cases: include_str!(file!("phi2/cases.json")),
    logits: &[("short", include_bytes!(file!("phi2/short.logits")))],
};

/// As Phi-3.5-MoE: two of sixteen experts, LongRoPE around 24 tokens, biases; BF16.
pub const PHIMOE: Fixture = Fixture {
    name: "phimoe",
    config: include_str!(file!("phimoe/config.json")),
    weights: include_bytes!(file!("phimoe/model.safetensors")),
    cases: include_str!(file!("phimoe/cases.json")),
    logits: &[
        ("crossing", include_bytes!(file!("phimoe/crossing.logits"))),
        ("long", include_bytes!(file!("phimoe/long.logits"))),
    ],
};

/// One of each kind.
pub const FIXTURES: [&Fixture; 4] = [&MHA, &GQA, &PHI2, &PHIMOE];

/// A prompt, the logits at each of its positions, and the 64 tokens that follow.
pub struct Case {
    pub name: String,
    pub prompt: Vec<u32>,
    /// `[prompt.len()][vocab]`.
    pub logits: Vec<Vec<f32>>,
    pub tokens: Vec<u32>,
}

impl Fixture {
    pub fn cases(&self) -> Vec<Case> {
        let cases: serde_json::Value = serde_json::from_str(self.cases).unwrap();
        let ids = |value: &serde_json::Value| {
            value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect::<Vec<_>>()
        };
        let case = |(name, bytes): &(&str, &[u8])| {
            let floats: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            let prompt = ids(&cases[name]["prompt"]);
            let logits = floats.chunks_exact(floats.len() / prompt.len()).map(<[f32]>::to_vec).collect();
            Case { name: (*name).to_owned(), prompt, logits, tokens: ids(&cases[name]["tokens"]) }
        };
        self.logits.iter().map(case).collect()
    }

    pub fn checkpoint(&self) -> Checkpoint {
        let mut reader = safetensors::Reader::new(Some(self.weights.len() as u64));
        reader.push(self.weights).unwrap();
        let header = Box::new(reader).finish().unwrap();
        checkpoint(Config::from_json(self.config, None).unwrap(), header)
    }

    pub fn model<B: Backend>(&self, backend: B) -> Model<B> {
        load(&self.checkpoint(), self.weights, backend, None)
    }

    pub fn session<B: Backend>(&self, backend: B) -> Session<B> {
        Session::new(self.model(backend)).unwrap()
    }
}

/// Runs a future that never waits, as those of the CPU.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the CPU never waits"),
    }
}

/// A checkpoint of one file.
pub fn checkpoint(config: Config, header: Header) -> Checkpoint {
    Checkpoint {
        name: "fixture".to_owned(),
        kind: Kind::Safetensors,
        config,
        texts: Default::default(),
        blobs: Default::default(),
        files: vec!["model.safetensors".to_owned()],
        tensors: header.tensors.iter().map(|info| Located::new(0, info.clone())).collect(),
        headers: vec![header],
        notices: Vec::new(),
        tokenizer: Default::default(),
    }
}

/// Loads a model from a checkpoint of one file.
pub fn load<B: Backend>(checkpoint: &Checkpoint, file: &[u8], backend: B, context: Option<usize>) -> Model<B> {
    let mut loader = Loader::new(checkpoint, backend, context).unwrap();
    for (index, wanted) in loader.wanted().to_vec().into_iter().enumerate() {
        loader.put(index, 0, &file[wanted.span.start as usize..wanted.span.end as usize]).unwrap();
    }
    loader.finish().unwrap()
}

pub fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |max, x| if x <= max { max } else { x })
}

/// Prefills all of `prompt` and gives the logits at its end.
pub async fn logits<B: Backend>(session: &mut Session<B>, prompt: &[u32]) -> Vec<f32> {
    let mut left = session.begin(prompt, Sampling::default()).unwrap();
    while left > 0 {
        left = session.prefill().await.unwrap();
    }
    session.logits().to_vec()
}

/// Up to `count` greedy tokens after `prompt`.
pub async fn greedy<B: Backend>(session: &mut Session<B>, prompt: &[u32], count: usize) -> Vec<u32> {
    session.begin(prompt, Sampling::default()).unwrap();
    let mut tokens = Vec::new();
    while tokens.len() < count {
        match session.next().await.unwrap() {
            Some(token) => tokens.push(token),
            None => break,
        }
    }
    tokens
}

/// Logits within `bound` of transformers' at the end of each prompt and at the prefixes that end it, and the same 64
/// greedy tokens, on every fixture.
pub async fn logits_match<B: Backend>(mut make: impl AsyncFnMut() -> B, bound: f32) {
    for fixture in FIXTURES {
        let mut session = fixture.session(make().await);
        let original = session.model.config.original_context;
        for case in fixture.cases() {
            let n = case.prompt.len();
            // Shorter prefixes may be rotated by other factors than the whole prompt, as transformers has rotated it.
            let first = if n > original { original + 1 } else { 1 };
            for end in (first..=n).filter(|end| *end == n || end % 5 == 0) {
                let ours = logits(&mut session, &case.prompt[..end]).await;
                let difference = max_difference(&ours, &case.logits[end - 1]);
                assert!(difference <= bound, "{} {} at {end}: {difference}", fixture.name, case.name);
            }
            let tokens = greedy(&mut session, &case.prompt, case.tokens.len()).await;
            assert_eq!(tokens, case.tokens, "{} {}", fixture.name, case.name);
        }
    }
}
