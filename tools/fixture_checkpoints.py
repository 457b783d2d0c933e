"""Writes the checkpoints of the model fixtures: random weights, and files as transformers 4 and 5 have written them."""
import io
import itertools
import json
import random
import shutil
import unittest.mock

import torch
from safetensors.torch import load_file, save
from transformers import (BertConfig, BertGenerationConfig, EncoderDecoderConfig, EncoderDecoderModel,
                          RobertaConfig)

from fixture_cases import SEED

CONFIGS = {"bert-generation": BertGenerationConfig, "bert": BertConfig, "roberta": RobertaConfig}
# What v4's save_pretrained wrote into each sub-config besides the model's own keys (a selection).
V4_DUMP = dict(
    _name_or_path="", bad_words_ids=None, chunk_size_feed_forward=0, cross_attention_hidden_size=None,
    decoder_start_token_id=None, diversity_penalty=0.0, do_sample=False, early_stopping=False,
    gradient_checkpointing=False, id2label={"0": "LABEL_0", "1": "LABEL_1"}, is_encoder_decoder=False,
    length_penalty=1.0, max_length=20, min_length=0, no_repeat_ngram_size=0, num_beam_groups=1, num_beams=1,
    num_return_sequences=1, position_embedding_type="absolute", pruned_heads={}, repetition_penalty=1.0,
    return_dict=True, temperature=1.0, tie_encoder_decoder=False, tokenizer_class=None, top_k=50, top_p=1.0,
    torch_dtype=None, torchscript=False, typical_p=1.0, use_bfloat16=False)


def listed(value):
    return [] if value is None else value if isinstance(value, list) else [value]


def start_id(spec):
    return spec["ids"]["bos"] if spec["ids"]["start"] is None else spec["ids"]["start"]


def randomise(model, name):
    """Draws every parameter wide enough that outputs are far from flat and the answers wander.

    Chosen by trial: weak attention outputs and strong position embeddings keep a row from saying one token
    for ever, and so do word embeddings of one norm and a last LayerNorm with weights of both signs, since a
    tied head would else favour the token just read.
    """
    generator = torch.Generator().manual_seed(random.Random(f"{SEED} {name}").getrandbits(32))
    norms = ("output.LayerNorm.weight", "transform.LayerNorm.weight", "lm_head.layer_norm.weight")
    last = [key for key, _ in model.named_parameters() if key.endswith(norms)][-1]
    for key, tensor in model.named_parameters():
        noise = torch.randn(tensor.shape, generator=generator)
        if key.endswith(("LayerNorm.weight", "layer_norm.weight")):
            noise = 0.8 * (0.3 + noise) if key == last else 1 + 0.3 * noise
        elif tensor.dim() == 1:
            noise *= 0.3 if "lm_head" in key or "cls" in key else 0.1
        elif "word_embeddings" in key or "lm_head.decoder" in key or "predictions.decoder" in key:
            noise *= 0.5 * tensor.shape[1] ** 0.5 / noise.norm(dim=1, keepdim=True)
        elif "position_embeddings" in key:
            noise *= 0.8
        else:
            gains = {"query": 1.8, "key": 1.8, "crossattention": 1.0, "attention": 0.8, "": 1.2}
            noise *= next(gain for word, gain in gains.items() if word in key) * tensor.shape[1] ** -0.5
        tensor.data.copy_(noise)


