//! The uniform parameters of the shaders: each struct is `Params` of the WGSL file of the same purpose, field by field
//! (`tests/shaders.rs` compares the offsets).

/// Bytes that are bound for any of them.
pub const BYTES: u64 = 64;

macro_rules! params {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(C)]
        pub struct $name {
            $(pub $field: $ty),*
        }

        impl $name {
            /// Name and offset of each field.
            pub const FIELDS: &'static [(&'static str, usize)] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field))),*];
        }

        const _: () = assert!(size_of::<$name>() as u64 <= BYTES);
    )*};
}

params! {
    /// `quant/*.wgsl`
    Quantize { count: u32 }

    /// `ops/embed.wgsl`
    Embed { chunks: u32, scale_stride: u32, rows: u32, first_row: u32 }

    /// `ops/matvec.wgsl`, `ops/matmul.wgsl`
    Matmul { chunks: u32, scale_stride: u32, rows: u32, first_row: u32, width: u32, tokens: u32 }

    /// `ops/matvec_routed.wgsl`
    Routed {
        chunks: u32,
        scale_stride: u32,
        rows: u32,
        first_row: u32,
        each: u32,
        column: u32,
        width: u32,
        used: u32,
        own: u32,
    }

    /// `ops/route.wgsl`
    Route { count: u32, used: u32, tokens: u32, sparse: u32, jitter: f32 }

    /// `ops/combine.wgsl`
    Combine { width: u32, used: u32 }

    /// `ops/norm.wgsl`
    Norm { width: u32, eps: f32, centered: u32, biased: u32 }

    /// `ops/rope.wgsl`
    Rope { heads: u32, head_dim: u32, pairs: u32, width: u32, position: u32 }

    /// `ops/store.wgsl`, `ops/attention.wgsl`
    Attention {
        heads: u32,
        kv_heads: u32,
        quarters: u32,
        context: u32,
        position: u32,
        tokens: u32,
        window: u32,
        scale: f32,
    }

    /// `ops/swiglu.wgsl`
    Swiglu { width: u32 }

    /// `ops/add.wgsl`
    Add { count: u32, period: u32 }

    /// `ops/gelu.wgsl`
    Gelu { count: u32 }

    /// `ops/copy_row.wgsl`
    CopyRow { row: u32, width: u32 }
}
