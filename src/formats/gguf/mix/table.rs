//! The mixes as data, largest first.

use super::{Matrix, Mix, Place, Rule};

const V: &[Matrix] = &[Matrix::AttentionV];
const K: &[Matrix] = &[Matrix::AttentionK];
const ATTENTION_OUTPUT: &[Matrix] = &[Matrix::AttentionOutput];
const DOWN: &[Matrix] = &[Matrix::FfnDown];
const EMBEDDING: &[Matrix] = &[Matrix::TokenEmbedding];
const ANY: &[Matrix] = &[
    Matrix::TokenEmbedding,
    Matrix::AttentionQ,
    Matrix::AttentionK,
    Matrix::AttentionV,
    Matrix::AttentionOutput,
    Matrix::FfnUp,
    Matrix::FfnGate,
    Matrix::FfnDown,
    Matrix::Other,
];

fn always(_: &Place) -> bool {
    true
}

/// The first eighth and the last, and every third between.
fn more_bits(place: &Place) -> bool {
    let (i, n) = (place.index, place.count);
    i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2
}

fn first_eighth(place: &Place) -> bool {
    place.index < place.count / 8
}

fn first_sixteenth(place: &Place) -> bool {
    place.index < place.count / 16
}

/// Values are a small part of a model whose heads share keys.
fn shared_keys(place: &Place) -> bool {
    place.gqa >= 4
}

/// Mixtral's count, which has rules of its own.
fn eight_experts(place: &Place) -> bool {
    place.experts == 8
}

const fn rule(matrices: &'static [Matrix], when: fn(&Place) -> bool, scheme: &'static str) -> Rule {
    Rule { matrices, when, scheme }
}

const EIGHT: &[Rule] = &[rule(V, eight_experts, "Q8_0"), rule(K, eight_experts, "Q8_0")];
const EIGHT_OUTPUT: &[Rule] = &[rule(ATTENTION_OUTPUT, eight_experts, "Q5_K")];
const MORE_BITS: &[Rule] = &[rule(V, more_bits, "Q6_K"), rule(DOWN, more_bits, "Q6_K")];
const IQ4: &[Rule] =
    &[rule(V, shared_keys, "Q5_K"), rule(DOWN, |place| !place.importance && first_eighth(place), "Q5_K")];
const TERNARY: &[Rule] = &[rule(EMBEDDING, always, "Q4_K")];

const fn mix(
    name: &'static str,
    file_type: u32,
    base: &'static str,
    rules: &'static [&'static [Rule]],
    summary: &'static str,
) -> Mix {
    Mix { name, file_type, base, output: "Q6_K", rules, needs_importance: &[], summary }
}

const fn plain(name: &'static str, file_type: u32, summary: &'static str) -> Mix {
    Mix { output: name, ..mix(name, file_type, name, &[], summary) }
}

