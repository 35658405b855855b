//! Models of any size without a file: random weights that follow from a seed, for benchmarks and tests.
//!
//! Any weight can be computed on its own, so a checkpoint of gigabytes is streamed without being stored: as the bytes of a
//! safetensors file ([`Synthetic::read`]), or straight into a [`Loader`] ([`Synthetic::load`]).

use crate::bail;
use crate::checkpoint::{Checkpoint, Kind, Located};
use crate::engine::{Backend, zeros};
use crate::error::{Error, ErrorKind, Result};
use crate::formats::Header;
use crate::num::mix;
use crate::phi::config::{Activation, Biases, Config, Experts, Family, Norm, Rope, Routing};
use crate::phi::model::{Loader, Model};
use crate::phi::names::Role;
use crate::quant::{self, Kernels, Scheme};
use crate::tensor::{DType, TensorInfo};
use std::collections::BTreeMap;

/// A Phi with random weights: matrices ~ (0, 1/cols), norms around 1, biases around 0.
#[derive(Debug, Clone)]
pub struct Synthetic {
    pub config: Config,
    pub seed: u64,
    /// Type of every tensor in the safetensors file: `F32`, `F16` or `BF16`.
    dtype: DType,
    /// The file's first bytes.
    header: Vec<u8>,
    /// With spans in the file.
    tensors: Vec<(Role, TensorInfo)>,
}

/// The benchmark model S: 66 million parameters, 50 million of them read per token.
pub fn small() -> Config {
    config([512, 2048, 8, 8, 8, 32064], 4096)
}

/// The benchmark model M: 552 million parameters, 502 million of them read per token.
pub fn medium() -> Config {
    config([1536, 4096, 16, 16, 16, 32064], 4096)
}

/// A plain Phi-3: hidden size, feed-forward size, layers, heads, heads of keys, vocabulary; and the context.
pub fn config([hidden, ffn, layers, heads, kv_heads, vocab]: [usize; 6], context: usize) -> Config {
    Config {
        architecture: Family::Phi3.architecture().to_owned(),
        family: Family::Phi3,
        vocab,
        hidden,
        ffn,
        layers,
        heads,
        kv_heads,
        head_dim: hidden / heads,
        norm: Norm::Rms,
        norm_eps: 1e-5,
        parallel: false,
        activation: Activation::SwiGlu,
        biases: Biases::default(),
        experts: None,
        tied: false,
        sliding_window: None,
        context,
        original_context: context,
        rope: Rope { theta: 10_000.0, dim: hidden / heads, long: None },
        bos: Some(1),
        eos: Vec::new(), // random logits must not end a measurement
        pad: None,
    }
}

/// The same sizes, as a model of another family has them: a Phi-2 (with its feed-forward layer as wide as llama.cpp takes for
/// granted), or a mixture of sixteen experts.
pub fn of_family(config: Config, family: Family) -> Config {
    let mut config = Config {
        architecture: family.architecture().to_owned(),
        family,
        norm: family.norm(),
        activation: family.activation(),
        ..config
    };
    match family {
        Family::Phi2 => {
            config.parallel = true;
            config.biases = Biases { norm: true, attention: true, ffn: true, output: true };
            (config.ffn, config.kv_heads) = (4 * config.hidden, config.heads);
            config.rope.dim = config.head_dim / 2;
        }
        Family::Phi3 => {}
        Family::PhiMoe => {
            config.biases = Biases { norm: true, attention: true, ffn: false, output: true };
            config.experts = Some(Experts { count: 16, used: 2, routing: Routing::SparseMixer { jitter: 0.01 } });
        }
    }
    config
}

