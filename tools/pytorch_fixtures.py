"""Makes tests/fixtures/pytorch: files of torch.save.

    python tools/pytorch_fixtures.py

The weights of tests/fixtures/gguf/tiny-phi3-spm in two shards, as transformers saved them before safetensors; and small files for
what is read, what is not, and what must not be. Made with torch 2.15.0 and safetensors 0.8.0.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

FIXTURES = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
OUT = FIXTURES / "pytorch"


class Evil:
    """What unpickling would run."""

    def __reduce__(self):
        import os

        return os.system, ("true",)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    weights = load_file(FIXTURES / "gguf" / "tiny-phi3-spm" / "model.safetensors")
    names = sorted(weights)
    shards = {f"pytorch_model-0000{i + 1}-of-00002.bin": names[i::2] for i in range(2)}
    for file, part in shards.items():
        torch.save({name: weights[name] for name in part}, OUT / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in shards.items() for name in part}}
    (OUT / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")

    module = torch.nn.Linear(3, 2)
    torch.manual_seed(1)
    base = torch.randn(4, 6)
    kinds = module.state_dict()
    kinds["parameter"] = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.float16))
    kinds["part"], kinds["same"] = base[1:3], base
    kinds["mask"] = torch.ones(2, 2, dtype=torch.bool)
    torch.save(kinds, OUT / "kinds.bin")
    torch.save({"turned": base.T}, OUT / "turned.bin")
    torch.save({"a": base, "b": Evil()}, OUT / "evil.bin")
    torch.save({"optimizer": {"lr": 0.5}, "a": base}, OUT / "nested.bin")
    torch.save(module, OUT / "module.bin")
    torch.save({"a": base}, OUT / "legacy.bin", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
