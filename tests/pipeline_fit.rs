//! A size to stay under: the choice is the best of what fits, by errors that the conversion then confirms.

mod pipeline_common;

use phiquant::ErrorKind;
use phiquant::checkpoint::Checkpoint;
use phiquant::pipeline::fit::{Candidate, Fit};
use phiquant::pipeline::{Options, convert, plan};
use phiquant::quant::Kernels;
use pipeline_common::{Files, fixture, options};

fn measured(checkpoint: &Checkpoint, sources: &Files, options: &Options) -> Fit {
    let mut fit = Fit::new(checkpoint, options).unwrap();
    for (index, sample) in fit.samples().to_vec().into_iter().enumerate() {
        let file = &sources[&checkpoint.files[sample.file]];
        fit.put(index, &file[sample.span.start as usize..sample.span.end as usize]).unwrap();
    }
    fit
}

fn candidate<'a>(candidates: &'a [Candidate], scheme: &str) -> &'a Candidate {
    candidates.iter().find(|candidate| candidate.scheme == scheme).unwrap_or_else(|| panic!("{scheme}"))
}

#[test]
fn sizes_are_exact_and_errors_are_those_of_the_conversion() {
    for name in ["tiny-phi3-spm", "Phi-4-mini-tiny"] {
        let (checkpoint, sources) = fixture(name);
        let candidates = measured(&checkpoint, &sources, &options("")).candidates(&checkpoint, &options("")).unwrap();
        assert!(candidates.len() > 15 && candidates.is_sorted_by(|a, b| a.error <= b.error));
        for scheme in ["F32", "BF16", "Q8_0", "Q4_0", "Q4_K_M"] {
            let predicted = candidate(&candidates, scheme);
            let plan = plan(&checkpoint, &options(scheme)).unwrap();
            assert_eq!(predicted.bytes, plan.files[0].bytes, "{name} {scheme}");
            let (mut weights, mut sum) = (0.0, 0.0);
            for task in plan.tasks.iter().filter(|task| task.rows > 1) {
                let file = &sources[&checkpoint.files[task.source_file]];
                let rows = &file[task.source.start as usize..task.source.end as usize];
                let mut out = vec![0; (task.to.row_bytes(task.cols).unwrap() * task.rows) as usize];
                let sums = convert(Kernels::best(), task.from, task.to, task.cols as usize, rows, &mut out).unwrap();
                weights += sums.weights as f64;
                sum += sums.weights as f64 * sums.squared / sums.original_squared;
            }
            let real = sum / weights;
            let near = (predicted.error - real).abs() <= 0.1 * real + 1e-12;
            assert!(near, "{name} {scheme}: {} is {real}", predicted.error);
        }
        assert!(candidate(&candidates, "Q4_0").error > candidate(&candidates, "Q8_0").error);
        // It asks for an importance matrix, where rows of 256 let it be what it is.
        assert_eq!(candidates.iter().any(|c| c.scheme == "Q2_K_S"), name == "Phi-4-mini-tiny");
    }
}

#[test]
fn the_choice_is_the_best_that_fits() {
    let (checkpoint, sources) = fixture("tiny-phi3-spm");
    let wanted = options("");
    let fit = measured(&checkpoint, &sources, &wanted);
    let candidates = fit.candidates(&checkpoint, &wanted).unwrap();
    for limit in candidates.iter().map(|candidate| candidate.bytes) {
        let chosen = fit.choose(&checkpoint, &wanted, limit).unwrap();
        assert!(chosen.bytes <= limit);
        assert!(candidates.iter().all(|c| c.bytes > limit || c.error >= chosen.error), "{limit}: {chosen:?}");
    }
    let smallest = candidates.iter().map(|candidate| candidate.bytes).min().unwrap();
    let error = fit.choose(&checkpoint, &wanted, smallest - 1).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TargetTooSmall);
    assert!(error.message.contains(&smallest.to_string()), "{error}");
    // The checkpoint is bf16: nothing is lost there, and F32 is larger.
    assert_eq!(fit.choose(&checkpoint, &wanted, u64::MAX).unwrap().scheme, "BF16");
}
