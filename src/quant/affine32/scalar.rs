//! The definition.

use super::{Head, Kind, SUB, SUBS, TOP, pack, unpack};
use crate::num::{f16_to_f32, nearest_int};
use crate::quant::fault::Fault;
use crate::quant::search::{Affine, affine, positive};
use crate::quant::super_block::{GROUP, Stored, affine_levels, check_finite, sum_of_squares, weigh};

/// The scales of a block, and its levels.
pub(in crate::quant) fn quantize(
    kind: &Kind,
    weights: &[f32; GROUP],
    importance: Option<&[f32; GROUP]>,
    levels: &mut [u8; GROUP],
) -> Result<Head, Fault> {
    check_finite(weights)?;
    let (mut fits, mut worth) = ([Affine { scale: 0.0, min: 0.0 }; SUBS], [0.0; SUBS]);
    let spread = spread(weights);
    for (s, (sub, levels)) in weights.as_chunks::<SUB>().0.iter().zip(levels.as_chunks_mut::<SUB>().0).enumerate() {
        let importance = importance.map(|importance| &importance.as_chunks().0[s]);
        (fits[s], worth[s]) = search(kind, spread, sub, importance, levels);
    }
    let head = head(&fits, importance.is_some().then_some(&worth))?;
    let subs = weights.as_chunks::<SUB>().0.iter().zip(levels.as_chunks_mut::<SUB>().0);
    for ((sub, levels), (scale, min)) in subs.zip(read(&head)) {
        if scale != 0.0 {
            affine_levels(kind.tries.top, scale, min, sub, levels);
        } // else the search's levels stay: they decode to the minimum, but they are what ggml writes
    }
    Ok(head)
}

/// What importance is multiplied by, of a weight of 0: 2 · mean w².
pub(super) fn spread(weights: &[f32; GROUP]) -> f32 {
    2.0 * sum_of_squares(weights) / GROUP as f32
}

/// The best scale and minimum of a sub-block, their levels, and what the sub-block counts for.
pub(super) fn search(
    kind: &Kind,
    spread: f32,
    sub: &[f32; SUB],
    importance: Option<&[f32; SUB]>,
    levels: &mut [u8; SUB],
) -> (Affine, f32) {
    let mut error_weights = [0.0; SUB];
    let tries = if let Some(importance) = importance {
        weigh(spread, sub, importance, &mut error_weights);
        &kind.tries_with_importance
    } else {
        let typical = (sum_of_squares(sub) / SUB as f32).sqrt();
        error_weights = sub.map(|w| typical + w.abs());
        &kind.tries
    };
    (affine(tries, sub, &error_weights, levels), error_weights.iter().sum())
}

/// Quantizes the scales and minimums themselves; `worth`: what each sub-block counts for, where importance is given.
pub(super) fn head(fits: &[Affine; SUBS], worth: Option<&[f32; SUBS]>) -> Result<Head, Fault> {
    let (scales, mins) = (fits.map(|fit| fit.scale), fits.map(|fit| fit.min));
    let mut levels = [[0u8; SUBS]; 2];
    let mut stored = [[0u8; 2]; 2];
    for ((numbers, levels), stored) in [scales, mins].iter().zip(&mut levels).zip(&mut stored) {
        let step = if let Some(worth) = worth {
            if !worth.iter().all(|worth| worth.is_finite()) {
                return Err(Fault::Overflow(0)); // ggml writes zeros for such a block
            }
            positive(TOP, numbers, worth, levels)
        } else {
            let largest = numbers.iter().fold(0.0f32, |largest, &x| if x > largest { x } else { largest });
            let inverse = if largest > 0.0 { TOP as f32 / largest } else { 0.0 };
            *levels = numbers.map(|x| (nearest_int(inverse * x) as u8).min(TOP as u8));
            largest / TOP as f32
        };
        *stored = Stored::new(step)?.bytes;
    }
    Ok(Head { scale: stored[0], min: stored[1], packed: pack(&levels[0], &levels[1]) })
}

/// Scale and minimum of each sub-block.
pub(in crate::quant) fn read(head: &Head) -> [(f32, f32); SUBS] {
    let (scale, min) = (f16_to_f32(u16::from_le_bytes(head.scale)), f16_to_f32(u16::from_le_bytes(head.min)));
    let (scales, mins) = unpack(&head.packed);
    std::array::from_fn(|s| (scale * f32::from(scales[s]), min * f32::from(mins[s])))
}