def calibrate_eos(model, spec, rng):
    """Shifts the head's bias on the eos ids so that later about one step in eight chooses one of them.

    Returns whether the draw is a lively one: few rows end at once, and the rows say different things.
    """
    eos, steps, margins = listed(spec["ids"]["eos"]), 10, []
    source = torch.tensor([[rng.randrange(spec["enc"]["vocab_size"]) for _ in range(8)] for _ in range(12)])
    target = torch.full((12, 1), start_id(spec))
    for _ in range(steps):
        logits = model(input_ids=source, decoder_input_ids=target).logits[:, -1]
        rest = logits.index_fill(1, torch.tensor(eos), -torch.inf)
        margins.append(rest.max(1).values[:, None] - logits[:, eos])
        target = torch.cat([target, rest.argmax(1, keepdim=True)], 1)
    shift = (torch.quantile(torch.cat(margins[2:]), 0.13 / len(eos), dim=0) * 64).round() / 64
    model.decoder.get_output_embeddings().bias.data[eos] += shift
    at_once = (torch.cat(margins[:2]) < shift).float().mean()
    distinct = sum(len(set(row)) for row in target[:, 1:].tolist()) / len(target)
    return at_once < 0.12 and distinct > 0.5 * steps


def write_safetensors(path, tensors, metadata):
    """safetensors' save with a sorted header: the order of its metadata changes from run to run."""
    raw = save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, metadata)
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.dumps(json.loads(raw[8:end]), sort_keys=True, separators=(",", ":"))
    path.write_bytes(raw[:8] + header.encode().ljust(end - 8) + raw[end:])


def make_half_config(sizes, **more):
    sizes = {**sizes, **more}
    return CONFIGS[sizes.pop("family", "bert-generation")](**sizes)


def make_config(spec):
    ids = spec["ids"]
    names = dict(pad_token_id=ids["pad"], bos_token_id=ids["bos"], eos_token_id=ids["eos"])
    encoder = make_half_config(spec["enc"], **names)
    decoder = make_half_config(spec["dec"], **names, is_decoder=True, add_cross_attention=True)
    return EncoderDecoderConfig(encoder=encoder.to_dict(), decoder=decoder.to_dict(),
                                decoder_start_token_id=ids["start"], **names)


def dress_config(folder, spec):
    """Rewrites config.json. v4-config: full sub-config dumps, torch_dtype; underscore: the old model_type;
    ids-below: no special ids at the top level; no-generation-config: that file is absent."""
    words, path = spec["files"], folder / "config.json"
    config = json.loads(path.read_text())
    if "v4-config" in words:
        config["torch_dtype"] = config.pop("dtype")
        config |= {key: {**V4_DUMP, **config[key]} for key in ("encoder", "decoder")}
    if "underscore" in words:
        config["model_type"] = "encoder_decoder"
    if "ids-below" in words:
        config = {key: value for key, value in config.items() if key[:3] not in ("pad", "bos", "eos")}
    path.write_text(json.dumps({**config, **spec["top"]}, indent=2, sort_keys=True) + "\n")
    if "no-generation-config" in words:
        (folder / "generation_config.json").unlink()


def dress_weights(path, spec):
    """Rewrites model.safetensors; returns the names a v5 loader will miss.

    v4-names: LayerNorm.gamma and .beta, position_ids buffers, the tied head stored beside the embedding;
    shared: the encoder's tensors dropped, as v4 did under tie_encoder_decoder; aliases: those names in the
    metadata.
    """
    words, state, metadata, dropped = spec["files"], load_file(path), {"format": "pt"}, set()
    if "v4-names" in words:
        state = {name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensor
                 for name, tensor in state.items()}
        base = "decoder.roberta." if spec["dec"].get("family") == "roberta" else "decoder.bert."
        head = "decoder.cls.predictions." if spec["dec"].get("family") == "bert" else "decoder.lm_head."
        state.setdefault(head + "decoder.weight", state[base + "embeddings.word_embeddings.weight"])
        state.setdefault(head + "decoder.bias", state[head + "bias"])
        for key, prefix in (("enc", "encoder."), ("dec", base)):
            positions = torch.arange(spec[key]["max_position_embeddings"])
            state[prefix + "embeddings.position_ids"] = positions[None]
    if "shared" in words:
        dropped = {name for name in state if name.startswith("encoder.") and "pooler" not in name}
        state = {name: tensor for name, tensor in state.items() if name not in dropped}
        if "aliases" in words:
            base = f"decoder.{'roberta' if spec['dec'].get('family') == 'roberta' else 'bert'}."
            metadata |= {name: base + name.removeprefix("encoder.") for name in dropped}
    write_safetensors(path, state, metadata)
    return dropped


