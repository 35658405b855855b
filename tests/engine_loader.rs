//! The loader: any order, parts or whole, and what it refuses; synthetic checkpoints.

mod common;

use common::{GQA, greedy, load, logits, ready};
use phiquant::checkpoint::{Checkpoint, Located};
use phiquant::engine::Backend;
use phiquant::engine::cpu::Cpu;
use phiquant::formats::{HeaderReader, safetensors};
use phiquant::phi::config::{Config, Family};
use phiquant::phi::decode::Session;
use phiquant::phi::model::{DEFAULT_CONTEXT, Loader};
use phiquant::phi::names::Role;
use phiquant::phi::synthetic::{self, Synthetic};
use phiquant::tensor::DType;
use phiquant::{Error, ErrorKind};

fn refused(checkpoint: &Checkpoint, context: Option<usize>) -> Error {
    Loader::new(checkpoint, Cpu::default(), context).err().expect("must be refused")
}

#[test]
fn rows_may_come_in_any_order() {
    let case = GQA.cases().remove(0);
    let mut loader = Loader::new(&GQA.checkpoint(), Cpu::default(), None).unwrap();
    let wanted = loader.wanted().to_vec();
    assert!(wanted.is_sorted_by_key(|it| (it.file, it.span.start)));
    for (index, wanted) in wanted.iter().enumerate().rev() {
        let bytes = &GQA.weights[wanted.span.start as usize..wanted.span.end as usize];
        let rows = bytes.len() as u64 / wanted.row_bytes;
        // Odd rows one by one, then even ones.
        for row in (1..rows).step_by(2).chain((0..rows).step_by(2)) {
            let row_bytes = &bytes[(row * wanted.row_bytes) as usize..][..wanted.row_bytes as usize];
            loader.put(index, row, row_bytes).unwrap();
        }
    }
    let mut session = Session::new(loader.finish().unwrap()).unwrap();
    assert_eq!(ready(greedy(&mut session, &case.prompt, 64)), case.tokens);
}

/// Cuts a tensor into parts, as checkpoints with separate projections have them.
fn split(checkpoint: &mut Checkpoint, whole: Role, parts: &[Role]) {
    let name = whole.hf_name(Family::Phi3).unwrap();
    let at = checkpoint.tensors.iter().position(|it| it.info.name == name).unwrap();
    let whole = checkpoint.tensors.remove(at);
    let mut start = whole.info.span.start;
    for part in parts {
        let mut info = whole.info.clone();
        (info.name, info.shape) = (part.hf_name(Family::Phi3).unwrap(), part.shape(&checkpoint.config));
        info.span = start..start + info.rows() * info.dtype.row_bytes(info.cols()).unwrap();
        start = info.span.end;
        checkpoint.tensors.push(Located::new(0, info));
    }
    assert_eq!(start, whole.info.span.end);
}

#[test]
fn separate_projections_equal_fused_ones() {
    let case = GQA.cases().remove(0);
    let mut checkpoint = GQA.checkpoint();
    for n in 0..2 {
        split(&mut checkpoint, Role::Qkv(n), &[Role::QkvPart(n, 0), Role::QkvPart(n, 1), Role::QkvPart(n, 2)]);
        split(&mut checkpoint, Role::FfnUp(n), &[Role::FfnUpPart(n, 0), Role::FfnUpPart(n, 1)]);
    }
    let mut parts = Session::new(load(&checkpoint, GQA.weights, Cpu::default(), None)).unwrap();
    let fused = ready(logits(&mut GQA.session(Cpu::default()), &case.prompt));
    assert_eq!(ready(logits(&mut parts, &case.prompt)), fused);

    // One part missing: it is that one which is named.
    checkpoint.tensors.retain(|it| it.info.name != Role::QkvPart(1, 2).hf_name(Family::Phi3).unwrap());
    let error = refused(&checkpoint, None);
    assert_eq!(error.kind, ErrorKind::MissingTensor);
    assert_eq!(error.tensor.as_deref(), Some("model.layers.1.self_attn.v_proj.weight"));
}

#[test]
fn what_does_not_fit_is_named() {
    let change = |name: &str, change: fn(&mut Checkpoint, usize)| {
        let mut checkpoint = GQA.checkpoint();
        let at = checkpoint.tensors.iter().position(|it| it.info.name == name).unwrap();
        change(&mut checkpoint, at);
        let error = refused(&checkpoint, None);
        assert_eq!(error.tensor.as_deref(), Some(name));
        error.kind
    };
    let norm = "model.layers.1.input_layernorm.weight";
    let down = "model.layers.0.mlp.down_proj.weight";
    let remove: fn(&mut Checkpoint, usize) = |it, at| drop(it.tensors.remove(at));
    assert_eq!(change(norm, remove), ErrorKind::MissingTensor);
    assert_eq!(change(down, remove), ErrorKind::MissingTensor);
    assert_eq!(change(down, |it, at| it.tensors[at].info.shape.reverse()), ErrorKind::BadShape);
    assert_eq!(change(norm, |it, at| it.tensors[at].info.shape[0] += 1), ErrorKind::BadShape);
    assert_eq!(change(down, |it, at| it.tensors[at].info.span.end -= 2), ErrorKind::BadHeader);
    let unknown = |it: &mut Checkpoint, at: usize| it.tensors[at].info.dtype.name = "I16";
    assert_eq!(change(down, unknown), ErrorKind::Unsupported);
    // 192 columns in groups of 256.
    let group = |it: &mut Checkpoint, at: usize| {
        it.tensors[at].info.dtype = DType { name: "Q6_K", group: 256, group_bytes: 210 };
    };
    assert_eq!(change(down, group), ErrorKind::BadShape);
}

