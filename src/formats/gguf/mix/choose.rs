//! Which type each tensor of a model gets.

use super::{Matrix, Mix, Place, fit};
use crate::formats::gguf::types;
use crate::tensor::DType;

/// A tensor of the file to be written, as far as mixes look at it; the shape is row-major.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    pub name: &'a str,
    pub shape: &'a [u64],
}

/// What mixes ask about a model.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    pub layers: usize,
    /// Query heads per key head.
    pub gqa: usize,
    /// 0 for a dense model.
    pub experts: usize,
}

/// What a person asked for.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub mix: &'static Mix,
    /// The mix's base for every matrix (llama-quantize's `--pure`).
    pub pure: bool,
    /// There is an importance matrix.
    pub importance: bool,
    /// `--output-tensor-type`
    pub output: Option<DType>,
    /// `--token-embedding-type`
    pub token_embedding: Option<DType>,
    /// `--tensor-type`: the type that is asked for a tensor, by its index.
    pub manual: &'a dyn Fn(usize) -> Option<DType>,
}

/// A matrix' type: `dtype` is `wanted`, or what its rows divide into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice {
    pub dtype: DType,
    pub wanted: DType,
}

/// Whether llama-quantize touches a tensor: matrices, but no norms and no expert router.
pub fn is_quantizable(tensor: &Tensor) -> bool {
    let rows = tensor.shape.split_last().map_or(1, |(_, outer)| outer.iter().copied().max().unwrap_or(1));
    let name = tensor.name;
    rows > 1 && name.ends_with("weight") && !name.contains("_norm.weight") && !name.contains("ffn_gate_inp.weight")
}

/// The layer in a tensor's name.
fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// The type of each tensor, in the order given; `None` for those that stay as they are.
///
/// llama-quantize counts the matrices of a kind that its rules see, in the order of layers and names, and takes the count
/// for the layer: a matrix whose type was asked for by hand moves the rules' places in the layers after it. With experts it
/// reads the layer from the name for `ffn_down`. Both are kept, for they decide bytes.
pub fn choose(model: &Model, tensors: &[Tensor], request: &Request) -> Vec<Option<Choice>> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| (layer(tensors[i].name).map_or(0, |layer| layer + 1), tensors[i].name));
    let tied = tensors.iter().all(|tensor| tensor.name != "output.weight");
    let values = tensors.iter().filter(|tensor| Matrix::of(tensor.name) == Matrix::AttentionV).count();
    let (mut seen_values, mut seen_downs) = (0, 0);

    let mut choices = vec![None; tensors.len()];
    for i in order {
        let tensor = &tensors[i];
        if !is_quantizable(tensor) {
            continue;
        }
        let matrix = Matrix::of(tensor.name);
        let asked = match matrix {
            Matrix::TokenEmbedding => request.token_embedding,
            Matrix::Output => request.output,
            _ => None,
        };
        let wanted = asked.or_else(|| (request.manual)(i)).unwrap_or_else(|| {
            if request.pure {
                return base(request.mix.base);
            }
            let (index, count) = match matrix {
                Matrix::AttentionV => (seen_values, values),
                Matrix::FfnDown if model.experts > 1 => (layer(tensor.name).unwrap_or(0), model.layers),
                _ => (seen_downs, model.layers),
            };
            seen_values += usize::from(matrix == Matrix::AttentionV);
            seen_downs += usize::from(matrix == Matrix::FfnDown);
            let stacked = tensor.shape.len() > 2;
            let Model { gqa, experts, .. } = *model;
            let place = Place { index, count, gqa, experts, stacked, importance: request.importance };
            match request.output {
                Some(output) if tied && matrix == Matrix::TokenEmbedding => output,
                _ => base(request.mix.scheme(matrix, &place, tied)),
            }
        });
        let cols = tensor.shape.last().copied().unwrap_or(1);
        choices[i] = Some(Choice { dtype: fit(wanted, cols), wanted });
    }
    choices
}

fn base(name: &str) -> DType {
    types::by_name(name).expect("a test sees to it that mixes name GGUF's types")
}
