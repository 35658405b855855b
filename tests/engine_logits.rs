//! The transformer on the CPU against transformers, and against itself.

mod common;

use common::{FIXTURES, GQA, MHA, PHI2, PHIMOE, greedy, logits, logits_match, max_difference, ready};
use phiquant::ErrorKind;
use phiquant::engine::cpu::Cpu;
use phiquant::phi::decode::Session;
use phiquant::phi::sample::Sampling;
use phiquant::quant::Kernels;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The fastest that can run here.
fn cpu() -> Cpu {
    Cpu::default()
}

#[test]
fn logits_and_greedy_tokens_equal_transformers() {
    for kernels in Kernels::ALL {
        ready(logits_match(async || Cpu::new(*kernels), 1e-3));
    }
}

#[test]
fn batches_of_any_size_give_the_same_bits() {
    for fixture in FIXTURES {
        for case in fixture.cases() {
            let mut whole = Session::with_batch(fixture.model(cpu()), 128).unwrap();
            let expected = ready(logits(&mut whole, &case.prompt));
            for batch in [1, 3, 64] {
                let mut session = Session::with_batch(fixture.model(cpu()), batch).unwrap();
                let found = ready(logits(&mut session, &case.prompt));
                assert_eq!(found, expected, "{} {} by {batch}", fixture.name, case.name);
            }
        }
    }
}

#[test]
fn decoding_equals_a_fresh_prefill_bit_for_bit_on_both_sides_of_the_switch() {
    for (fixture, case) in
        [(&MHA, "window"), (&GQA, "crossing"), (&GQA, "long"), (&PHI2, "short"), (&PHIMOE, "crossing")]
    {
        let case = fixture.cases().into_iter().find(|it| it.name == case).unwrap();
        let mut session = fixture.session(cpu());
        session.begin(&case.prompt, Sampling::default()).unwrap();
        let mut tokens = case.prompt.clone();
        for n in 0..case.tokens.len() {
            let token = ready(session.next()).unwrap().unwrap();
            if n % 7 == 0 || tokens.len().abs_diff(session.model.config.original_context) < 3 {
                let fresh = ready(logits(&mut fixture.session(cpu()), &tokens));
                assert_eq!(session.logits(), fresh, "{} after {}", case.name, tokens.len());
            }
            tokens.push(token);
        }
    }
}

#[test]
fn the_cache_keeps_the_common_prefix_and_nothing_else() {
    let [short, ..] = &GQA.cases()[..] else { panic!("no cases") };
    let mut session = GQA.session(cpu());
    assert_eq!(session.begin(&short.prompt, Sampling::default()).unwrap(), short.prompt.len());
    let answer = ready(greedy(&mut session, &short.prompt, 10));
    let mut turn = short.prompt.clone();
    turn.extend(&answer);
    turn.extend([5, 6, 7]);
    // The tenth token was given but never fed.
    assert_eq!(session.begin(&turn, Sampling::default()).unwrap(), 4);
    let kept = ready(logits(&mut session, &turn));
    assert_eq!(kept, ready(logits(&mut GQA.session(cpu()), &turn)));
    // The same prompt again: only its last token is fed.
    assert_eq!(session.begin(&turn, Sampling::default()).unwrap(), 1);
    // Another one: nothing is shared.
    let other: Vec<u32> = turn.iter().map(|id| (id + 1) % 200).collect();
    assert_eq!(session.begin(&other, Sampling::default()).unwrap(), other.len());
    assert_eq!(ready(logits(&mut session, &other)), ready(logits(&mut GQA.session(cpu()), &other)));
    // Beyond LongRoPE's switch and back: keys of the other rotation are useless.
    let long: Vec<u32> = (0..100).map(|n| other[n % other.len()]).collect();
    assert_eq!(session.begin(&long, Sampling::default()).unwrap(), 100);
    ready(session.prefill()).unwrap();
    assert_eq!(session.begin(&long[..90], Sampling::default()).unwrap(), 90);
}

#[test]
fn stopping_between_batches_leaves_a_true_state() {
    let long = GQA.cases().pop().unwrap();
    let mut session = Session::with_batch(GQA.model(cpu()), 16).unwrap();
    session.begin(&long.prompt, Sampling::default()).unwrap();
    assert_eq!(ready(session.prefill()).unwrap(), long.prompt.len() - 16);
    // Stopped here; the same prompt goes on where it stood, another one begins anew.
    assert_eq!(session.begin(&long.prompt, Sampling::default()).unwrap(), long.prompt.len() - 16);
    let expected = &long.logits[long.prompt.len() - 1];
    assert!(max_difference(&ready(logits(&mut session, &long.prompt)), expected) < 1e-3);
}

#[test]
fn a_full_context_is_an_error_and_the_session_lives_on() {
    let case = GQA.cases().remove(0);
    let (checkpoint, n) = (GQA.checkpoint(), case.prompt.len());
    let mut session = Session::new(common::load(&checkpoint, GQA.weights, cpu(), Some(n + 4))).unwrap();
    session.begin(&case.prompt, Sampling::default()).unwrap();
    // Four tokens are fed; the fifth is given and cannot be.
    for expected in &case.tokens[..5] {
        assert_eq!(ready(session.next()).unwrap(), Some(*expected));
    }
    for _ in 0..2 {
        assert_eq!(ready(session.next()).unwrap_err().kind, ErrorKind::ContextFull);
    }
    let too_long = vec![1; n + 5];
    assert_eq!(session.begin(&too_long, Sampling::default()).unwrap_err().kind, ErrorKind::ContextFull);
    assert_eq!(ready(greedy(&mut session, &case.prompt, 3)), case.tokens[..3]);
}

#[test]
fn bad_prompts_and_options_are_refused() {
    let mut session = GQA.session(cpu());
    let mut kind = |prompt: &[u32], sampling| session.begin(prompt, sampling).unwrap_err().kind;
    assert_eq!(kind(&[], Sampling::default()), ErrorKind::BadOption);
    assert_eq!(kind(&[1, 288], Sampling::default()), ErrorKind::BadOption);
    assert_eq!(kind(&[1], Sampling { top_p: 2.0, ..Sampling::default() }), ErrorKind::BadOption);
}

#[test]
fn an_end_token_ends_the_answer() {
    let case = GQA.cases().remove(0);
    let mut session = GQA.session(cpu());
    session.model.config.eos = vec![case.tokens[5]];
    assert_eq!(ready(greedy(&mut session, &case.prompt, 64)), case.tokens[..5]);
    assert_eq!(ready(session.next()).unwrap(), None);
}
