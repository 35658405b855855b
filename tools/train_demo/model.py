"""The demo's shape, and how its weights become a checkpoint folder."""

import torch
from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM

from make_tokenizer import save_tokenizer

CONTEXT = 512


def make_config(tok):
    """Rows of 256 or a multiple of it, so that K-quants apply to every matrix."""
    end, text_end = tok.token_to_id("<|end|>"), tok.token_to_id("<|endoftext|>")
    return Phi3Config(
        vocab_size=tok.get_vocab_size(),
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        original_max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        sliding_window=None,
        tie_word_embeddings=False,
        bos_token_id=text_end,
        eos_token_id=[end, text_end],
        pad_token_id=text_end,
    )


def export(state, tok, folder):
    """Write the folder that save_pretrained and a fast tokenizer write, in bf16."""
    model = Phi3ForCausalLM(make_config(tok))
    model.load_state_dict(state)
    model = model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
        do_sample=False,
    )
    model.save_pretrained(folder)
    save_tokenizer(tok, folder, CONTEXT)
