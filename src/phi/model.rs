//! A model on a device: which tensors it wants, in which form, and where they are put.

use crate::bail;
use crate::checkpoint::{Checkpoint, Piece};
use crate::engine::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::phi::cache::RopeTables;
use crate::phi::config::Config;
use crate::phi::names::Role;
use crate::quant::{self, Kernels};
use crate::tensor::DType;
use std::collections::BTreeMap;
use std::ops::Range;

/// Tokens that the KV cache has room for unless the caller says otherwise (or the model was made for fewer).
pub const DEFAULT_CONTEXT: usize = 4096;

/// A span of a weight file that the loader wants, whole rows at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub tensor: String,
    /// Index into [`Checkpoint::files`].
    pub file: usize,
    pub span: Range<u64>,
    /// Bytes of one row: pieces given to [`Loader::put`] are multiples of it.
    pub row_bytes: u64,
}

/// Weights on a device, in the form that it likes.
pub struct Model<B: Backend> {
    pub config: Config,
    pub backend: B,
    /// Tokens that the KV cache has room for.
    pub context: usize,
    /// `[vocab, hidden]`.
    pub(super) embedding: B::Matrix,
    pub(super) layers: Vec<Layer<B>>,
    pub(super) output_norm: NormWeights<B>,
    /// `[vocab, hidden]`; `None`: the embedding, tied.
    pub(super) output: Option<B::Matrix>,
    /// `[vocab]`.
    pub(super) output_bias: Option<B::Buffer>,
    pub(super) rope: RopeTables<B>,
}

/// One layer's weights.
pub(super) struct Layer<B: Backend> {
    pub attention_norm: NormWeights<B>,
    /// `[(heads + 2·kv_heads)·head_dim, hidden]`.
    pub qkv: Linear<B>,
    /// `[hidden, heads·head_dim]`.
    pub attention_output: Linear<B>,
    /// `None`: the feed-forward layer reads the attention's norm.
    pub ffn_norm: Option<NormWeights<B>>,
    pub ffn: Ffn<B>,
}

/// `[hidden]`, both.
pub(super) struct NormWeights<B: Backend> {
    pub weight: B::Buffer,
    pub bias: Option<B::Buffer>,
}

/// Rows of weights, and a bias for each.
pub(super) struct Linear<B: Backend> {
    /// One matrix, or several of different types, each with its first row.
    pub matrices: Vec<(usize, B::Matrix)>,
    /// Rows of all.
    pub rows: usize,
    pub bias: Option<B::Buffer>,
}

/// The feed-forward layer.
pub(super) enum Ffn<B: Backend> {
    Dense {
        /// `[2·ffn, hidden]`: gate, then up; or `[ffn, hidden]`.
        up: Linear<B>,
        /// `[hidden, ffn]`.
        down: Linear<B>,
    },
    Experts {
        /// `[count, hidden]`.
        router: Linear<B>,
        /// Stacks, `[count, 2·ffn, hidden]`: gates, then ups.
        up: Linear<B>,
        /// A stack, `[count, hidden, ffn]`.
        down: Linear<B>,
    },
}

/// Where a wanted tensor goes.
struct Target {
    /// The tensor that is being filled, and the row (or element) of it where this part begins.
    role: Role,
    first: u64,
    rows: u64,
    /// Rows that have come so far.
    seen: u64,
    dtype: DType,
}

/// A tensor on its way: a matrix is packed by the device as rows come; a vector is one row, widened to f32.
enum Slot<B: Backend> {
    Matrix(DType, B::Matrix),
    Vector(Vec<f32>),
}

/// Takes the weights as they stream in, in any order, and makes a model.
pub struct Loader<B: Backend> {
    backend: B,
    config: Config,
    context: usize,
    wanted: Vec<Wanted>,
    /// One for each of `wanted`.
    targets: Vec<Target>,
    slots: BTreeMap<Role, Slot<B>>,
}

impl<B: Backend> Loader<B> {
    /// Checks that every tensor is there in the shape that the configuration implies, and makes room for it.
    /// `context`: tokens that the KV cache will hold; by default the model's own, at most [`DEFAULT_CONTEXT`].
    ///
    /// Fails with `MissingTensor`, `BadShape`, `Unsupported` (a dtype without a kernel), `BadOption`, `OutOfMemory`.
    pub fn new(checkpoint: &Checkpoint, backend: B, context: Option<usize>) -> Result<Self> {
        let config = checkpoint.config.clone();
        let context = context.unwrap_or(config.context.min(DEFAULT_CONTEXT));
        if context == 0 || context > config.context {
            bail!(BadOption, "the context length is {context}; this model takes 1 to {} tokens", config.context);
        }
        let mut loader =
            Self { backend, config, context, wanted: Vec::new(), targets: Vec::new(), slots: BTreeMap::new() };

        let mut pieces = Vec::new();
        for role in checkpoint.needed() {
            let found = checkpoint.pieces(role)?;
            // Parts of one type make one matrix; of several types (llama-quantize gives values more bits), several.
            let one = found.iter().all(|piece| piece.located.info.dtype == found[0].located.info.dtype);
            pieces.extend(found.into_iter().map(|piece| match piece.located.role {
                Some(part) if !one => (part, Piece { row: 0, ..piece }),
                _ => (role, piece),
            }));
        }
        pieces.sort_by_key(|(_, piece)| (piece.located.file, piece.located.info.span.start));
        for (role, piece) in pieces {
            loader.want(role, &piece).map_err(|error| error.in_tensor(&piece.located.info.name))?;
        }
        Ok(loader)
    }

