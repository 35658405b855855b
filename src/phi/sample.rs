//! From logits to a token.

use crate::bail;
use crate::error::Result;
use crate::num::mix;

/// How to choose the next token. The defaults are greedy.
///
/// Applied in this order: repeat penalty, temperature, top-k, top-p, min-p, as transformers 5.23 does (llama.cpp warms
/// last, which changes what top-p and min-p keep).
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Sampling {
    /// 0: greedy.
    pub temperature: f32,
    /// Keep the k likeliest; 0: all.
    pub top_k: usize,
    /// Keep the likeliest until their probabilities sum to p; 1: all.
    pub top_p: f32,
    /// Keep tokens at least this fraction as likely as the likeliest; 0: all.
    pub min_p: f32,
    /// Divide positive and multiply negative logits of tokens already seen; 1: off.
    pub repeat_penalty: f32,
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repeat_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Fails with `BadOption`, which names the option and its value.
    pub fn check(&self) -> Result<()> {
        let Self { temperature, top_p, min_p, repeat_penalty, .. } = *self;
        if !(temperature.is_finite() && temperature >= 0.0) {
            bail!(BadOption, "temperature is {temperature}; it must be 0 (greedy) or a positive number");
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            bail!(BadOption, "topP is {top_p}; it must be above 0 and at most 1 (all tokens)");
        }
        if !(0.0..=1.0).contains(&min_p) {
            bail!(BadOption, "minP is {min_p}; it must be between 0 (all tokens) and 1");
        }
        if !(repeat_penalty.is_finite() && repeat_penalty > 0.0) {
            bail!(BadOption, "repeatPenalty is {repeat_penalty}; it must be a positive number, 1 being none");
        }
        Ok(())
    }

    /// Chooses a token. `seen`: all tokens so far; their number is also the random generator's counter, so that a
    /// seed's choices depend on the text alone and not on how it came to be computed.
    ///
    /// A NaN counts as impossible; fails with `NotFinite` if nothing is possible. Ties go to the smaller id.
    pub fn choose(&self, logits: &[f32], seen: &[u32]) -> Result<u32> {
        let mut logits: Vec<f32> = logits.iter().map(|x| if x.is_nan() { f32::NEG_INFINITY } else { *x }).collect();
        self.penalize(&mut logits, seen);
        let (best, max) = logits
            .iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |(best, max), (id, x)| if *x > max { (id, *x) } else { (best, max) });
        if max == f32::NEG_INFINITY {
            bail!(NotFinite, "the model's logits are not numbers; its weights are damaged or overflow f32");
        }
        if self.temperature == 0.0 || max == f32::INFINITY {
            return Ok(best as u32);
        }

        // Weights relative to the likeliest token: exp(0) = 1 at most, so nothing overflows.
        let weight = |x: f32| f64::from((x - max) / self.temperature).exp();
        let mut kept: Vec<(u32, f64)> = logits.iter().zip(0..).map(|(x, id)| (id, weight(*x))).collect();
        let likelier = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.top_k > 0 && self.top_k < kept.len() {
            kept.select_nth_unstable_by(self.top_k - 1, likelier);
            kept.truncate(self.top_k);
        }
        if self.top_p < 1.0 {
            kept.sort_unstable_by(likelier);
            let enough = f64::from(self.top_p) * kept.iter().map(|(_, w)| w).sum::<f64>();
            let mut sum = 0.0;
            let count = kept.iter().position(|(_, w)| {
                sum += w;
                sum >= enough
            });
            kept.truncate(count.map_or(kept.len(), |last| last + 1));
        }
        kept.retain(|(_, w)| *w >= f64::from(self.min_p));
        kept.sort_unstable_by_key(|(id, _)| *id);

        let total: f64 = kept.iter().map(|(_, w)| w).sum();
        let mut rest = uniform(self.seed, seen.len() as u64) * total;
        for (id, w) in &kept {
            rest -= w;
            if rest < 0.0 {
                return Ok(*id);
            }
        }
        Ok(best as u32) // rounding has left a crumb of the last token's share
    }

    fn penalize(&self, logits: &mut [f32], seen: &[u32]) {
        if self.repeat_penalty == 1.0 {
            return;
        }
        let mut done = vec![false; logits.len()];
        for &id in seen {
            let id = id as usize;
            if id < logits.len() && !std::mem::replace(&mut done[id], true) {
                let penalty = self.repeat_penalty;
                logits[id] = if logits[id] > 0.0 { logits[id] / penalty } else { logits[id] * penalty };
            }
        }
    }
}

