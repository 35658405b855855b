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
}