impl Synthetic {
    /// `dtype`: `F32`, `F16` or `BF16`; another fails with `BadOption`.
    pub fn new(config: Config, dtype: DType, seed: u64) -> Result<Self> {
        if dtype.group != 1 {
            bail!(BadOption, "a synthetic checkpoint is F32, F16 or BF16, not {}", dtype.name);
        }
        let mut entries = serde_json::Map::new();
        let mut end = 0;
        let mut tensors = Vec::new();
        let whole = |role: &Role| role.hf_name(config.family).is_some();
        let apart = |role: Role| if whole(&role) { vec![role] } else { role.parts(&config) };
        for role in Role::all(&config).into_iter().flat_map(apart) {
            let (name, shape) = (role.hf_name(config.family).unwrap_or_default(), role.shape(&config));
            let start = end;
            end += shape.iter().product::<u64>() * dtype.group_bytes as u64;
            let entry = serde_json::json!({ "dtype": dtype.name, "shape": shape, "data_offsets": [start, end] });
            entries.insert(name.clone(), entry);
            tensors.push((role, TensorInfo { name, shape, dtype, span: start..end }));
        }
        let mut json = serde_json::Value::Object(entries).to_string();
        json.push_str(&" ".repeat(json.len().next_multiple_of(8) - json.len()));
        let header = [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
        for (_, tensor) in &mut tensors {
            let start = header.len() as u64;
            tensor.span = start + tensor.span.start..start + tensor.span.end;
        }
        Ok(Self { config, seed, dtype, header, tensors })
    }

    /// config.json, as transformers 5 writes it.
    pub fn config_json(&self) -> String {
        let c = &self.config;
        let partial = c.rope.dim as f64 / c.head_dim as f64;
        let mut json = serde_json::json!({
            "architectures": [c.architecture], "model_type": c.family.model_type(), "dtype": self.torch_dtype(),
            "hidden_act": match c.activation { Activation::SwiGlu => "silu", Activation::Gelu => "gelu_new" },
            "vocab_size": c.vocab, "hidden_size": c.hidden, "intermediate_size": c.ffn,
            "num_hidden_layers": c.layers, "num_attention_heads": c.heads, "num_key_value_heads": c.kv_heads,
            "max_position_embeddings": c.context, "original_max_position_embeddings": c.original_context,
            "sliding_window": c.sliding_window, "tie_word_embeddings": c.tied,
            "rope_parameters": { "rope_type": "default", "rope_theta": c.rope.theta, "partial_rotary_factor": partial },
            "bos_token_id": c.bos, "eos_token_id": c.eos, "pad_token_id": c.pad,
        });
        json[if c.family == Family::Phi2 { "layer_norm_eps" } else { "rms_norm_eps" }] = c.norm_eps.into();
        if let Some(experts) = &c.experts {
            json["num_local_experts"] = experts.count.into();
            json["num_experts_per_tok"] = experts.used.into();
            json["attention_bias"] = c.biases.attention.into();
            json["lm_head_bias"] = c.biases.output.into();
            if let Routing::SparseMixer { jitter } = experts.routing {
                json["router_jitter_noise"] = jitter.into();
            }
        }
        format!("{json:#}\n")
    }

    fn torch_dtype(&self) -> &'static str {
        match self.dtype.name {
            "F32" => "float32",
            "F16" => "float16",
            _ => "bfloat16",
        }
    }

    /// Length of the safetensors file.
    pub fn bytes(&self) -> u64 {
        self.tensors.last().map_or(self.header.len() as u64, |(_, tensor)| tensor.span.end)
    }

    /// The bytes of the safetensors file from `offset` on; `out` must end within it.
    pub fn read(&self, offset: u64, out: &mut [u8]) {
        let end = offset + out.len() as u64;
        if offset < self.header.len() as u64 {
            let header = &self.header[offset as usize..self.header.len().min(end as usize)];
            out[..header.len()].copy_from_slice(header);
        }
        let scheme = quant::by_name(self.dtype.name).expect("new() has checked it");
        let size = self.dtype.group_bytes as u64;
        let (mut values, mut bytes) = ([0.0; 1024], [0; 4096]);
        for (role, tensor) in &self.tensors {
            let (mut at, stop) = (offset.max(tensor.span.start), end.min(tensor.span.end));
            while at < stop {
                let first = (at - tensor.span.start) / size;
                let values = &mut values[..(tensor.bytes() / size - first).min(1024) as usize];
                self.fill(*role, first, values);
                let bytes = &mut bytes[..values.len() * size as usize];
                scheme.quantize(Kernels::best(), values, values.len(), None, &mut [bytes]).expect("finite weights");
                let skip = (at - tensor.span.start - first * size) as usize;
                let piece = (bytes.len() - skip).min((stop - at) as usize);
                out[(at - offset) as usize..][..piece].copy_from_slice(&bytes[skip..][..piece]);
                at += piece as u64;
            }
        }
    }