/// Every mix. One that needs a scheme that [`crate::quant::SCHEMES`] does not have is not offered.
pub static MIXES: &[Mix] = &[
    plain("F32", 0, "the reference: exact, and the largest"),
    plain("F16", 1, "half the size of F32; what llama.cpp users convert from"),
    plain("BF16", 32, "as most checkpoints are stored: exact for them"),
    Mix { output: "Q8_0", ..mix("Q8_0", 7, "Q8_0", &[EIGHT], "a quarter of F32, hardly to be told from the original") },
    mix("Q6_K", 18, "Q6_K", &[EIGHT], "very close to the original, smaller than Q8_0"),
    mix("Q5_1", 9, "Q5_1", &[EIGHT], "an older type: Q5_K_M is better at this size"),
    mix("Q5_K_M", 17, "Q5_K", &[EIGHT, MORE_BITS], "close to the original; the sensitive matrices get six bits"),
    mix("Q5_K_S", 16, "Q5_K", &[EIGHT], "five bits for all but the output"),
    mix(
        "Q5_0",
        8,
        "Q5_0",
        &[EIGHT, &[rule(DOWN, |place| place.importance && first_eighth(place), "Q5_1")]],
        "an older type: Q5_K_S is better at this size",
    ),
    mix("Q4_1", 3, "Q4_1", &[EIGHT], "an older type: Q4_K_M is better at this size"),
    mix(
        "Q4_K_M",
        15,
        "Q4_K",
        &[EIGHT, MORE_BITS, EIGHT_OUTPUT],
        "the usual choice: small, and little is lost; the sensitive matrices get six bits",
    ),
    mix(
        "Q4_K_S",
        14,
        "Q4_K",
        &[EIGHT, &[rule(V, |place| place.index < 4, "Q5_K"), rule(DOWN, first_eighth, "Q5_K")], EIGHT_OUTPUT],
        "a little smaller than Q4_K_M, a little more is lost",
    ),
    mix(
        "Q4_0",
        2,
        "Q4_0",
        &[EIGHT, &[rule(DOWN, |place| place.importance && first_eighth(place), "Q4_1")]],
        "small and fast; the output matrix stays Q6_K",
    ),
    mix("IQ4_NL", 25, "IQ4_NL", &[EIGHT, IQ4, EIGHT_OUTPUT], "four bits on a curved scale, in blocks of 32"),
    mix("IQ4_XS", 30, "IQ4_XS", &[EIGHT, IQ4, EIGHT_OUTPUT], "the smallest with four bits, nearly as good as Q4_K_S"),
    Mix {
        output: "Q8_0",
        ..mix(
            "MXFP4_MOE",
            38,
            "MXFP4",
            &[&[rule(ANY, |place| !place.stacked, "Q8_0")]],
            "for mixtures of experts: the experts in four-bit floats, the rest Q8_0",
        )
    },
    mix(
        "Q3_K_L",
        13,
        "Q3_K",
        &[
            EIGHT,
            &[
                rule(V, always, "Q5_K"),
                rule(DOWN, always, "Q5_K"),
                rule(ATTENTION_OUTPUT, |place| place.experts != 8, "Q5_K"),
            ],
        ],
        "three bits, five where it matters",
    ),
    mix(
        "Q3_K_M",
        12,
        "Q3_K",
        &[
            EIGHT,
            &[
                rule(V, |place| place.index < 2, "Q5_K"),
                rule(V, always, "Q4_K"),
                rule(DOWN, first_sixteenth, "Q5_K"),
                rule(DOWN, always, "Q4_K"),
            ],
            EIGHT_OUTPUT,
            &[rule(ATTENTION_OUTPUT, always, "Q4_K")],
        ],
        "three bits, four where it matters: a loss that can be noticed",
    ),
    mix("Q3_K_S", 11, "Q3_K", &[EIGHT, EIGHT_OUTPUT], "three bits: much is lost"),
    mix(
        "Q2_K",
        10,
        "Q2_K",
        &[
            EIGHT,
            &[rule(V, shared_keys, "Q4_K"), rule(V, always, "Q3_K"), rule(DOWN, always, "Q3_K")],
            EIGHT_OUTPUT,
            &[rule(ATTENTION_OUTPUT, always, "Q3_K")],
        ],
        "for when nothing else fits: very much is lost",
    ),
    Mix {
        needs_importance: &["Q2_K"],
        ..mix(
            "Q2_K_S",
            21,
            "Q2_K",
            &[EIGHT, &[rule(V, shared_keys, "Q4_K"), rule(DOWN, first_eighth, "Q4_K")]],
            "two bits nearly everywhere: asks for an importance matrix",
        )
    },
    mix("TQ2_0", 37, "TQ2_0", &[EIGHT, TERNARY], "ternary: only for models that were trained so"),
    mix("TQ1_0", 36, "TQ1_0", &[EIGHT, TERNARY], "ternary, packed tighter: only for models that were trained so"),
];
