#!/usr/bin/env python3
"""Writes the file fixtures of tests/data/files: the same tensors in every layout that torch and transformers write.

`tensors/` holds one dictionary of odd tensors (views, shared storages, every type) in each form of torch.save, and
`expected.safetensors`, what torch makes of it. The other directories are one small encoder-decoder, each in another
layout; `forward.safetensors` holds its inputs and logits in float64. Every draw is seeded; only the legacy files differ
from run to run, since torch names and orders storages in them by their addresses. Needs transformers 5 and torch on a CPU.

    python tools/make_file_fixtures.py [--output tests/data/files]
"""
import argparse
import collections
import json
import pathlib
import shutil

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import BertGenerationConfig, BertGenerationDecoder, BertGenerationEncoder, EncoderDecoderModel

from fixture_checkpoints import randomise

SHARDS = 3


def odd_tensors():
    """Everything a storage can be looked at through, and every type."""
    base = torch.arange(24.).reshape(4, 6) / 7
    row = torch.linspace(-3, 3, 10)
    tensors = collections.OrderedDict(
        plain=base, tied=base, transposed=base.t(), rows=base[1:3], columns=base[:, 2:5], every_second=row[::2],
        tail=row[7:], scalar=torch.tensor(2.5), empty=torch.zeros(0, 3), one=torch.ones(1, 1, 1, 1),
        permuted=torch.randn(2, 3, 4, 2).permute(3, 1, 0, 2), repeated=torch.tensor([1., 2.]).expand(3, 2),
        parameter=torch.nn.Parameter(torch.randn(3, 2)), half=torch.randn(5).half(),
        brain=torch.randn(2, 3).bfloat16(), brain_view=torch.randn(3, 4).bfloat16()[:, 1], double=torch.randn(3).double(),
        position_ids=torch.arange(5).expand(1, -1), int32=torch.arange(3, dtype=torch.int32),
        int16=torch.arange(3, dtype=torch.int16), int8=torch.arange(-1, 2, dtype=torch.int8),
        uint8=torch.arange(3, dtype=torch.uint8), boolean=torch.tensor([True, False]))
    tensors["naïve.ключ"] = torch.randn(2)
    tensors._metadata = collections.OrderedDict({"": {"version": 1}})
    return tensors


def save_legacy(tensors, path, **options):
    """torch.save's old form."""
    torch.save(tensors, path, _use_new_zipfile_serialization=False, **options)


def write_tensors(folder):
    folder.mkdir(parents=True)
    tensors = odd_tensors()
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()},
              folder / "expected.safetensors", {"format": "pt"})
    for protocol in (2, 3, 4, 5):
        torch.save(tensors, folder / f"zip-{protocol}.bin", pickle_protocol=protocol)
        save_legacy(tensors, folder / f"legacy-{protocol}.bin", pickle_protocol=protocol)


def make_model():
    sizes = dict(vocab_size=14, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
                 max_position_embeddings=10, pad_token_id=0, bos_token_id=2, eos_token_id=1)
    decoder = BertGenerationDecoder(BertGenerationConfig(is_decoder=True, add_cross_attention=True, **sizes))
    model = EncoderDecoderModel(encoder=BertGenerationEncoder(BertGenerationConfig(**sizes)), decoder=decoder).eval()
    randomise(model, "files")
    model.config.decoder_start_token_id, model.config.pad_token_id, model.config.eos_token_id = 2, 0, 1
    model.generation_config.update(decoder_start_token_id=2, pad_token_id=0, eos_token_id=1)
    return model


def forward(model):
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 10]])
    start = torch.tensor([[2, 5, 6], [2, 11, 12]])
    return dict(input_ids=ids, decoder_input_ids=start, logits=model(input_ids=ids, decoder_input_ids=start).logits)


def write_shards(folder, name, tensors, save):
    """Deals the tensors out to files, with the index beside them."""
    names = list(tensors)
    parts = [names[i::SHARDS] for i in range(SHARDS)]
    stem, end = name.split(".")
    index = {"metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())}, "weight_map": {}}
    for i, part in enumerate(parts):
        file = f"{stem}-{i + 1:05}-of-{SHARDS:05}.{end}"
        save(collections.OrderedDict((key, tensors[key]) for key in part), folder / file)
        index["weight_map"].update({key: file for key in part})
    (folder / f"{name}.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def write_models(output):
    model = make_model()
    model.save_pretrained(output / "safetensors")
    expected = forward(model.double())
    model.float()
    save_file({name: tensor.contiguous() for name, tensor in expected.items()}, output / "forward.safetensors")
    state = model.state_dict()  # as v4 saved it: the tied matrix under both names
    state["decoder.bert.embeddings.position_ids"] = torch.arange(10).expand(1, -1)

    def safe(tensors, path):
        save_file(tensors, path, {"format": "pt"})

    def directory(name):
        folder = output / name
        folder.mkdir()
        for file in ("config.json", "generation_config.json"):
            shutil.copy(output / "safetensors" / file, folder)
        return folder

    write_shards(directory("safetensors-sharded"), "model.safetensors",
                 load_file(output / "safetensors" / "model.safetensors"), safe)
    torch.save(state, directory("zip") / "pytorch_model.bin")
    save_legacy(state, directory("legacy") / "pytorch_model.bin")
    write_shards(directory("zip-sharded"), "pytorch_model.bin", state, torch.save)
    write_shards(directory("legacy-sharded"), "pytorch_model.bin", state, save_legacy)
    for name, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16)):
        lower = collections.OrderedDict((key, t.to(dtype) if t.is_floating_point() else t) for key, t in state.items())
        lower["decoder.lm_head.decoder.weight"] = lower["decoder.bert.embeddings.word_embeddings.weight"]
        torch.save(lower, directory(f"zip-{name}") / "pytorch_model.bin")
        tensors = load_file(output / "safetensors" / "model.safetensors")
        safe({key: tensor.to(dtype) for key, tensor in tensors.items()}, directory(name) / "model.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("tests/data/files"))
    args = parser.parse_args()
    torch.manual_seed(20)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    transformers.logging.disable_progress_bar()
    for folder in args.output.glob("*/"):
        shutil.rmtree(folder)
    write_tensors(args.output / "tensors")
    write_models(args.output)
    for path in args.output.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    print(f"{sum(path.stat().st_size for path in args.output.rglob('*') if path.is_file()) / 1024:.0f} KB")


if __name__ == "__main__":
    main()