def legacy_bytes(state):
    """torch's format before 1.6. It names storages by their addresses and sorts them; here by their order."""
    buffer = io.BytesIO()
    with unittest.mock.patch.object(torch.serialization, "sorted", list, create=True):
        torch.save(state, buffer, _use_new_zipfile_serialization=False)
    raw, keys = buffer.getvalue(), [str(tensor.untyped_storage()._cdata) for tensor in state.values()]
    for index, key in enumerate(keys):
        raw = raw.replace(key.encode(), str(index).zfill(len(key)).encode())
    return raw


def write_layouts(model, folder):
    """The same checkpoint in folders of its own, as other files: what transformers 4 and 5 have written."""
    state = load_file(folder / "model.safetensors")
    middle = len(state) // 2
    halves = [dict(list(state.items())[:middle]), dict(list(state.items())[middle:])]
    old = {name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensor
           for name, tensor in state.items()}
    both = {**state, **{name: tensor for name, tensor in model.state_dict().items()}}  # tied names too

    def layout(name, write):
        inner = folder / name
        inner.mkdir()
        for file in ("config.json", "generation_config.json"):
            shutil.copy(folder / file, inner)
        write(inner)

    def write_shards(inner, stem, suffix, write):
        names = [f"{stem}-{i + 1:05}-of-00002.{suffix}" for i in range(2)]
        for name, half in zip(names, halves):
            write(inner / name, half)
        index = {"metadata": {"total_size": sum(tensor.nbytes for tensor in state.values())},
                 "weight_map": {key: name for name, half in zip(names, halves) for key in half}}
        (inner / f"{stem}.{suffix}.index.json").write_text(json.dumps(index, indent=2) + "\n")

    layout("f16", lambda inner: write_safetensors(
        inner / "model.safetensors", {name: tensor.half() for name, tensor in state.items()}, {"format": "pt"}))
    layout("gamma", lambda inner: write_safetensors(inner / "model.safetensors", old, {"format": "pt"}))
    layout("sharded", lambda inner: write_shards(
        inner, "model", "safetensors", lambda path, half: write_safetensors(path, half, {"format": "pt"})))
    layout("sharded-bin", lambda inner: write_shards(
        inner, "pytorch_model", "bin", lambda path, half: torch.save(half, path)))
    layout("zip-bin", lambda inner: torch.save(both, inner / "pytorch_model.bin"))
    layout("legacy-bin", lambda inner: (inner / "pytorch_model.bin").write_bytes(legacy_bytes(both)))


def make_checkpoint(name, spec, folder):
    """Writes the checkpoint and returns it as transformers loads it, in float32."""
    model = EncoderDecoderModel(config=make_config(spec)).eval()
    for seed in itertools.count():
        randomise(model, f"{name} {seed}")
        if {"shared", "tied"} & set(spec["files"]):
            half_state = {**model.encoder.state_dict(), **model.decoder.base_model.state_dict()}
            model.encoder.load_state_dict({key: half_state[key] for key in model.encoder.state_dict()})
        if calibrate_eos(model, spec, random.Random(name)):
            break
    if "layouts" in spec["files"]:  # so that a file of float16 holds the same numbers
        model.half().float()
    for key, value in spec["generation"].items():
        setattr(model.generation_config, key, value)
    model.to(getattr(torch, spec["dtype"])).save_pretrained(folder)
    dress_config(folder, spec)
    dropped = dress_weights(folder / "model.safetensors", spec)
    if "layouts" in spec["files"]:
        write_layouts(model, folder)
    loaded, info = EncoderDecoderModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert set(info["missing_keys"]) == dropped and not info["unexpected_keys"], info
    loaded.load_state_dict(model.state_dict())  # for `shared`: v5 does not fill in the encoder by itself
    return loaded.eval()
