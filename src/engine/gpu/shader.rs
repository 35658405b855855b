//! The shaders: WGSL files with one `main` each, put together by `#import "path"`, and the pipelines made of them.
//!
//! A family is one file under `shaders/`. Where its text says `{variant}` (in an import's path), it stands for one shader
//! per entry of `variants`.

use super::device::Gpu;
use super::params;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// How a shader uses a storage buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

use Access::{Read, Write};

/// A shader, or one per variant. Binding 0 is the uniform `params`; the storage buffers follow.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// The file's path under `shaders/`, without `.wgsl`.
    pub name: &'static str,
    pub variants: &'static [&'static str],
    pub storage: &'static [Access],
    /// Name and offset of each field of the Rust struct that fills `params`.
    pub params: &'static [(&'static str, usize)],
}

/// Types of weights that a quantizer reads.
pub const SOURCES: &[&str] = &["f32", "f16", "bf16"];

const fn quantizer(name: &'static str) -> Family {
    Family { name, variants: SOURCES, storage: &[Read, Write, Write], params: params::Quantize::FIELDS }
}

/// Types of weights that the matrix shaders read: one file each under shaders/unpack/.
pub const SCHEMES: &[&str] = &[
    "f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl",
    "iq4_xs", "tq2_0", "mxfp4",
];

const fn plain(name: &'static str, storage: &'static [Access], params: &'static [(&'static str, usize)]) -> Family {
    Family { name, variants: &[""], storage, params }
}

/// Quants and scales come first.
const fn matrix(name: &'static str, params: &'static [(&'static str, usize)]) -> Family {
    Family { name, variants: SCHEMES, storage: &[Read, Read, Read, Write], params }
}

/// Every shader of the project.
pub static FAMILIES: &[Family] = &[
    matrix("ops/embed", params::Embed::FIELDS),
    matrix("ops/matvec", params::Matmul::FIELDS),
    matrix("ops/matmul", params::Matmul::FIELDS),
    Family {
        name: "ops/matvec_routed",
        variants: SCHEMES,
        storage: &[Read, Read, Read, Read, Write],
        params: params::Routed::FIELDS,
    },
    plain("ops/route", &[Read, Write], params::Route::FIELDS),
    plain("ops/combine", &[Read, Read, Write], params::Combine::FIELDS),
    plain("ops/norm", &[Read, Read, Read, Write], params::Norm::FIELDS),
    plain("ops/rope", &[Write, Read], params::Rope::FIELDS),
    plain("ops/store", &[Read, Write, Write], params::Attention::FIELDS),
    plain("ops/attention", &[Read, Read, Read, Write], params::Attention::FIELDS),
    plain("ops/swiglu", &[Read, Write], params::Swiglu::FIELDS),
    plain("ops/gelu", &[Read, Write], params::Gelu::FIELDS),
    plain("ops/add", &[Write, Read], params::Add::FIELDS),
    plain("ops/copy_row", &[Read, Write], params::CopyRow::FIELDS),
    quantizer("quant/f32"),
    quantizer("quant/f16"),
    quantizer("quant/bf16"),
    quantizer("quant/q8_0"),
    quantizer("quant/q4_0"),
    quantizer("quant/q4_1"),
    quantizer("quant/q5_0"),
    quantizer("quant/q5_1"),
    quantizer("quant/iq4_nl"),
    quantizer("quant/iq4_xs"),
    quantizer("quant/tq1_0"),
    quantizer("quant/tq2_0"),
    quantizer("quant/mxfp4"),
    quantizer("quant/q2_k"),
    quantizer("quant/q3_k"),
    quantizer("quant/q4_k"),
    quantizer("quant/q5_k"),
    quantizer("quant/q6_k"),
];

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../shaders/", $path)))),*]
    };
}

/// The files' text, compiled in.
static FILES: &[(&str, &str)] = files![
    "ops/add.wgsl",
    "ops/attention.wgsl",
    "ops/combine.wgsl",
    "ops/copy_row.wgsl",
    "ops/embed.wgsl",
    "ops/gelu.wgsl",
    "ops/matmul.wgsl",
    "ops/matvec.wgsl",
    "ops/matvec_routed.wgsl",
    "ops/norm.wgsl",
    "ops/rope.wgsl",
    "ops/route.wgsl",
    "ops/store.wgsl",
    "ops/swiglu.wgsl",
    "quant/bf16.wgsl",
    "quant/f16.wgsl",
    "quant/f32.wgsl",
    "quant/iq4_nl.wgsl",
    "quant/iq4_xs.wgsl",
    "quant/mxfp4.wgsl",
    "quant/q2_k.wgsl",
    "quant/q3_k.wgsl",
    "quant/q4_0.wgsl",
    "quant/q4_1.wgsl",
    "quant/q4_k.wgsl",
    "quant/q5_0.wgsl",
    "quant/q5_1.wgsl",
    "quant/q5_k.wgsl",
    "quant/q6_k.wgsl",
    "quant/q8_0.wgsl",
    "quant/source/bf16.wgsl",
    "quant/source/f16.wgsl",
    "quant/source/f32.wgsl",
    "quant/tq1_0.wgsl",
    "quant/tq2_0.wgsl",
    "shared/affine.wgsl",
    "shared/affine32.wgsl",
    "shared/cache.wgsl",
    "shared/fifths.wgsl",
    "shared/float.wgsl",
    "shared/grid.wgsl",
    "shared/halves.wgsl",
    "shared/iq4.wgsl",
    "shared/iq4_search.wgsl",
    "shared/levels.wgsl",
    "shared/matrix.wgsl",
    "shared/quant.wgsl",
    "shared/super_block.wgsl",
    "shared/symmetric.wgsl",
    "shared/table.wgsl",
    "shared/ternary.wgsl",
    "unpack/bf16.wgsl",
    "unpack/f16.wgsl",
    "unpack/f32.wgsl",
    "unpack/iq4_nl.wgsl",
    "unpack/iq4_xs.wgsl",
    "unpack/mxfp4.wgsl",
    "unpack/q2_k.wgsl",
    "unpack/q3_k.wgsl",
    "unpack/q4_0.wgsl",
    "unpack/q4_1.wgsl",
    "unpack/q4_k.wgsl",
    "unpack/q5_0.wgsl",
    "unpack/q5_1.wgsl",
    "unpack/q5_k.wgsl",
    "unpack/q6_k.wgsl",
    "unpack/q8_0.wgsl",
    "unpack/tq2_0.wgsl",
];