#[test]
fn untied_models_need_an_output_matrix() {
    let mut checkpoint = GQA.checkpoint();
    checkpoint.config.tied = false;
    let error = refused(&checkpoint, None);
    assert_eq!((error.kind, error.tensor.as_deref()), (ErrorKind::MissingTensor, Some("lm_head.weight")));
}

#[test]
fn the_context_is_the_models_at_most() {
    for context in [0, 385] {
        let error = refused(&GQA.checkpoint(), Some(context));
        assert_eq!(error.kind, ErrorKind::BadOption);
        assert!(error.message.contains(&context.to_string()), "{error}");
    }
    assert_eq!(load(&GQA.checkpoint(), GQA.weights, Cpu::default(), Some(384)).context, 384);
    // Unasked, a model made for 128k tokens does not take gigabytes for its cache.
    let long = Synthetic::new(synthetic::config([32, 32, 1, 1, 1, 32], 1 << 17), DType::BF16, 1).unwrap();
    assert_eq!(long.load(Cpu::default(), None, |_| "F32").unwrap().context, DEFAULT_CONTEXT);
}

#[test]
fn an_incomplete_load_names_the_tensor() {
    let mut loader = Loader::new(&GQA.checkpoint(), Cpu::default(), None).unwrap();
    let wanted = loader.wanted().to_vec();
    let last = wanted.len() - 1;
    for (index, wanted) in wanted.iter().enumerate() {
        let keep = if index == last { wanted.row_bytes } else { 0 };
        loader.put(index, 0, &GQA.weights[wanted.span.start as usize..(wanted.span.end - keep) as usize]).unwrap();
    }
    let error = loader.finish().err().unwrap();
    assert_eq!(error.kind, ErrorKind::Truncated);
    assert_eq!(error.tensor.as_deref(), Some(wanted[last].tensor.as_str()));
}

#[test]
fn no_memory_is_an_error() {
    let cpu = Cpu::default();
    assert_eq!(cpu.buffer(usize::MAX / 8).unwrap_err().kind, ErrorKind::OutOfMemory);
    let huge = cpu.matrix(DType::F32, usize::MAX / 64, 64).err().unwrap();
    assert_eq!(huge.kind, ErrorKind::OutOfMemory);
}

fn tiny() -> Config {
    Config { tied: true, ..synthetic::config([64, 96, 2, 4, 2, 160], 128) }
}

#[test]
fn a_synthetic_checkpoint_reads_like_a_file() {
    for family in [Family::Phi2, Family::Phi3, Family::PhiMoe] {
        reads_like_a_file(Synthetic::new(synthetic::of_family(tiny(), family), DType::BF16, 7).unwrap());
    }
}

fn reads_like_a_file(synthetic: Synthetic) {
    let mut file = vec![0; synthetic.bytes() as usize];
    synthetic.read(0, &mut file);
    let mut reader = safetensors::Reader::new(Some(synthetic.bytes()));
    reader.push(&file).unwrap();
    let header = Box::new(reader).finish().unwrap();
    let json = synthetic.config_json();
    let config = Config { eos: Vec::new(), ..Config::from_json(&json, None).unwrap() };
    assert_eq!(config, synthetic.config);
    assert_eq!(synthetic.checkpoint().headers[0].tensors, header.tensors);
    // Any piece on its own is the same.
    for (offset, length) in [(0, 9), (7, 1000), (file.len() - 5001, 5001), (1501, 3), (1500, 30_001)] {
        let mut piece = vec![0; length];
        synthetic.read(offset as u64, &mut piece);
        assert_eq!(piece, file[offset..][..length], "{length} bytes at {offset}");
    }

    let prompt = [3, 1, 4, 1, 5];
    let mut streamed = Session::new(load(&synthetic.checkpoint(), &file, Cpu::default(), None)).unwrap();
    let mut direct = Session::new(synthetic.load(Cpu::default(), None, |_| "BF16").unwrap()).unwrap();
    assert_ne!(ready(logits(&mut direct, &prompt)), vec![0.0; 160]);
    // Norms, biases and routers are not rounded to BF16 by a direct load: close, not equal. (And other experts are chosen where
    // scores are close.)
    let difference = common::max_difference(streamed_logits(&mut streamed, &prompt), direct.logits());
    assert!(difference < 0.05 || synthetic.config.experts.is_some(), "{difference}");
}

fn streamed_logits<'a, B: Backend>(session: &'a mut Session<B>, prompt: &[u32]) -> &'a [f32] {
    ready(logits(session, prompt));
    session.logits()
}
