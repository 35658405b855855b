//! Does a device compute what the CPU computes? Asked before a model is trusted to it.

use crate::bail;
use crate::checkpoint::Checkpoint;
use crate::engine::Backend;
use crate::engine::cpu::Cpu;
use crate::error::Result;
use crate::phi::config::{Config, Experts, Family, Routing};
use crate::phi::decode::Session;
use crate::phi::names::Role;
use crate::phi::sample::Sampling;
use crate::phi::synthetic::{self, Synthetic};
use crate::quant::Kernels;
use crate::tensor::DType;
use std::collections::BTreeSet;

const PROMPT: [u32; 7] = [1, 5, 63, 2, 17, 40, 8];

/// Largest difference allowed, in standard deviations of the logits: the CPU rounds activations to 16 bits or fewer
/// where weights are quantized, the device may not; a wrong kernel is off by several.
const ALLOWED: f32 = 0.05;

/// Runs a model of one layer, of the checkpoint's family, on the device and on the scalar reference, once in each of the types that `checkpoint`'s
/// matrices have (no other's shaders are compiled): a prefill and a token. Gives the backend back, or fails with
/// `DeviceMismatch`.
pub async fn self_check<B: Backend>(mut backend: B, checkpoint: &Checkpoint) -> Result<B> {
    let model = Synthetic::new(small(checkpoint.config.family), DType::F32, 1)?;
    let matrices = checkpoint.tensors.iter().filter(|tensor| tensor.role.is_some_and(Role::is_matrix));
    let names: BTreeSet<_> = matrices.map(|tensor| tensor.info.dtype.name).collect();
    for name in names {
        let reference = model.load(Cpu::new(Kernels::Scalar), None, |_| name)?;
        let expected = logits(&mut Session::new(reference)?).await?;
        let mut session = Session::new(model.load(backend, None, |_| name)?)?;
        let found = logits(&mut session).await?;
        backend = session.model.backend;

        let spread = (expected.iter().map(|x| x * x).sum::<f32>() / expected.len() as f32).sqrt();
        let off = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        if found.len() != expected.len() || !found.iter().all(|x| x.is_finite()) || off > ALLOWED * spread {
            bail!(
                DeviceMismatch,
                "{} computes other logits than the CPU for {name} weights: off by {off}",
                backend.name()
            );
        }
    }
    Ok(backend)
}

/// A model of one layer. All of its experts take part: a choice among them would differ where scores are close, which is no
/// fault.
fn small(family: Family) -> Config {
    let mut config = synthetic::of_family(synthetic::config([256, 256, 1, 4, 2, 64], 16), family);
    if let Some(experts) = &mut config.experts {
        *experts = Experts { count: 3, used: 3, routing: Routing::Softmax };
    }
    config
}

/// After the prompt, and after one token more.
async fn logits<B: Backend>(session: &mut Session<B>) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    for end in [PROMPT.len() - 1, PROMPT.len()] {
        session.begin(&PROMPT[..end], Sampling::default())?;
        while session.prefill().await? > 0 {}
        all.extend_from_slice(session.logits());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::self_check;
    use crate::engine::cpu::Cpu;
    use crate::phi::config::Family;
    use crate::phi::synthetic::{self, Synthetic};
    use crate::tensor::DType;

    #[test]
    fn the_cpu_passes() {
        for family in [Family::Phi2, Family::Phi3, Family::PhiMoe] {
            let config = synthetic::of_family(synthetic::config([64, 64, 1, 4, 2, 64], 16), family);
            let model = Synthetic::new(config, DType::BF16, 1).unwrap();
            assert!(pollster::block_on(self_check(Cpu::default(), &model.checkpoint())).is_ok());
        }
    }
}