/// The whole text of a shader: imports resolved, each file once. Errors name the file; they cannot occur in a shader of
/// [`FAMILIES`] (a test assembles them all).
pub fn assemble(family: &str, variant: &str) -> Result<String, String> {
    let mut text = String::new();
    import(&format!("{family}.wgsl"), variant, &mut Vec::new(), &mut text)?;
    Ok(text)
}

/// The files that [`assemble`] puts together, the shader's own first.
pub fn imports(family: &str, variant: &str) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    import(&format!("{family}.wgsl"), variant, &mut done, &mut String::new())?;
    Ok(done)
}

fn import(path: &str, variant: &str, done: &mut Vec<String>, text: &mut String) -> Result<(), String> {
    if done.iter().any(|p| p == path) {
        return Ok(());
    }
    done.push(path.to_owned());
    let Some((_, source)) = FILES.iter().find(|(name, _)| *name == path) else {
        return Err(format!("there is no shader file {path}"));
    };
    for line in source.lines() {
        if let Some(rest) = line.strip_prefix("#import ") {
            let Some(target) = rest.trim().strip_prefix('"').and_then(|r| r.strip_suffix('"')) else {
                return Err(format!("{path}: {line}: an import names a file in double quotes"));
            };
            import(&target.replace("{variant}", variant), variant, done, text)?;
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(())
}

/// A compiled shader and the layout of its one bind group.
pub(super) struct Pipeline {
    /// Unique among the pipelines of a device.
    pub id: u64,
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

/// Pipelines, each compiled when first asked for.
#[derive(Default)]
pub(super) struct Pipelines {
    made: RefCell<HashMap<(&'static str, &'static str), Rc<Pipeline>>>,
}

impl Pipelines {
    /// The pipeline of a shader that [`FAMILIES`] has.
    pub fn get(&self, gpu: &Gpu, family: &'static str, variant: &'static str) -> Rc<Pipeline> {
        if let Some(pipeline) = self.made.borrow().get(&(family, variant)) {
            return pipeline.clone();
        }
        let id = self.made.borrow().len() as u64;
        let pipeline = Rc::new(compile(gpu, family, variant, id));
        self.made.borrow_mut().insert((family, variant), pipeline.clone());
        pipeline
    }
}

fn compile(gpu: &Gpu, name: &'static str, variant: &'static str, id: u64) -> Pipeline {
    let family = FAMILIES.iter().find(|family| family.name == name);
    let family = family.unwrap_or_else(|| panic!("the table of shaders has no {name}"));
    let text = assemble(name, variant).unwrap_or_else(|e| panic!("{e}"));
    let label = format!("{name} {variant}");
    let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(&label),
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    let storage =
        family.storage.iter().map(|&access| (wgpu::BufferBindingType::Storage { read_only: access == Read }, false));
    let entries: Vec<_> = std::iter::once((wgpu::BufferBindingType::Uniform, true))
        .chain(storage)
        .zip(0..)
        .map(|((ty, has_dynamic_offset), binding)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
            count: None,
        })
        .collect();
    let layout = gpu
        .device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });
    let pipeline_layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(&label),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&label),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        // Ours write workgroup memory before they read it; naga's zeroing by one long store compiles for a second where
        // the driver is software. (Browsers zero it in any case.)
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    });
    Pipeline { id, pipeline, layout }
}

/// One bind group of a pipeline: `params` in a window of `PARAMS_BYTES` that moves by dynamic offset, then the buffers.
pub(super) fn bind(
    gpu: &Gpu,
    pipeline: &Pipeline,
    params: &wgpu::Buffer,
    storage: &[&wgpu::Buffer],
) -> wgpu::BindGroup {
    let uniform = wgpu::BufferBinding { buffer: params, offset: 0, size: std::num::NonZero::new(params::BYTES) };
    let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(uniform) }];
    entries.extend(
        storage
            .iter()
            .zip(1..)
            .map(|(buffer, binding)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() }),
    );
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.layout,
        entries: &entries,
    })
}