    /// The checkpoint with its tensors as they stand in the safetensors file.
    pub fn checkpoint(&self) -> Checkpoint {
        self.describe(self.tensors.iter().map(|(_, tensor)| tensor.clone()).collect())
    }

    fn describe(&self, tensors: Vec<TensorInfo>) -> Checkpoint {
        Checkpoint {
            name: "synthetic".to_owned(),
            kind: Kind::Safetensors,
            config: self.config.clone(),
            texts: BTreeMap::from([("config.json".to_owned(), self.config_json())]),
            blobs: BTreeMap::new(),
            files: vec!["model.safetensors".to_owned()],
            tensors: tensors.iter().map(|info| Located::new(0, info.clone())).collect(),
            headers: vec![Header { tensors, data_start: self.header.len() as u64, ..Header::default() }],
            notices: Vec::new(),
            tokenizer: Default::default(),
        }
    }

    /// A model with every matrix quantized by the scheme that `scheme` names for its role (`Q4_0`); a few rows at a time.
    pub fn load<B: Backend>(
        &self,
        backend: B,
        context: Option<usize>,
        scheme: impl Fn(Role) -> &'static str,
    ) -> Result<Model<B>> {
        let find = |role: Role| -> Result<&'static dyn Scheme> {
            // A router is small and stays F32, as in a GGUF.
            let name = if role.is_matrix() && !matches!(role, Role::Router(_)) { scheme(role) } else { "F32" };
            quant::by_name(name).ok_or_else(|| Error::new(ErrorKind::BadOption, format!("there is no scheme {name}")))
        };
        let mut end = 0;
        let mut tensors = Vec::new();
        for (role, tensor) in &self.tensors {
            let dtype = find(*role)?.spec().dtype;
            let start = end;
            end += tensor.rows() * dtype.row_bytes(tensor.cols()).unwrap_or(0);
            tensors.push(TensorInfo { dtype, span: start..end, ..tensor.clone() });
        }
        let mut loader = Loader::new(&self.describe(tensors), backend, context)?;
        for (index, wanted) in loader.wanted().to_vec().into_iter().enumerate() {
            let (role, tensor) = self.tensors.iter().find(|(_, it)| it.name == wanted.tensor).expect("described above");
            let (scheme, cols) = (find(*role)?, tensor.cols() as usize);
            let most = (1 << 16) / cols + 1; // rows at a time
            let mut values = zeros(most * cols)?;
            let mut bytes = zeros(most * wanted.row_bytes as usize)?;
            for row in (0..tensor.rows()).step_by(most) {
                let count = (tensor.rows() - row).min(most as u64) as usize;
                let (values, bytes) = (&mut values[..count * cols], &mut bytes[..count * wanted.row_bytes as usize]);
                self.fill(*role, row * cols as u64, values);
                scheme.quantize(Kernels::best(), values, cols, None, &mut [bytes])?;
                loader.put(index, row, bytes)?;
            }
        }
        loader.finish()
    }

    /// The weights of a tensor from element `first` on, before they are rounded to a type.
    pub fn fill(&self, role: Role, first: u64, out: &mut [f32]) {
        // Those without a name in GGUF are one expert's.
        let name = role.gguf_name().or_else(|| role.hf_name(self.config.family)).unwrap_or_default();
        let tensor = name.bytes().fold(mix(self.seed), |hash, byte| mix(hash ^ u64::from(byte)));
        let cols = *role.shape(&self.config).last().expect("no scalars") as f32;
        let (center, width) = match role.is_matrix() {
            true => (0.0, 1.0 / cols.sqrt()),
            false if name.ends_with(".bias") => (0.0, 0.1),
            false => (1.0, 0.1),
        };
        for (out, n) in out.iter_mut().zip(first..) {
            *out = center + width * bell(mix(tensor.wrapping_add(n)));
        }
    }
}

/// Mean 0, variance 1: the sum of four uniform numbers, which is within a few hundredths of a Gaussian.
fn bell(bits: u64) -> f32 {
    let sum: i32 = [bits, bits >> 16, bits >> 32, bits >> 48].map(|part| (part & 0xffff) as i32).iter().sum();
    (sum - 0x1_fffe) as f32 * (1.732_050_8 / 65536.0)
}