    /// Makes room for one tensor, all of `whole` or a part of it.
    fn want(&mut self, whole: Role, piece: &Piece) -> Result<()> {
        let (info, file) = (&piece.located.info, piece.located.file);
        let shape = piece.located.role.unwrap_or(whole).shape(&self.config);
        if info.shape != shape {
            bail!(BadShape, "the shape is {:?}, but the configuration implies {shape:?}", info.shape);
        }
        let Some(row_bytes) = info.dtype.row_bytes(info.cols()) else {
            bail!(
                BadShape,
                "{} needs rows of a multiple of {}, not {}",
                info.dtype.name,
                info.dtype.group,
                info.cols()
            );
        };
        if info.rows().checked_mul(row_bytes) != Some(info.bytes()) {
            bail!(BadHeader, "{} bytes for {} rows of {row_bytes} bytes", info.bytes(), info.rows());
        }
        match self.slots.get(&whole) {
            None => {
                let slot = match whole.shape(&self.config)[..] {
                    [cols] => Slot::Vector(crate::engine::zeros(size(cols)?)?),
                    [rows, cols] => {
                        Slot::Matrix(info.dtype, self.backend.matrix(info.dtype, size(rows)?, size(cols)?)?)
                    }
                    [count, rows, cols] => {
                        let [count, rows, cols] = [size(count)?, size(rows)?, size(cols)?];
                        Slot::Matrix(info.dtype, self.backend.stack(info.dtype, count, rows, cols)?)
                    }
                    _ => unreachable!("tensors have one to three dimensions"),
                };
                self.slots.insert(whole, slot);
            }
            Some(Slot::Matrix(dtype, _)) if *dtype != info.dtype => {
                bail!(Unsupported, "it is {}, but the tensor it belongs with is {}", info.dtype.name, dtype.name)
            }
            Some(_) => {}
        }
        self.targets.push(Target { role: whole, first: piece.row, rows: info.rows(), seen: 0, dtype: info.dtype });
        self.wanted.push(Wanted { tensor: info.name.clone(), file, span: info.span.clone(), row_bytes });
        Ok(())
    }

    /// In file order.
    pub fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    /// Whole rows of `wanted()[index]`, beginning with row `row`. In any order, each row once.
    pub fn put(&mut self, index: usize, row: u64, bytes: &[u8]) -> Result<()> {
        self.take(index, row, bytes).map_err(|error| error.in_tensor(&self.wanted[index].tensor))
    }

    fn take(&mut self, index: usize, row: u64, bytes: &[u8]) -> Result<()> {
        let (wanted, target) = (&self.wanted[index], &mut self.targets[index]);
        let (given, row_bytes) = (bytes.len() as u64, wanted.row_bytes);
        let rows = given / row_bytes;
        if !given.is_multiple_of(row_bytes) || row.checked_add(rows).is_none_or(|end| end > target.rows) {
            bail!(Internal, "{given} bytes at row {row} are not whole rows of {row_bytes} bytes of {}", target.rows);
        }
        if rows == 0 {
            return Ok(());
        }
        target.seen += rows;
        match self.slots.get_mut(&target.role).expect("every target has a slot") {
            Slot::Matrix(_, matrix) => self.backend.fill(matrix, size(target.first + row)?, bytes),
            Slot::Vector(values) => {
                let part = widen(target.dtype, bytes)?;
                values[size(target.first)?..][..part.len()].copy_from_slice(&part);
                Ok(())
            }
        }
    }

    /// The model, once every row has come; `Truncated` names a tensor that is incomplete.
    pub fn finish(mut self) -> Result<Model<B>> {
        for (target, wanted) in self.targets.iter().zip(&self.wanted) {
            if target.seen != target.rows {
                let message = format!("only {} of {} rows have come", target.seen, target.rows);
                return Err(Error::new(ErrorKind::Truncated, message).in_tensor(&wanted.tensor));
            }
        }
        if self.slots.contains_key(&Role::RopeFactorsLong) {
            let (long, short) = (self.vector(Role::RopeFactorsLong), self.vector(Role::RopeFactorsShort));
            if long.iter().chain(&short).any(|factor| !factor.is_finite() || *factor <= 0.0) {
                bail!(NotFinite, "one of LongRoPE's factors is not a positive number");
            }
            let rope = self.config.rope.long.as_mut().expect("asked for in roles()");
            (rope.long, rope.short) = (long, short);
        }
        let layers = (0..self.config.layers).map(|n| self.layer(n)).collect::<Result<_>>()?;
        Ok(Model {
            layers,
            embedding: self.matrix(Role::TokenEmbedding),
            output_norm: self.norm(Role::OutputNorm, Role::OutputNormBias)?,
            output: (!self.config.tied).then(|| self.matrix(Role::Output)),
            output_bias: self.bias(Role::OutputBias)?,
            rope: RopeTables::new(&self.backend, &self.config, self.context)?,
            config: self.config,
            backend: self.backend,
            context: self.context,
        })
    }

