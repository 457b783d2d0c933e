"""Random bert-generation pairs, and the same weights as BART for CTranslate2.

A BertGeneration encoder-decoder is, layer by layer, a post-norm BART: learned positions, layer norm on the embeddings,
erf-GELU, one linear head with a bias. So both engines and transformers can be timed on identical weights.

    python bench/repack.py OUT small base

writes OUT/small_hf (transformers' layout, which bertgen reads) and OUT/small_ct2_f32, OUT/small_ct2_int8.
Needs torch, transformers and ctranslate2 from PyPI.
"""

import copy
import sys
from pathlib import Path

import torch
from ctranslate2.converters.transformers import BartLoader
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertGenerationConfig,
    BertGenerationDecoder,
    BertGenerationEncoder,
    EncoderDecoderModel,
)

# hidden, layers of each half, heads, intermediate, vocabulary
SIZES = {
    "tiny": (256, 4, 4, 1024, 8000),
    "small": (512, 6, 8, 2048, 32000),
    "base": (768, 12, 12, 3072, 30522),
    "large": (1024, 24, 16, 4096, 50358),
}
IDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


def random_pair(size, seed=0):
    """An EncoderDecoderModel of random weights, wide enough that its logits are not flat."""
    hidden, layers, heads, intermediate, vocab = SIZES[size]
    torch.manual_seed(seed)

    def config(**extra):
        return BertGenerationConfig(
            vocab_size=vocab, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=intermediate, **IDS, **extra)

    decoder = BertGenerationDecoder(config(is_decoder=True, add_cross_attention=True))
    model = EncoderDecoderModel(encoder=BertGenerationEncoder(config()), decoder=decoder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.mul_(2.0)
            elif name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.02)
    for settings in (model.config, model.generation_config):
        settings.decoder_start_token_id = IDS["bos_token_id"]
        for key, value in IDS.items():
            setattr(settings, key, value)
    return model.eval()


def bart_names(layers):
    """(BART name, BertGeneration name) of every tensor that is only renamed."""
    for side, base in (("encoder", "encoder."), ("decoder", "decoder.bert.")):
        yield f"model.{side}.embed_tokens.weight", f"{base}embeddings.word_embeddings.weight"
        for kind in ("weight", "bias"):
            yield f"model.{side}.layernorm_embedding.{kind}", f"{base}embeddings.LayerNorm.{kind}"
            for i in range(layers):
                bart, bert = f"model.{side}.layers.{i}.", f"{base}encoder.layer.{i}."
                attentions = [("self_attn", "attention")]
                if side == "decoder":
                    attentions.append(("encoder_attn", "crossattention"))
                for to, source in attentions:
                    for short, long in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
                        yield f"{bart}{to}.{short}.{kind}", f"{bert}{source}.self.{long}.{kind}"
                    yield f"{bart}{to}.out_proj.{kind}", f"{bert}{source}.output.dense.{kind}"
                    yield f"{bart}{to}_layer_norm.{kind}", f"{bert}{source}.output.LayerNorm.{kind}"
                yield f"{bart}fc1.{kind}", f"{bert}intermediate.dense.{kind}"
                yield f"{bart}fc2.{kind}", f"{bert}output.dense.{kind}"
                yield f"{bart}final_layer_norm.{kind}", f"{bert}output.LayerNorm.{kind}"


def to_bart(model):
    """The same weights as BART, whose positions begin at 2 and whose layer norms have another epsilon."""
    config = model.encoder.config
    bart = BartForConditionalGeneration(
        BartConfig(
            vocab_size=config.vocab_size, max_position_embeddings=config.max_position_embeddings,
            encoder_layers=config.num_hidden_layers, decoder_layers=config.num_hidden_layers,
            encoder_ffn_dim=config.intermediate_size, decoder_ffn_dim=config.intermediate_size,
            encoder_attention_heads=config.num_attention_heads, decoder_attention_heads=config.num_attention_heads,
            d_model=config.hidden_size, activation_function="gelu", scale_embedding=False,
            tie_word_embeddings=False, decoder_start_token_id=IDS["bos_token_id"], forced_eos_token_id=None,
            **IDS)).eval()
    source = model.state_dict()
    weights = {to: source[name].clone() for to, name in bart_names(config.num_hidden_layers)}
    for side, base in (("encoder", "encoder."), ("decoder", "decoder.bert.")):
        positions = source[f"{base}embeddings.position_embeddings.weight"]
        weights[f"model.{side}.embed_positions.weight"] = torch.cat([positions[:2] * 0, positions])
    weights["lm_head.weight"] = source["decoder.lm_head.decoder.weight"].clone()
    weights["final_logits_bias"] = source["decoder.lm_head.bias"].clone()[None]
    weights["model.shared.weight"] = weights["model.encoder.embed_tokens.weight"].clone()
    bart.load_state_dict(weights)
    for module in bart.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = config.layer_norm_eps
    return bart


def ctranslate2_spec(bart):
    """BART without its final layer norms is what CTranslate2 calls post-norm with a norm on the embeddings."""
    object.__setattr__(bart.config, "normalize_before", False)
    object.__setattr__(bart.config, "normalize_embedding", True)
    spec = BartLoader().get_model_spec(bart)
    tokens = ["<pad>", "</s>", "<s>", "<unk>"] + [f"w{i}" for i in range(4, bart.config.vocab_size)]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.bos_token = spec.config.decoder_start_token = "<s>"
    spec.config.eos_token = "</s>"
    spec.config.unk_token = "<unk>"
    spec.config.add_source_bos = spec.config.add_source_eos = False
    spec.validate()
    return spec


def check_equal(model, bart):
    """Both must compute the same logits, or a comparison of their speed means nothing."""
    with torch.no_grad():
        ids = torch.randint(4, bart.config.vocab_size, (2, 17))
        decoder_ids = torch.randint(4, bart.config.vocab_size, (2, 9))
        expected = model(input_ids=ids, decoder_input_ids=decoder_ids).logits
        got = bart(input_ids=ids, decoder_input_ids=decoder_ids, attention_mask=torch.ones_like(ids)).logits
    difference = (expected - got).abs().max().item()
    assert difference < 1e-5, f"BART's logits differ by {difference}"


@torch.no_grad()
def write(out, size):
    model = random_pair(size)
    model.save_pretrained(f"{out}/{size}_hf")
    bart = to_bart(model)
    check_equal(model, bart)
    spec = ctranslate2_spec(bart)
    for name, quantization in (("f32", None), ("int8", "int8")):
        quantized = copy.deepcopy(spec)
        quantized.optimize(quantization=quantization)
        folder = Path(out, f"{size}_ct2_{name}")
        folder.mkdir(exist_ok=True)
        quantized.save(str(folder))


if __name__ == "__main__":
    for size in sys.argv[2:]:
        write(sys.argv[1], size)
