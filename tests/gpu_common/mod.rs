//! What the GPU tests share. They need an adapter, a software one if there is no other; without one they fail and say what
//! to install. `PHIQUANT_NO_GPU=1` leaves them out, with a line that says so.
#![allow(dead_code)] // each test file uses its part

/// Runs a test's future, or says that the GPU tests are left out.
#[cfg(not(target_arch = "wasm32"))]
pub fn run(test: impl Future<Output = ()>) {
    if std::env::var_os("PHIQUANT_NO_GPU").is_some_and(|value| value == "1") {
        eprintln!("NOT TESTED: PHIQUANT_NO_GPU=1 leaves the GPU tests out");
        return;
    }
    pollster::block_on(test);
}

/// The sentence for a machine without an adapter.
pub const NO_ADAPTER: &str = "the GPU tests need a Vulkan or Metal adapter; a software one will do (Debian: apt-get install \
     mesa-vulkan-drivers; or point VK_DRIVER_FILES to Chromium's vk_swiftshader_icd.json); PHIQUANT_NO_GPU=1 leaves them out";

/// xorshift64*: the same numbers everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 24) as f32
    }

    /// Roughly normal: the sum of twelve uniform numbers.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}