    fn layer(&mut self, n: usize) -> Result<Layer<B>> {
        let ffn = if self.config.experts.is_some() {
            // Gates and ups stand side by side in the products' rows.
            let (gate, up) = (self.linear(&[Role::Experts(n, 0)], None)?, self.linear(&[Role::Experts(n, 1)], None)?);
            let width = self.config.ffn;
            let matrices = gate.matrices.into_iter().chain(up.matrices.into_iter().map(|(_, up)| (width, up)));
            Ffn::Experts {
                router: self.linear(&[Role::Router(n)], None)?,
                up: Linear { matrices: matrices.collect(), rows: 2 * width, bias: None },
                down: self.linear(&[Role::Experts(n, 2)], None)?,
            }
        } else {
            let parts = Role::FfnUp(n).parts(&self.config);
            Ffn::Dense {
                up: self.linear(&[&[Role::FfnUp(n)], &parts[..]].concat(), Some(Role::FfnUpBias(n)))?,
                down: self.linear(&[Role::FfnDown(n)], Some(Role::FfnDownBias(n)))?,
            }
        };
        let qkv = [Role::Qkv(n), Role::QkvPart(n, 0), Role::QkvPart(n, 1), Role::QkvPart(n, 2)];
        Ok(Layer {
            attention_norm: self.norm(Role::AttentionNorm(n), Role::AttentionNormBias(n))?,
            qkv: self.linear(&qkv, Some(Role::QkvBias(n)))?,
            attention_output: self.linear(&[Role::AttentionOutput(n)], Some(Role::AttentionOutputBias(n)))?,
            ffn_norm: match self.config.parallel {
                true => None,
                false => Some(self.norm(Role::FfnNorm(n), Role::FfnNormBias(n))?),
            },
            ffn,
        })
    }

    /// The matrices of these roles that have been made, side by side.
    fn linear(&mut self, roles: &[Role], bias: Option<Role>) -> Result<Linear<B>> {
        let (mut matrices, mut rows) = (Vec::new(), 0);
        for role in roles {
            if let Some(Slot::Matrix(_, matrix)) = self.slots.remove(role) {
                matrices.push((rows, matrix));
                rows += role.shape(&self.config).iter().rev().nth(1).map_or(Ok(0), |&rows| size(rows))?;
            }
        }
        let bias = bias.map(|role| self.bias(role)).transpose()?.flatten();
        Ok(Linear { matrices, rows, bias })
    }

    fn matrix(&mut self, role: Role) -> B::Matrix {
        match self.slots.remove(&role) {
            Some(Slot::Matrix(_, matrix)) => matrix,
            _ => unreachable!("new() has made a matrix for {role:?}"),
        }
    }

    fn vector(&mut self, role: Role) -> Vec<f32> {
        match self.slots.remove(&role) {
            Some(Slot::Vector(values)) => values,
            _ => unreachable!("new() has made a vector for {role:?}"),
        }
    }

    fn norm(&mut self, weight: Role, bias: Role) -> Result<NormWeights<B>> {
        let values = self.vector(weight);
        Ok(NormWeights { weight: self.backend.upload(&values)?, bias: self.bias(bias)? })
    }

    /// `None` where the model has no such bias.
    fn bias(&mut self, role: Role) -> Result<Option<B::Buffer>> {
        match self.slots.remove(&role) {
            Some(Slot::Vector(values)) => self.backend.upload(&values).map(Some),
            _ => Ok(None),
        }
    }
}

/// A vector's elements as f32.
fn widen(dtype: DType, bytes: &[u8]) -> Result<Vec<f32>> {
    let Some(scheme) = quant::by_name(dtype.name) else {
        bail!(Unsupported, "there is no scheme {}", dtype.name);
    };
    let mut values = crate::engine::zeros(bytes.len() / dtype.group_bytes * dtype.group)?;
    let cols = values.len();
    scheme.dequantize(Kernels::best(), &[bytes], cols, &mut values);
    Ok(values)
}

/// A count that must fit this machine's memory.
fn size(n: u64) -> Result<usize> {
    match usize::try_from(n) {
        Ok(n) => Ok(n),
        Err(_) => bail!(OutOfMemory, "{n} rows do not fit the memory of this machine"),
    }
}
