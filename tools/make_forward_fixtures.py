#!/usr/bin/env python3
"""Writes tests/data/forward: all that transformers' forward passes give for checkpoints of tests/data/models.

Over pairs of all families, in float64 with eager attention: a file for each model with the inputs and outputs of its
passes. `plain`: masks with holes on both sides, labels; every hidden state, every attention, the cache. `vectors`:
inputs_embeds in place of ids, position ids, the decoder's token types. `counted`: vectors whose positions are counted.
`more`: what continues `plain` by its cache, `further`: once more, by vectors. `reused`: the encoder's outputs given. Seeded: two runs write the same
bytes. Needs transformers 5.

    python tools/make_forward_fixtures.py
"""
import pathlib
import random

import torch
import transformers

from fixture_checkpoints import write_safetensors

ROOT = pathlib.Path(__file__).parent.parent / "tests/data"
MODELS = ["start-is-bos", "narrow-encoder", "bert-v4", "roberta-v4", "pair-generation-roberta",
          "pair-roberta-bert", "pair-bert-generation"]
ROWS, SOURCE, TARGET, MORE = 2, 5, 4, 2
ASKED = dict(output_hidden_states=True, output_attentions=True, use_cache=True)


def outputs(out, encoder=True):
    """The tensors of one pass, layers as one."""
    found = dict(logits=out.logits, decoder_hidden_states=torch.stack(out.decoder_hidden_states),
                 decoder_attentions=torch.stack(out.decoder_attentions),
                 cross_attentions=torch.stack(out.cross_attentions))
    if encoder:
        found |= dict(encoder_last_hidden_state=out.encoder_last_hidden_state,
                      encoder_hidden_states=torch.stack(out.encoder_hidden_states),
                      encoder_attentions=torch.stack(out.encoder_attentions))
    if out.loss is not None:
        found["loss"] = out.loss
    return found


def cache_tensors(cache):
    """Self-attention keys and values, [layers, rows, heads, tokens, head size]."""
    layers = cache.self_attention_cache.layers
    return dict(keys=torch.stack([layer.keys for layer in layers]),
                values=torch.stack([layer.values for layer in layers]))


def draw_inputs(rng, model):
    encoder, decoder = model.config.encoder, model.config.decoder
    ids = lambda config, length: torch.tensor(
        [[rng.choice([i for i in range(config.vocab_size) if i != config.pad_token_id]) for _ in range(length)]
         for _ in range(ROWS)])
    positions = lambda config, length: torch.tensor(
        [[rng.randrange(config.max_position_embeddings) for _ in range(length)] for _ in range(ROWS)])
    types = lambda config, length: torch.tensor([[rng.randrange(config.type_vocab_size) for _ in range(length)]
                                                 for _ in range(ROWS)])
    typed = lambda name, config, length: {name: types(config, length)} if hasattr(config, "type_vocab_size") else {}
    vectors = lambda config, length: torch.tensor(
        [[[rng.gauss(0, 1) for _ in range(config.hidden_size)] for _ in range(length)] for _ in range(ROWS)],
        dtype=torch.float64)
    target = ids(decoder, TARGET)
    labels = ids(decoder, TARGET)
    labels[1, -1] = -100
    mask, decoder_mask = torch.ones(ROWS, SOURCE, dtype=torch.long), torch.ones(ROWS, TARGET, dtype=torch.long)
    mask[0, 1], mask[1, -2:], decoder_mask[1, 2] = 0, 0, 0
    source = dict(input_ids=ids(encoder, SOURCE), attention_mask=mask, **typed("token_type_ids", encoder, SOURCE))
    return dict(
        plain=source | dict(decoder_input_ids=target, decoder_attention_mask=decoder_mask, labels=labels),
        vectors=dict(attention_mask=mask, inputs_embeds=vectors(encoder, SOURCE),
                     position_ids=positions(encoder, SOURCE), decoder_inputs_embeds=vectors(decoder, TARGET),
                     decoder_position_ids=positions(decoder, TARGET),
                     **typed("token_type_ids", encoder, SOURCE),
                     **typed("decoder_token_type_ids", decoder, TARGET)),
        counted=dict(inputs_embeds=vectors(encoder, SOURCE), decoder_inputs_embeds=vectors(decoder, TARGET)),
        more=dict(decoder_input_ids=ids(decoder, MORE),
                  decoder_attention_mask=torch.cat([decoder_mask, torch.ones(ROWS, MORE, dtype=torch.long)], 1)),
        further=dict(decoder_inputs_embeds=vectors(decoder, MORE)),
        reused=dict(decoder_input_ids=ids(decoder, TARGET)))


def run(model, inputs):
    plain = model(**inputs["plain"], **ASKED)
    tensors = dict(plain=outputs(plain) | cache_tensors(plain.past_key_values))
    given = dict(attention_mask=inputs["plain"]["attention_mask"],
                 encoder_outputs=transformers.modeling_outputs.BaseModelOutput(plain.encoder_last_hidden_state))
    more = model(**inputs["more"], **given, past_key_values=plain.past_key_values, **ASKED)
    tensors["more"] = outputs(more, False) | cache_tensors(more.past_key_values)
    further = model(**inputs["further"], **given, past_key_values=more.past_key_values, **ASKED,
                    decoder_attention_mask=torch.cat([inputs["more"]["decoder_attention_mask"],
                                                      torch.ones(ROWS, MORE, dtype=torch.long)], 1))
    tensors["further"] = outputs(further, False)
    for name in ("vectors", "counted"):
        tensors[name] = outputs(model(**inputs[name], **ASKED))
    tensors["reused"] = outputs(model(**inputs["reused"], **given, **ASKED), False)
    return tensors


def main():
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    (ROOT / "forward").mkdir(exist_ok=True)
    for name in MODELS:
        model = transformers.EncoderDecoderModel.from_pretrained(
            ROOT / "models" / name, dtype=torch.float64, attn_implementation="eager").eval()
        inputs = draw_inputs(random.Random(name), model)
        found = run(model, inputs)
        tensors = {f"{case}/{key}": tensor for case in found for key, tensor in inputs[case].items()}
        tensors |= {f"{case}/{key}": tensor.flatten() for case in found for key, tensor in found[case].items()}
        write_safetensors(ROOT / "forward" / f"{name}.safetensors", tensors, {})
        print(name, len(tensors), sum(tensor.numel() for tensor in tensors.values()) * 8, "bytes")


if __name__ == "__main__":
    main()