/// A number in [0, 1) for each seed and counter.
fn uniform(seed: u64, counter: u64) -> f64 {
    (mix(mix(seed).wrapping_add(counter)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::LN_2;

    fn warm() -> Sampling {
        Sampling { temperature: 1.0, ..Sampling::default() }
    }

    /// Shares of 20 000 draws at as many counters.
    fn shares(sampling: &Sampling, logits: &[f32]) -> Vec<f64> {
        let mut shares = vec![0.0; logits.len()];
        for n in 0..20_000 {
            shares[sampling.choose(logits, &vec![u32::MAX; n]).unwrap() as usize] += 1.0 / 20_000.0;
        }
        shares
    }

    fn close(shares: &[f64], expected: &[f64]) {
        for (share, expected) in shares.iter().zip(expected) {
            assert!((share - expected).abs() < 0.012, "{shares:?}");
        }
    }

    const LOGITS: [f32; 4] = [0.0, 2.0 * LN_2, LN_2, f32::NAN]; // 1 : 4 : 2 : impossible

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        let greedy = Sampling::default();
        assert_eq!(greedy.choose(&[1.0, f32::NAN, 3.0, 3.0], &[]).unwrap(), 2);
        assert_eq!(greedy.choose(&[f32::NAN, f32::INFINITY], &[]).unwrap(), 1);
        assert_eq!(warm().choose(&[0.0, f32::INFINITY], &[]).unwrap(), 1);
    }

    #[test]
    fn nothing_possible_is_an_error() {
        for logits in [&[][..], &[f32::NAN, f32::NEG_INFINITY]] {
            assert_eq!(warm().choose(logits, &[]).unwrap_err().kind.code(), "not-finite");
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        close(&shares(&warm(), &LOGITS), &[1.0 / 7.0, 4.0 / 7.0, 2.0 / 7.0, 0.0]);
        let cool = Sampling { temperature: 0.5, ..warm() };
        close(&shares(&cool, &LOGITS), &[1.0 / 21.0, 16.0 / 21.0, 4.0 / 21.0, 0.0]);
    }

    #[test]
    fn each_filter_keeps_what_it_should() {
        let two = [0.0, 4.0 / 6.0, 2.0 / 6.0, 0.0];
        close(&shares(&Sampling { top_k: 2, ..warm() }, &LOGITS), &two);
        close(&shares(&Sampling { top_p: 0.6, ..warm() }, &LOGITS), &two);
        close(&shares(&Sampling { min_p: 0.3, ..warm() }, &LOGITS), &two);
        let one = [0.0, 1.0, 0.0, 0.0];
        close(&shares(&Sampling { top_k: 1, ..warm() }, &LOGITS), &one);
        close(&shares(&Sampling { top_p: 0.5, ..warm() }, &LOGITS), &one);
        close(&shares(&Sampling { min_p: 1.0, ..warm() }, &LOGITS), &one);
    }

    #[test]
    fn a_penalty_counts_once_per_token_and_pushes_down_on_both_sides_of_zero() {
        let penalty = Sampling { repeat_penalty: 2.0, ..Sampling::default() };
        assert_eq!(penalty.choose(&[3.0, 2.0], &[0, 0, 0]).unwrap(), 1);
        assert_eq!(penalty.choose(&[3.0, 1.4], &[0, 0, 0]).unwrap(), 0);
        assert_eq!(penalty.choose(&[-3.0, -2.0], &[1]).unwrap(), 0);
    }

    #[test]
    fn a_seed_repeats_itself() {
        let draw = |seed| (0..64).map(|n| (uniform(seed, n) * 1e6) as u32).collect::<Vec<_>>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(1)[1..], draw(2)[..63], "one seed's numbers must not be another's, shifted");
    }

    #[test]
    fn bad_options_are_named_with_their_value() {
        let bad = |sampling: Sampling, text: &str| {
            let error = sampling.check().unwrap_err();
            assert_eq!(error.kind.code(), "bad-option");
            assert!(error.message.contains(text), "{error}");
        };
        bad(Sampling { temperature: -1.0, ..warm() }, "temperature is -1");
        bad(Sampling { temperature: f32::NAN, ..warm() }, "temperature is NaN");
        bad(Sampling { top_p: 0.0, ..warm() }, "topP is 0");
        bad(Sampling { top_p: 1.5, ..warm() }, "topP is 1.5");
        bad(Sampling { min_p: -0.1, ..warm() }, "minP is -0.1");
        bad(Sampling { repeat_penalty: 0.0, ..warm() }, "repeatPenalty is 0");
        warm().check().unwrap();
    }
}
